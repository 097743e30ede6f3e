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
    from dagstack_dev.core.errors import (
        AmbiguousPlugin,
        DependencyCycle,
        DependencyMissing,
        KindUnknown,
        ManifestInvalid,
        PluginCancelled,
        PluginCrashed,
        PluginLoadError,
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
        Fact,
        Leaks,
        PluginBlocking,
        PluginLeaked,
        PluginOverstepped,
        PluginRejected,
        ReloadCommitted,
        ReloadFailed,
        ReloadRolledBack,
        ReloadSkipped,
        ReloadStarted,
        TeardownFailed,
        Transition,
        WatchProblem,
        WatchStarted,
        WatchStopped,
    )
    from dagstack_dev.core.graph import topo_sort
    from dagstack_dev.core.lifecycle import PluginStatus, State
    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.context import PluginContext
    from dagstack_dev.host.proxy import unwrap
    from dagstack_dev.host.registry import CORE_VERSION
    from dagstack_dev.host.resources import ResourceContainer, ResourceRegistry

_HOMES = {
    "app.config": ["ConfigInvalid"],
    "app.events": ["EventStream"],
    "app.registry": ["PluginRegistry", "discover"],
    "app.server": ["DevServer"],
    "app.settings": ["Settings"],
    "core.errors": [
        "AmbiguousPlugin",
        "DependencyCycle",
        "DependencyMissing",
        "KindUnknown",
        "ManifestInvalid",
        "PluginCancelled",
        "PluginCrashed",
        "PluginLoadError",
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
        "Fact",
        "Leaks",
        "PluginBlocking",
        "PluginLeaked",
        "PluginOverstepped",
        "PluginRejected",
        "ReloadCommitted",
        "ReloadFailed",
        "ReloadRolledBack",
        "ReloadSkipped",
        "ReloadStarted",
        "TeardownFailed",
        "Transition",
        "WatchProblem",
        "WatchStarted",
        "WatchStopped",
    ],
    "core.graph": ["topo_sort"],
    "core.lifecycle": ["PluginStatus", "State"],
    "core.manifest": ["PluginManifest"],
    "core.refs": ["PluginRef"],
    "host.context": ["PluginContext"],
    "host.proxy": ["unwrap"],
    "host.registry": ["CORE_VERSION"],
    "host.resources": ["ResourceContainer", "ResourceRegistry"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CORE_VERSION",
    "AmbiguousPlugin",
    "ConfigInvalid",
    "DependencyCycle",
    "DependencyMissing",
    "DevServer",
    "DrainTimedOut",
    "EventStream",
    "Fact",
    "KindUnknown",
    "Leaks",
    "ManifestInvalid",
    "PluginBlocking",
    "PluginCancelled",
    "PluginContext",
    "PluginCrashed",
    "PluginLeaked",
    "PluginLoadError",
    "PluginManifest",
    "PluginOverstepped",
    "PluginRef",
    "PluginRegistry",
    "PluginRegistryError",
    "PluginRejected",
    "PluginStatus",
    "PluginUnavailable",
    "ReloadCommitted",
    "ReloadFailed",
    "ReloadRolledBack",
    "ReloadSkipped",
    "ReloadStarted",
    "ResourceContainer",
    "ResourceRegistry",
    "RuntimeNotSupported",
    "Settings",
    "SetupTimeout",
    "State",
    "TeardownErrors",
    "TeardownFailed",
    "TeardownTimeout",
    "Transition",
    "VersionIncompatible",
    "WatchProblem",
    "WatchStarted",
    "WatchStopped",
    "__version__",
    "discover",
    "topo_sort",
    "unwrap",
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
