"""A hot-reloading development server for dagstack plugins, and the registry it stands on.

Each public name is imported when it is first asked for: `dagstack-dev --help` needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dagstack_dev._version import __version__

if TYPE_CHECKING:
    from dagstack_dev.app.config import ConfigInvalid
    from dagstack_dev.app.events import EventStream
    from dagstack_dev.app.registry import PluginRegistry, discover
    from dagstack_dev.app.server import DevServer
    from dagstack_dev.app.settings import Settings
    from dagstack_dev.core.builtin_kinds import ORCHESTRATOR_KIND, TOOL_KIND, dispatch_class_for
    from dagstack_dev.core.config_errors import ConfigSectionInvalid
    from dagstack_dev.core.contract_errors import (
        AmbientStateError,
        DeterminismError,
        LeakDetected,
        SerializationError,
    )
    from dagstack_dev.core.dispatch_errors import (
        ActiveUnknown,
        BroadcastErrors,
        DispatchMismatch,
        HookspecMissing,
        HookspecsInvalid,
        KindVersionIncompatible,
        NobodyAnswers,
        NoCapabilityMatch,
        NotForChains,
    )
    from dagstack_dev.core.errors import (
        AmbiguousPlugin,
        DependencyCycle,
        DependencyMissing,
        EventLoopClosed,
        KindUnknown,
        ManifestInvalid,
        PluginCancelled,
        PluginCrashed,
        PluginLoadError,
        PluginNotSetUp,
        PluginRegistryError,
        PluginUnavailable,
        RuntimeNotSupported,
        SetupTimeout,
        TeardownErrors,
        TeardownTimeout,
        VersionIncompatible,
    )
    from dagstack_dev.core.events import (
        DrainTimedOut,
        EventsMissed,
        Fact,
        HookFailed,
        Leaks,
        PluginBlocking,
        PluginDegraded,
        PluginLeaked,
        PluginOverstepped,
        PluginRecovered,
        PluginRejected,
        PluginRequiresRestart,
        PluginRetrying,
        ReloadCommitted,
        ReloadFailed,
        ReloadRolledBack,
        ReloadSkipped,
        ReloadStarted,
        ReloadWaiting,
        TaskFailed,
        TeardownFailed,
        Transition,
        UndeclaredImport,
        WatchProblem,
        WatchStarted,
        WatchStopped,
    )
    from dagstack_dev.core.execution_errors import (
        NotTransferable,
        OutOfReach,
        ProcessDied,
        RemoteError,
    )
    from dagstack_dev.core.graph import topo_sort
    from dagstack_dev.core.health_errors import HealthCheckInvalid, PluginUnhealthy
    from dagstack_dev.core.hookspec_classes import (
        broadcast_collect,
        broadcast_notify,
        capability,
        chain,
        hookspecs,
        singleton,
    )
    from dagstack_dev.core.hookspec_yaml import parse_hookspecs
    from dagstack_dev.core.hookspecs import DispatchClass, ErrorPolicy, HookSpec, KindSpec
    from dagstack_dev.core.lifecycle import PluginStatus, State
    from dagstack_dev.core.manifest import (
        PluginManifest,
        ResourcesSpec,
        UnitOfWorkSpec,
        load_manifest_from_dict,
    )
    from dagstack_dev.core.operations import Operation, OperationKind
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.runtime_errors import (
        HandshakeFailed,
        HandshakeTimeout,
        ServerExited,
        ServerLost,
        ToolArgumentsInvalid,
        ToolError,
        ToolResultInvalid,
        ToolTimeout,
    )
    from dagstack_dev.core.signature_errors import SignatureMismatch
    from dagstack_dev.disk.ignore import DEFAULT_IGNORE
    from dagstack_dev.disk.manifests import load_manifest
    from dagstack_dev.host.context import PluginContext, derive_context_for_plugin
    from dagstack_dev.host.dispatch.broadcast import (
        BroadcastCollectDispatcher,
        BroadcastNotifyDispatcher,
    )
    from dagstack_dev.host.dispatch.capability import CapabilityDispatcher, DispatchCandidate
    from dagstack_dev.host.dispatch.chain import (
        MIDDLEWARE_PRIORITY_THRESHOLD,
        STOP_CHAIN,
        ChainDispatcher,
    )
    from dagstack_dev.host.dispatch.singleton import SingletonDispatcher
    from dagstack_dev.host.orchestrator import LocalExecutorOrchestrator, UnitRefused
    from dagstack_dev.host.proxy import unwrap
    from dagstack_dev.host.registry import CORE_VERSION
    from dagstack_dev.host.resources import (
        ResourceContainer,
        ResourceRegistry,
        Resources,
        inject_resources,
    )
    from dagstack_dev.host.services.blobs import (
        BlobStore,
        FileBlobStore,
        InMemoryBlobStore,
        MemoryBlobStore,
    )
    from dagstack_dev.host.services.checkpoint import (
        CheckpointStore,
        FileCheckpointStore,
        InMemoryCheckpointStore,
    )
    from dagstack_dev.host.services.clock import Clock, FrozenClock, SystemClock
    from dagstack_dev.host.services.event_bus import EventBus, InMemoryEventBus
    from dagstack_dev.host.services.http import CannedHttpClient, HttpClient, HttpxClient
    from dagstack_dev.host.services.ownership import ResourceRequest
    from dagstack_dev.host.services.progress import (
        LogProgressSink,
        MockProgressSink,
        NoOpProgressSink,
        Progress,
        ProgressSink,
    )
    from dagstack_dev.host.services.rng import DeterministicRng, RandomRng, Rng
    from dagstack_dev.host.services.standard import STANDARD_RESOURCES
    from dagstack_dev.host.services.tenant import (
        NoOpTenantContext,
        TenantAccessDenied,
        TenantContext,
    )
    from dagstack_dev.host.services.tmpdir import FolderTmpDir, SystemTmpDir, TmpDir
    from dagstack_dev.host.wrapping import wrap_singleton
    from dagstack_dev.testing.ambient_state import (
        AmbientStateReport,
        AmbientStateViolation,
        assert_no_ambient_state,
    )
    from dagstack_dev.testing.boundaries import (
        assert_deterministic,
        assert_json_serializable_boundaries,
    )
    from dagstack_dev.testing.harness import (
        assert_manifest_valid,
    )
    from dagstack_dev.testing.lifecycle import (
        assert_lifecycle_clean,
    )
    from dagstack_dev.testing.suite import (
        ALL_CHECKS,
        ContractResult,
        SuiteResult,
        run_contract_suite,
    )

_HOMES = {
    "app.config": ["ConfigInvalid"],
    "app.events": ["EventStream"],
    "app.registry": ["PluginRegistry", "discover"],
    "app.server": ["DevServer"],
    "app.settings": ["Settings"],
    "core.builtin_kinds": ["ORCHESTRATOR_KIND", "TOOL_KIND", "dispatch_class_for"],
    "core.config_errors": ["ConfigSectionInvalid"],
    "core.contract_errors": [
        "AmbientStateError",
        "DeterminismError",
        "LeakDetected",
        "SerializationError",
    ],
    "core.dispatch_errors": [
        "ActiveUnknown",
        "BroadcastErrors",
        "DispatchMismatch",
        "HookspecMissing",
        "HookspecsInvalid",
        "KindVersionIncompatible",
        "NoCapabilityMatch",
        "NobodyAnswers",
        "NotForChains",
    ],
    "core.errors": [
        "AmbiguousPlugin",
        "DependencyCycle",
        "DependencyMissing",
        "EventLoopClosed",
        "KindUnknown",
        "ManifestInvalid",
        "PluginCancelled",
        "PluginCrashed",
        "PluginLoadError",
        "PluginNotSetUp",
        "PluginRegistryError",
        "PluginUnavailable",
        "RuntimeNotSupported",
        "SetupTimeout",
        "TeardownErrors",
        "TeardownTimeout",
        "VersionIncompatible",
    ],
    "core.events": [
        "DrainTimedOut",
        "EventsMissed",
        "Fact",
        "HookFailed",
        "Leaks",
        "PluginBlocking",
        "PluginDegraded",
        "PluginLeaked",
        "PluginOverstepped",
        "PluginRecovered",
        "PluginRejected",
        "PluginRequiresRestart",
        "PluginRetrying",
        "ReloadCommitted",
        "ReloadFailed",
        "ReloadRolledBack",
        "ReloadSkipped",
        "ReloadStarted",
        "ReloadWaiting",
        "TaskFailed",
        "TeardownFailed",
        "Transition",
        "UndeclaredImport",
        "WatchProblem",
        "WatchStarted",
        "WatchStopped",
    ],
    "core.execution_errors": ["NotTransferable", "OutOfReach", "ProcessDied", "RemoteError"],
    "core.graph": ["topo_sort"],
    "core.health_errors": ["HealthCheckInvalid", "PluginUnhealthy"],
    "core.hookspec_classes": [
        "broadcast_collect",
        "broadcast_notify",
        "capability",
        "chain",
        "hookspecs",
        "singleton",
    ],
    "core.hookspec_yaml": ["parse_hookspecs"],
    "core.hookspecs": ["DispatchClass", "ErrorPolicy", "HookSpec", "KindSpec"],
    "core.lifecycle": ["PluginStatus", "State"],
    "core.manifest": [
        "PluginManifest",
        "ResourcesSpec",
        "UnitOfWorkSpec",
        "load_manifest_from_dict",
    ],
    "core.operations": ["Operation", "OperationKind"],
    "core.refs": ["PluginRef"],
    "core.runtime_errors": [
        "HandshakeFailed",
        "HandshakeTimeout",
        "ServerExited",
        "ServerLost",
        "ToolArgumentsInvalid",
        "ToolError",
        "ToolResultInvalid",
        "ToolTimeout",
    ],
    "core.signature_errors": ["SignatureMismatch"],
    "disk.ignore": ["DEFAULT_IGNORE"],
    "disk.manifests": ["load_manifest"],
    "host.context": ["PluginContext", "derive_context_for_plugin"],
    "host.dispatch.broadcast": ["BroadcastCollectDispatcher", "BroadcastNotifyDispatcher"],
    "host.dispatch.capability": ["CapabilityDispatcher", "DispatchCandidate"],
    "host.dispatch.chain": ["ChainDispatcher", "MIDDLEWARE_PRIORITY_THRESHOLD", "STOP_CHAIN"],
    "host.dispatch.singleton": ["SingletonDispatcher"],
    "host.orchestrator": ["LocalExecutorOrchestrator", "UnitRefused"],
    "host.proxy": ["unwrap"],
    "host.registry": ["CORE_VERSION"],
    "host.resources": ["ResourceContainer", "ResourceRegistry", "Resources", "inject_resources"],
    "host.services.blobs": ["BlobStore", "FileBlobStore", "InMemoryBlobStore", "MemoryBlobStore"],
    "host.services.checkpoint": [
        "CheckpointStore",
        "FileCheckpointStore",
        "InMemoryCheckpointStore",
    ],
    "host.services.clock": ["Clock", "FrozenClock", "SystemClock"],
    "host.services.event_bus": ["EventBus", "InMemoryEventBus"],
    "host.services.http": ["CannedHttpClient", "HttpClient", "HttpxClient"],
    "host.services.ownership": ["ResourceRequest"],
    "host.services.progress": [
        "LogProgressSink",
        "MockProgressSink",
        "NoOpProgressSink",
        "Progress",
        "ProgressSink",
    ],
    "host.services.rng": ["DeterministicRng", "RandomRng", "Rng"],
    "host.services.standard": ["STANDARD_RESOURCES"],
    "host.services.tenant": ["NoOpTenantContext", "TenantAccessDenied", "TenantContext"],
    "host.services.tmpdir": ["FolderTmpDir", "SystemTmpDir", "TmpDir"],
    "host.wrapping": ["wrap_singleton"],
    "testing.ambient_state": [
        "AmbientStateReport",
        "AmbientStateViolation",
        "assert_no_ambient_state",
    ],
    "testing.boundaries": ["assert_deterministic", "assert_json_serializable_boundaries"],
    "testing.harness": ["assert_manifest_valid", "running_plugin"],
    "testing.lifecycle": ["assert_lifecycle_clean"],
    "testing.suite": ["ALL_CHECKS", "ContractResult", "SuiteResult", "run_contract_suite"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ALL_CHECKS",
    "CORE_VERSION",
    "DEFAULT_IGNORE",
    "MIDDLEWARE_PRIORITY_THRESHOLD",
    "ORCHESTRATOR_KIND",
    "STANDARD_RESOURCES",
    "STOP_CHAIN",
    "TOOL_KIND",
    "ActiveUnknown",
    "AmbientStateError",
    "AmbientStateReport",
    "AmbientStateViolation",
    "AmbiguousPlugin",
    "BlobStore",
    "BroadcastCollectDispatcher",
    "BroadcastErrors",
    "BroadcastNotifyDispatcher",
    "CannedHttpClient",
    "CapabilityDispatcher",
    "ChainDispatcher",
    "CheckpointStore",
    "Clock",
    "ConfigInvalid",
    "ConfigSectionInvalid",
    "ContractResult",
    "DependencyCycle",
    "DependencyMissing",
    "DeterminismError",
    "DeterministicRng",
    "DevServer",
    "DispatchCandidate",
    "DispatchClass",
    "DispatchMismatch",
    "DrainTimedOut",
    "ErrorPolicy",
    "EventBus",
    "EventLoopClosed",
    "EventStream",
    "EventsMissed",
    "Fact",
    "FileBlobStore",
    "FileCheckpointStore",
    "FolderTmpDir",
    "FrozenClock",
    "HandshakeFailed",
    "HandshakeTimeout",
    "HealthCheckInvalid",
    "HookFailed",
    "HookSpec",
    "HookspecMissing",
    "HookspecsInvalid",
    "HttpClient",
    "HttpxClient",
    "InMemoryBlobStore",
    "InMemoryCheckpointStore",
    "InMemoryEventBus",
    "KindSpec",
    "KindUnknown",
    "KindVersionIncompatible",
    "LeakDetected",
    "Leaks",
    "LocalExecutorOrchestrator",
    "LogProgressSink",
    "ManifestInvalid",
    "MemoryBlobStore",
    "MockProgressSink",
    "NoCapabilityMatch",
    "NoOpProgressSink",
    "NoOpTenantContext",
    "NobodyAnswers",
    "NotForChains",
    "NotTransferable",
    "Operation",
    "OperationKind",
    "OutOfReach",
    "PluginBlocking",
    "PluginCancelled",
    "PluginContext",
    "PluginCrashed",
    "PluginDegraded",
    "PluginLeaked",
    "PluginLoadError",
    "PluginManifest",
    "PluginNotSetUp",
    "PluginOverstepped",
    "PluginRecovered",
    "PluginRef",
    "PluginRegistry",
    "PluginRegistryError",
    "PluginRejected",
    "PluginRequiresRestart",
    "PluginRetrying",
    "PluginStatus",
    "PluginUnavailable",
    "PluginUnhealthy",
    "ProcessDied",
    "Progress",
    "ProgressSink",
    "RandomRng",
    "ReloadCommitted",
    "ReloadFailed",
    "ReloadRolledBack",
    "ReloadSkipped",
    "ReloadStarted",
    "ReloadWaiting",
    "RemoteError",
    "ResourceContainer",
    "ResourceRegistry",
    "ResourceRequest",
    "Resources",
    "ResourcesSpec",
    "Rng",
    "RuntimeNotSupported",
    "SerializationError",
    "ServerExited",
    "ServerLost",
    "Settings",
    "SetupTimeout",
    "SignatureMismatch",
    "SingletonDispatcher",
    "State",
    "SuiteResult",
    "SystemClock",
    "SystemTmpDir",
    "TaskFailed",
    "TeardownErrors",
    "TeardownFailed",
    "TeardownTimeout",
    "TenantAccessDenied",
    "TenantContext",
    "TmpDir",
    "ToolArgumentsInvalid",
    "ToolError",
    "ToolResultInvalid",
    "ToolTimeout",
    "Transition",
    "UndeclaredImport",
    "UnitOfWorkSpec",
    "UnitRefused",
    "VersionIncompatible",
    "WatchProblem",
    "WatchStarted",
    "WatchStopped",
    "__version__",
    "assert_deterministic",
    "assert_json_serializable_boundaries",
    "assert_lifecycle_clean",
    "assert_manifest_valid",
    "assert_no_ambient_state",
    "broadcast_collect",
    "broadcast_notify",
    "capability",
    "chain",
    "derive_context_for_plugin",
    "discover",
    "dispatch_class_for",
    "hookspecs",
    "inject_resources",
    "load_manifest",
    "load_manifest_from_dict",
    "parse_hookspecs",
    "run_contract_suite",
    "running_plugin",
    "singleton",
    "topo_sort",
    "unwrap",
    "wrap_singleton",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
