# The public names, each with the module that it is from; `__init__.py` reads them here.

from dagstack_dev._version import __version__ as __version__
from dagstack_dev.app.events import EventStream as EventStream
from dagstack_dev.app.local_api import LocalApi as LocalApi
from dagstack_dev.app.registry import PluginRegistry as PluginRegistry
from dagstack_dev.app.registry import discover as discover
from dagstack_dev.app.server import DevServer as DevServer
from dagstack_dev.app.settings import Settings as Settings
from dagstack_dev.core.errors.base import PluginRegistryError as PluginRegistryError
from dagstack_dev.core.errors.calls import BroadcastErrors as BroadcastErrors
from dagstack_dev.core.errors.calls import DispatchMismatch as DispatchMismatch
from dagstack_dev.core.errors.calls import NobodyAnswers as NobodyAnswers
from dagstack_dev.core.errors.calls import NoCapabilityMatch as NoCapabilityMatch
from dagstack_dev.core.errors.calls import PluginNotSetUp as PluginNotSetUp
from dagstack_dev.core.errors.calls import PluginUnavailable as PluginUnavailable
from dagstack_dev.core.errors.files import ConfigInvalid as ConfigInvalid
from dagstack_dev.core.errors.files import ConfigSectionInvalid as ConfigSectionInvalid
from dagstack_dev.core.errors.files import HookspecsInvalid as HookspecsInvalid
from dagstack_dev.core.errors.files import ManifestInvalid as ManifestInvalid
from dagstack_dev.core.errors.life import EventLoopClosed as EventLoopClosed
from dagstack_dev.core.errors.life import HealthCheckInvalid as HealthCheckInvalid
from dagstack_dev.core.errors.life import PluginCancelled as PluginCancelled
from dagstack_dev.core.errors.life import PluginCrashed as PluginCrashed
from dagstack_dev.core.errors.life import PluginLoadError as PluginLoadError
from dagstack_dev.core.errors.life import PluginUnhealthy as PluginUnhealthy
from dagstack_dev.core.errors.life import SetupTimeout as SetupTimeout
from dagstack_dev.core.errors.life import SignatureMismatch as SignatureMismatch
from dagstack_dev.core.errors.life import TeardownErrors as TeardownErrors
from dagstack_dev.core.errors.life import TeardownTimeout as TeardownTimeout
from dagstack_dev.core.errors.registry import ActiveUnknown as ActiveUnknown
from dagstack_dev.core.errors.registry import AmbiguousPlugin as AmbiguousPlugin
from dagstack_dev.core.errors.registry import DependencyCycle as DependencyCycle
from dagstack_dev.core.errors.registry import DependencyMissing as DependencyMissing
from dagstack_dev.core.errors.registry import HookspecMissing as HookspecMissing
from dagstack_dev.core.errors.registry import KindUnknown as KindUnknown
from dagstack_dev.core.errors.registry import KindVersionIncompatible as KindVersionIncompatible
from dagstack_dev.core.errors.registry import NotForChains as NotForChains
from dagstack_dev.core.errors.registry import RuntimeNotSupported as RuntimeNotSupported
from dagstack_dev.core.errors.registry import VersionIncompatible as VersionIncompatible
from dagstack_dev.core.errors.remote import HandshakeFailed as HandshakeFailed
from dagstack_dev.core.errors.remote import HandshakeTimeout as HandshakeTimeout
from dagstack_dev.core.errors.remote import NotTransferable as NotTransferable
from dagstack_dev.core.errors.remote import OutOfReach as OutOfReach
from dagstack_dev.core.errors.remote import ProcessDied as ProcessDied
from dagstack_dev.core.errors.remote import RemoteError as RemoteError
from dagstack_dev.core.errors.remote import ServerExited as ServerExited
from dagstack_dev.core.errors.remote import ServerLost as ServerLost
from dagstack_dev.core.errors.remote import ToolArgumentsInvalid as ToolArgumentsInvalid
from dagstack_dev.core.errors.remote import ToolError as ToolError
from dagstack_dev.core.errors.remote import ToolResultInvalid as ToolResultInvalid
from dagstack_dev.core.errors.remote import ToolTimeout as ToolTimeout
from dagstack_dev.core.events import AgentAsked as AgentAsked
from dagstack_dev.core.events import DrainTimedOut as DrainTimedOut
from dagstack_dev.core.events import EventsMissed as EventsMissed
from dagstack_dev.core.events import Fact as Fact
from dagstack_dev.core.events import HookFailed as HookFailed
from dagstack_dev.core.events import Leaks as Leaks
from dagstack_dev.core.events import PluginBlocking as PluginBlocking
from dagstack_dev.core.events import PluginBlockingEnded as PluginBlockingEnded
from dagstack_dev.core.events import PluginDegraded as PluginDegraded
from dagstack_dev.core.events import PluginDrained as PluginDrained
from dagstack_dev.core.events import PluginLeaked as PluginLeaked
from dagstack_dev.core.events import PluginOverstepped as PluginOverstepped
from dagstack_dev.core.events import PluginRecovered as PluginRecovered
from dagstack_dev.core.events import PluginRejected as PluginRejected
from dagstack_dev.core.events import PluginRequiresRestart as PluginRequiresRestart
from dagstack_dev.core.events import PluginRetrying as PluginRetrying
from dagstack_dev.core.events import PluginToolsChanged as PluginToolsChanged
from dagstack_dev.core.events import ReloadCommitted as ReloadCommitted
from dagstack_dev.core.events import ReloadFailed as ReloadFailed
from dagstack_dev.core.events import ReloadPlanned as ReloadPlanned
from dagstack_dev.core.events import ReloadRolledBack as ReloadRolledBack
from dagstack_dev.core.events import ReloadSkipped as ReloadSkipped
from dagstack_dev.core.events import ReloadStarted as ReloadStarted
from dagstack_dev.core.events import ReloadWaiting as ReloadWaiting
from dagstack_dev.core.events import TaskFailed as TaskFailed
from dagstack_dev.core.events import TeardownFailed as TeardownFailed
from dagstack_dev.core.events import Transition as Transition
from dagstack_dev.core.events import UndeclaredImport as UndeclaredImport
from dagstack_dev.core.events import WatchProblem as WatchProblem
from dagstack_dev.core.events import WatchStarted as WatchStarted
from dagstack_dev.core.events import WatchStopped as WatchStopped
from dagstack_dev.core.graph import topo_sort as topo_sort
from dagstack_dev.core.hookspecs.builtin import ORCHESTRATOR_KIND as ORCHESTRATOR_KIND
from dagstack_dev.core.hookspecs.builtin import TOOL_KIND as TOOL_KIND
from dagstack_dev.core.hookspecs.builtin import dispatch_class_for as dispatch_class_for
from dagstack_dev.core.hookspecs.classes import broadcast_collect as broadcast_collect
from dagstack_dev.core.hookspecs.classes import broadcast_notify as broadcast_notify
from dagstack_dev.core.hookspecs.classes import capability as capability
from dagstack_dev.core.hookspecs.classes import chain as chain
from dagstack_dev.core.hookspecs.classes import hookspecs as hookspecs
from dagstack_dev.core.hookspecs.classes import singleton as singleton
from dagstack_dev.core.hookspecs.kinds import DispatchClass as DispatchClass
from dagstack_dev.core.hookspecs.kinds import ErrorPolicy as ErrorPolicy
from dagstack_dev.core.hookspecs.kinds import HookSpec as HookSpec
from dagstack_dev.core.hookspecs.kinds import KindSpec as KindSpec
from dagstack_dev.core.hookspecs.yaml_text import parse_hookspecs as parse_hookspecs
from dagstack_dev.core.lifecycle import Operation as Operation
from dagstack_dev.core.lifecycle import OperationKind as OperationKind
from dagstack_dev.core.lifecycle import PluginStatus as PluginStatus
from dagstack_dev.core.lifecycle import State as State
from dagstack_dev.core.manifest.fields import PluginManifest as PluginManifest
from dagstack_dev.core.manifest.fields import ResourcesSpec as ResourcesSpec
from dagstack_dev.core.manifest.fields import UnitOfWorkSpec as UnitOfWorkSpec
from dagstack_dev.core.manifest.parsing import load_manifest_from_dict as load_manifest_from_dict
from dagstack_dev.core.refs import PluginRef as PluginRef
from dagstack_dev.disk.ignore import DEFAULT_IGNORE as DEFAULT_IGNORE
from dagstack_dev.disk.manifests import load_manifest as load_manifest
from dagstack_dev.host.calls.proxy import unwrap as unwrap
from dagstack_dev.host.dispatch.broadcast import (
    BroadcastCollectDispatcher as BroadcastCollectDispatcher,
)
from dagstack_dev.host.dispatch.broadcast import (
    BroadcastNotifyDispatcher as BroadcastNotifyDispatcher,
)
from dagstack_dev.host.dispatch.capability import CapabilityDispatcher as CapabilityDispatcher
from dagstack_dev.host.dispatch.capability import DispatchCandidate as DispatchCandidate
from dagstack_dev.host.dispatch.chain import (
    MIDDLEWARE_PRIORITY_THRESHOLD as MIDDLEWARE_PRIORITY_THRESHOLD,
)
from dagstack_dev.host.dispatch.chain import STOP_CHAIN as STOP_CHAIN
from dagstack_dev.host.dispatch.chain import ChainDispatcher as ChainDispatcher
from dagstack_dev.host.dispatch.orchestrator import (
    LocalExecutorOrchestrator as LocalExecutorOrchestrator,
)
from dagstack_dev.host.dispatch.orchestrator import UnitRefused as UnitRefused
from dagstack_dev.host.dispatch.singleton import SingletonDispatcher as SingletonDispatcher
from dagstack_dev.host.registry.registry import CORE_VERSION as CORE_VERSION
from dagstack_dev.host.registry.wrapping import wrap_singleton as wrap_singleton
from dagstack_dev.host.services.clock import Clock as Clock
from dagstack_dev.host.services.clock import FrozenClock as FrozenClock
from dagstack_dev.host.services.clock import SystemClock as SystemClock
from dagstack_dev.host.services.context import NoOpTenantContext as NoOpTenantContext
from dagstack_dev.host.services.context import PluginContext as PluginContext
from dagstack_dev.host.services.context import TenantAccessDenied as TenantAccessDenied
from dagstack_dev.host.services.context import TenantContext as TenantContext
from dagstack_dev.host.services.context import (
    derive_context_for_plugin as derive_context_for_plugin,
)
from dagstack_dev.host.services.event_bus import EventBus as EventBus
from dagstack_dev.host.services.event_bus import InMemoryEventBus as InMemoryEventBus
from dagstack_dev.host.services.http import CannedHttpClient as CannedHttpClient
from dagstack_dev.host.services.http import HttpClient as HttpClient
from dagstack_dev.host.services.http import HttpxClient as HttpxClient
from dagstack_dev.host.services.progress import LogProgressSink as LogProgressSink
from dagstack_dev.host.services.progress import MockProgressSink as MockProgressSink
from dagstack_dev.host.services.progress import NoOpProgressSink as NoOpProgressSink
from dagstack_dev.host.services.progress import Progress as Progress
from dagstack_dev.host.services.progress import ProgressSink as ProgressSink
from dagstack_dev.host.services.resources import STANDARD_RESOURCES as STANDARD_RESOURCES
from dagstack_dev.host.services.resources import ResourceContainer as ResourceContainer
from dagstack_dev.host.services.resources import ResourceRegistry as ResourceRegistry
from dagstack_dev.host.services.resources import ResourceRequest as ResourceRequest
from dagstack_dev.host.services.resources import Resources as Resources
from dagstack_dev.host.services.resources import inject_resources as inject_resources
from dagstack_dev.host.services.rng import DeterministicRng as DeterministicRng
from dagstack_dev.host.services.rng import RandomRng as RandomRng
from dagstack_dev.host.services.rng import Rng as Rng
from dagstack_dev.host.services.stores import BlobStore as BlobStore
from dagstack_dev.host.services.stores import CheckpointStore as CheckpointStore
from dagstack_dev.host.services.stores import FileBlobStore as FileBlobStore
from dagstack_dev.host.services.stores import FileCheckpointStore as FileCheckpointStore
from dagstack_dev.host.services.stores import InMemoryBlobStore as InMemoryBlobStore
from dagstack_dev.host.services.stores import (
    InMemoryCheckpointStore as InMemoryCheckpointStore,
)
from dagstack_dev.host.services.stores import MemoryBlobStore as MemoryBlobStore
from dagstack_dev.host.services.tmpdir import FolderTmpDir as FolderTmpDir
from dagstack_dev.host.services.tmpdir import SystemTmpDir as SystemTmpDir
from dagstack_dev.host.services.tmpdir import TmpDir as TmpDir
from dagstack_dev.testing.ambient_state import AmbientStateError as AmbientStateError
from dagstack_dev.testing.ambient_state import AmbientStateReport as AmbientStateReport
from dagstack_dev.testing.ambient_state import AmbientStateViolation as AmbientStateViolation
from dagstack_dev.testing.ambient_state import (
    assert_no_ambient_state as assert_no_ambient_state,
)
from dagstack_dev.testing.boundaries import DeterminismError as DeterminismError
from dagstack_dev.testing.boundaries import SerializationError as SerializationError
from dagstack_dev.testing.boundaries import assert_deterministic as assert_deterministic
from dagstack_dev.testing.boundaries import (
    assert_json_serializable_boundaries as assert_json_serializable_boundaries,
)
from dagstack_dev.testing.harness import assert_manifest_valid as assert_manifest_valid
from dagstack_dev.testing.harness import running_plugin as running_plugin
from dagstack_dev.testing.lifecycle import LeakDetected as LeakDetected
from dagstack_dev.testing.lifecycle import assert_lifecycle_clean as assert_lifecycle_clean
from dagstack_dev.testing.suite import ALL_CHECKS as ALL_CHECKS
from dagstack_dev.testing.suite import ContractResult as ContractResult
from dagstack_dev.testing.suite import SuiteResult as SuiteResult
from dagstack_dev.testing.suite import run_contract_suite as run_contract_suite
