"""What runs, as data that can be compared across processes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import structlog
from serving import namespace

from dagstack_dev import (
    DevServer,
    PluginContext,
    PluginRef,
    PluginRegistry,
    Settings,
    State,
    unwrap,
)
from dagstack_dev.core.events import Fact, Transition
from dagstack_dev.core.lifecycle import Stage
from soaking.modules import around

Picture = dict[str, Any]
"""Nothing but what JSON can hold; see `picture`."""

WORKER = "worker of "
_OF_THE_SERVER = ("dagstack_dev.disk.", "dagstack_dev.app.server.DevServer._call_later")
"""Tasks that look at the disk, and timers: how many there are is nobody's business."""

DISLIKED = 5
"""One in so many pairs of versions does not go together, for a plugin that is wary."""


class Unreachable(ConnectionError):
    """The service is out of order; that passes, so the plugin is tried again."""


_PASSING = {Unreachable.__name__, "RetryPreempted"}
"""What a plugin fails with for that: in a try that something else has come before, too."""


class Flaked(RuntimeError):
    """A setup has failed that went well before, and would go well again."""


def silence_logs() -> None:
    """Log nothing: what is logged would keep what it is about."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        processors=[],
        logger_factory=structlog.ReturnLoggerFactory(),
    )


class Host:
    """What plugins find in `ctx.extras["host"]`, and what is known of them.

    Attributes:
        registry: theirs.
        server: over `root`, not entered yet.
        census: every instance that was ever set up and is still in memory.
        modules: likewise a function of every shared module that plugins have reached.
        crashing: the instances that were told to fail, by ref.
        is_out_of_order: whether the service is that plugins which are online need.
        flaky: plugins that are to fail once, when they come back in a roll-back.
        flaked: those that have failed there, and have not been ready since.
        fallen: those that have failed there since the last quiet point.
    """

    def __init__(self, root: Path, *, polling: bool = False) -> None:
        self.registry = PluginRegistry()
        self.registry.observe(self._see)
        context = PluginContext(
            config={},
            logger=structlog.get_logger(),
            registry=self.registry,
            extras={"host": self},
        )
        settings = Settings(
            doubt_ms=10,
            polling=polling,
            config_file=root.with_name("config.toml"),
            retry_seconds=0.01,
            retry_limit_seconds=0.1,
        )
        self.server = DevServer(root, context=context, settings=settings)
        self.census: weakref.WeakSet[Any] = weakref.WeakSet()
        self.modules: weakref.WeakSet[FunctionType] = weakref.WeakSet()
        self.crashing: dict[PluginRef, Any] = {}
        self.is_out_of_order = False
        self.flaky: set[str] = set()
        self.flaked: set[PluginRef] = set()
        self.fallen: set[str] = set()
        self.setups: dict[str, tuple[str, int, bool]] = {}
        self._serials = 0
        self._begun = 0

    def _see(self, fact: Fact) -> None:
        if isinstance(fact, Transition) and fact.to_state is State.READY:
            self.flaked.discard(fact.ref)
        if isinstance(fact, Transition) and fact.to_state is State.SETTING_UP:
            self._begun += 1
            again = "again" if fact.reason == "rolled back" else ""
            setup = self.registry.table.entries[fact.ref].instance.setup
            self.setups[str(fact.ref)] = (
                f"{fact.reload_id}{again}",
                self._begun,
                inspect.iscoroutinefunction(setup),
            )

    def crash(self, ref: str) -> None:
        """Have the task of a plugin fail, if it runs one for that."""
        entry = self.registry.table.entries.get(PluginRef(*ref.split("/")))
        if entry is not None and self.registry.table.states[entry.ref] is State.READY:
            broken = getattr(entry.instance, "broken", None)
            if broken is not None:
                self.crashing[entry.ref] = entry.instance
                broken.set()

    def suffering(self, state: State) -> set[PluginRef]:
        """What is in `state`, and has not come further for the service was out of order."""
        return {
            ref
            for ref, status in self.server.statuses().items()
            if status.state is state and not _PASSING.isdisjoint(_kind(status.error))
        }

    def has_crashed(self) -> bool:
        """Whether whatever was told to fail runs no more."""
        table = self.registry.table
        return not any(
            ref in table.entries
            and table.entries[ref].instance is instance
            and table.states[ref] is State.READY
            for ref, instance in self.crashing.items()
        )

    # What plugins call

    def began(self, plugin: Any, package: str, *, borrowed: Mapping[str, str]) -> None:
        """The setup of `plugin` has begun: note whom it is wired to."""
        table = self.registry.table
        ref = PluginRef(*package.split(".")[-2:])
        self._serials += 1
        plugin.serial = self._serials
        plugin.ref = str(ref)
        plugin.borrowed = dict(borrowed)
        plugin.wired = {
            str(other): self.registry.get_plugin(*other).serial
            for other in table.graph.dependencies(ref)
        }
        self.census.add(plugin)
        if plugin.ref in self.flaky and self._comes_back(ref):
            self.flaky.discard(plugin.ref)
            self._falls(ref)
            raise Flaked

    def reach(self, plugin: Any) -> None:
        """Fail while the service is out of order."""
        if self.is_out_of_order:
            ref = PluginRef(*plugin.ref.split("/"))
            if self._comes_back(ref):
                self._falls(ref)
            raise Unreachable

    def _falls(self, ref: PluginRef) -> None:
        self.flaked.add(ref)
        self.fallen.add(str(ref))

    def _comes_back(self, ref: PluginRef) -> bool:
        """Whether what is set up is what ran before, in a roll-back."""
        return self.setups[str(ref)][0].endswith("again")

    def judge(self, plugin: Any) -> None:
        """Fail if the versions of `plugin` and of something that it depends on do not match."""
        for ref in plugin.wired:
            found = self.registry.get_plugin(*ref.split("/")).version
            if (int(plugin.version) + int(found)) % DISLIKED == 0:
                msg = f"{plugin.ref} {plugin.version} does not go with {ref} {found}"
                raise RuntimeError(msg)

    def demand(self, plugin: Any, demands: Mapping[str, int]) -> None:
        """Fail unless each dependency has the api that is counted on."""
        for ref, api in demands.items():
            found = self.registry.get_plugin(*ref.split("/")).api
            if found != api:
                msg = f"{plugin.ref} needs api {api} of {ref}, not {found}"
                raise RuntimeError(msg)

    def worker(self, plugin: Any) -> str:
        """A name for a thread or task of `plugin`."""
        return f"{WORKER}{plugin.ref} {plugin.serial}"

    def read(self, path: Path) -> str | None:
        """The text of a file, if it is there."""
        return path.read_text() if path.exists() else None


def picture(host: Host) -> Picture:
    """Everything that can be told of what runs, `plugins` by ref."""
    statuses = host.server.statuses()
    return {
        "plugins": {str(ref): _plugin(host, ref) for ref in statuses},
        "modules": _modules(namespace(host.registry)),
        "workers": sorted(name for name in _activities() if name.startswith(WORKER)),
        "others": sorted({n for n in _activities() if not n.startswith((WORKER, *_OF_THE_SERVER))}),
    }


def _plugin(host: Host, ref: PluginRef) -> dict[str, Any]:
    table = host.registry.table
    status = host.server.statuses()[ref]
    seen: dict[str, Any] = {
        "state": str(status.state),
        "pending": status.pending,
        "stage": status.stage and str(status.stage),
        "blocked_by": list(status.blocked_by),
        "folder": status.path and str(Path(status.path).relative_to(host.server.roots[0])),
        "error": str(status.error) if status.error is not None else None,
        "kind": _kind(status.error),
        "by_accident": status.stage is Stage.RUN or ref in host.flaked,
        "crashed": status.stage is Stage.RUN,
    }
    if status.state is State.READY:
        proxy = host.registry.get_plugin(*ref)
        plugin = unwrap(proxy)
        versions = _versions(proxy)
        seen |= {
            "versions": versions,
            "shared": _shared(host, versions.pop("shared", {})),
            "serial": plugin.serial,
            "wired": plugin.wired,
            "borrowed": plugin.borrowed,
            "worker": plugin.worker,
            "depends_on": [str(other) for other in table.graph.dependencies(ref)],
            "priority": table.entries[ref].manifest.priority,
            "setup": list(host.setups[str(ref)]),
            "ended": table.setup_order[ref],
        }
    return seen


def _kind(error: BaseException | None) -> list[str]:
    """The class of an error, and of whatever has caused it."""
    return [type(error).__name__, *_kind(error.__cause__)] if error is not None else []


def _versions(proxy: Any) -> dict[str, Any]:
    """What `probe` tells; it may import something that cannot be imported."""
    try:
        found: dict[str, Any] = proxy.probe()
    except Exception as error:  # noqa: BLE001 - what plugins and modules are made to raise
        return {"plugin": proxy.version, "probe": type(error).__name__}
    return found


def _shared(host: Host, found: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The shared modules that a plugin reaches, with what it has got of each.

    That is one version, or "missing". Anything else is told besides: that it is no longer the
    module that imports find, or not the one in its package.
    """
    seen = {name: set(versions) for name, versions in found.items()}
    for name in found:
        module = sys.modules.get(name)
        if module is None:
            continue
        if hasattr(module, "told"):  # Not so for a folder whose `__init__.py` has gone.
            host.modules.add(module.told)
        for package in around(name):
            outer = sys.modules.get(package)
            seen.setdefault(package, set()).add(getattr(outer, "VERSION", "missing"))
        package, _, last = name.rpartition(".")
        outer = sys.modules.get(package)  # None when it failed after its part was loaded.
        if outer is not None and getattr(outer, last, None) is not module:
            seen[name].add("not in its package")
    return {name: sorted(versions) for name, versions in seen.items()}


def replaced(modules: Iterable[FunctionType]) -> list[FunctionType]:
    """Those functions `told` whose module is not what imports find."""
    return [
        told
        for told in modules
        if getattr(sys.modules.get(told.__module__), "told", None) is not told
    ]


def _modules(prefix: str) -> dict[str, str | None]:
    """The version of every plugin module, by its name without the registry's part."""
    return {
        name.removeprefix(prefix): vars(module).get("VERSION")
        for name, module in sys.modules.copy().items()
        if name == prefix or name.startswith(prefix + ".")
    }


def _activities() -> list[str]:
    """The name of every thread and task but ours; what has a number only goes by its code."""
    ours = asyncio.current_task()
    tasks = [each for each in asyncio.all_tasks() if each is not ours]
    named = [
        str(each.get_coro()).split()[2]  # "<coroutine object NAME at 0x...>"
        if each.get_name().startswith("Task-")
        else each.get_name()
        for each in tasks
    ]
    idle = ("AnyIO", "Trio thread")  # Both keep theirs for a while, for whoever needs one next.
    threads = [each.name for each in threading.enumerate() if not each.name.startswith(idle)]
    return [_without_owner(name) for name in named + threads]


def _without_owner(name: str) -> str:
    """A worker's name, as its plugin gave it: what is owned bears the owner's ref before it."""
    return name[name.index(WORKER) :] if WORKER in name else name
