"""What plugins find in `ctx.extras["host"]`: the server around them, and what goes wrong there."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import structlog

from dagstack_dev import DevServer, PluginContext, PluginRef, PluginRegistry, Settings, State
from dagstack_dev.core.events import Fact, Transition

WORKER = "worker of "
"""What the name of a thread or task of a plugin begins with."""

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
            debounce_ms=10,
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
        self.fallen: set[str] = set()
        self.setups: dict[str, tuple[str, int, bool]] = {}
        self._serials = 0
        self._begun = 0

    def _see(self, fact: Fact) -> None:
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
        """What is in `state`, and has not come further for the service was out of order.

        News may wait for a plugin that has failed for that and is nowhere to be seen: what has its
        folder runs again.
        """
        reasons = _PASSING | ({"DependencyBlocked"} if state is State.READY else set())
        return {
            ref
            for ref, status in self.server.statuses().items()
            if status.state is state and not reasons.isdisjoint(kinds(status.error))
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
        if plugin.ref in self.flaky and self._comes_back(plugin.ref):
            self.flaky.discard(plugin.ref)
            self.fallen.add(plugin.ref)
            raise Flaked

    def reach(self, plugin: Any) -> None:
        """Fail while the service is out of order."""
        if self.is_out_of_order:
            if self._comes_back(plugin.ref):
                self.fallen.add(plugin.ref)
            raise Unreachable

    def _comes_back(self, ref: str) -> bool:
        """Whether what is set up is what ran before, in a roll-back."""
        return self.setups[ref][0].endswith("again")

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


def kinds(error: BaseException | None) -> list[str]:
    """The class of an error, and of whatever has caused it."""
    return [type(error).__name__, *kinds(error.__cause__)] if error is not None else []
