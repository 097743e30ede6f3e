"""A hot-reloading development server for dagstack plugins, and the registry it stands on."""

from dagstack_dev._version import __version__
from dagstack_dev.app.config import ConfigInvalid
from dagstack_dev.app.events import EventStream
from dagstack_dev.app.registry import PluginRegistry, discover
from dagstack_dev.app.server import DevServer
from dagstack_dev.app.settings import Settings
from dagstack_dev.core.errors import (
    AmbiguousPlugin,
    DependencyCycle,
    DependencyMissing,
    KindUnknown,
    ManifestInvalid,
    PluginLoadError,
    PluginRegistryError,
    PluginUnavailable,
    RuntimeNotSupported,
    SetupTimeout,
    TeardownErrors,
    TeardownTimeout,
    VersionIncompatible,
)
from dagstack_dev.core.graph import topo_sort
from dagstack_dev.core.lifecycle import PluginStatus, State
from dagstack_dev.core.manifest import PluginManifest
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.host.context import PluginContext
from dagstack_dev.host.proxy import unwrap
from dagstack_dev.host.registry import CORE_VERSION
from dagstack_dev.host.resources import ResourceContainer, ResourceRegistry

__all__ = [
    "CORE_VERSION",
    "AmbiguousPlugin",
    "ConfigInvalid",
    "DependencyCycle",
    "DependencyMissing",
    "DevServer",
    "EventStream",
    "KindUnknown",
    "ManifestInvalid",
    "PluginContext",
    "PluginLoadError",
    "PluginManifest",
    "PluginRef",
    "PluginRegistry",
    "PluginRegistryError",
    "PluginStatus",
    "PluginUnavailable",
    "ResourceContainer",
    "ResourceRegistry",
    "RuntimeNotSupported",
    "Settings",
    "SetupTimeout",
    "State",
    "TeardownErrors",
    "TeardownTimeout",
    "VersionIncompatible",
    "__version__",
    "discover",
    "topo_sort",
    "unwrap",
]
