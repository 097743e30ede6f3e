"""A running dev server for tests, with everything that it reports and what its plugins did."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import anyio
import structlog
from agreement import disagreements
from trees import PluginTree

from dagstack_dev import DevServer, PluginContext, PluginRef, PluginRegistry, PluginStatus, Settings
from dagstack_dev.app.local_api import LocalApi
from dagstack_dev.core.events import (
    Fact,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadStarted,
    Transition,
)
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.registry.registry import Registry

FactT = TypeVar("FactT")

OUTCOMES = (ReloadCommitted, ReloadFailed, ReloadRolledBack)


def ref(name: str, kind: str = "demo") -> PluginRef:
    return PluginRef(kind, name)


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def context(
    journal: list[str] | None = None, registry: Registry | None = None, **extras: Any
) -> PluginContext:
    """A context whose `extras` carry `journal` and whatever else plugins are to find there."""
    return PluginContext(
        config={},
        logger=structlog.get_logger(),
        registry=registry,
        extras={"journal": [] if journal is None else journal, **extras},
    )


class Live:
    """A server inside its block.

    Attributes:
        server: the server.
        facts: every fact, from before the first start on.
        journal: what plugins wrote into `ctx.extras["journal"]`.
        disagreements: what did not agree when a fact was reported.
    """

    def __init__(self, server: DevServer, journal: list[str]) -> None:
        self.server = server
        self.journal = journal
        self.facts: list[Fact] = []
        self.disagreements: list[str] = []
        self._arrived = anyio.Event()
        server.registry.observe(self._receive)

    def _receive(self, fact: Fact) -> None:
        self.facts.append(fact)
        if isinstance(fact, Transition):
            table = self.server.registry.table
            self.disagreements += disagreements(table, table.entries[fact.ref])
        self._arrived.set()
        self._arrived = anyio.Event()

    def forget(self) -> None:
        """Begin facts and journal anew."""
        self.facts.clear()
        self.journal.clear()

    async def settle(self) -> None:
        """Forget what was, then take over what is on disk now."""
        self.forget()
        await self.server.wait_idle()

    def take_in(self) -> None:
        """Have all that is on disk by now taken in as one batch, whatever events are to come.

        The system may report at different moments what a test has written at once.
        """
        self.server._loop.inbox.request(None)

    async def looked_for_leaks(self) -> None:
        """Wait until every old generation has been looked at for the last time."""
        await self.server.wait_idle()
        while self.server._loop.leaks.idle_seconds is not None:
            await anyio.sleep(0.01)  # Looking leaves no trace when nothing has leaked.

    async def fact(
        self, kind: type[FactT], matches: Callable[[FactT], bool] = lambda _: True
    ) -> FactT:
        """The first fact of this kind that matches, waited for if it is not there yet."""
        while True:
            arrived = self._arrived
            for each in self.facts:
                if isinstance(each, kind) and matches(each):
                    return each
            await arrived.wait()

    def of(self, kind: type[FactT]) -> list[FactT]:
        """The facts of one kind."""
        return [each for each in self.facts if isinstance(each, kind)]

    @property
    def outcomes(self) -> list[type[object]]:
        """How each transaction ended, in order."""
        return [type(each) for each in self.facts if isinstance(each, OUTCOMES)]

    @property
    def affected(self) -> set[str]:
        """Names of the plugins that any reload touched."""
        return {each.name for fact in self.of(ReloadStarted) for each in fact.affected}

    def reached(self, state: State) -> list[str]:
        """Names of the plugins that came into `state`, in order."""
        return [each.ref.name for each in self.of(Transition) if each.to_state is state]

    def status(self, name: str, kind: str = "demo") -> PluginStatus:
        return self.server.statuses()[ref(name, kind)]

    def state(self, name: str, kind: str = "demo") -> State:
        return self.status(name, kind).state

    @property
    def states(self) -> dict[str, str]:
        return {each.name: str(status.state) for each, status in self.server.statuses().items()}

    def plugin(self, name: str, kind: str = "demo") -> Any:
        return self.server.registry.get_plugin(kind, name)

    def instance(self, name: str, kind: str = "demo") -> Any:
        """What runs behind the proxy now; keep it no longer than the test must."""
        return self.server.registry.table.entries[ref(name, kind)].instance

    @property
    def namespace(self) -> str:
        return namespace(self.server.registry)

    def module(self, name: str, part: str = "plugin", kind: str = "demo") -> ModuleType | None:
        """A module of a plugin as imports find it now."""
        return sys.modules.get(f"{self.namespace}.{kind}.{name}.{part}")


def namespace(registry: Registry) -> str:
    """The first part of the names of this registry's plugin modules."""
    return str(registry.runtimes["in_process"].namespace)  # type: ignore[attr-defined]


def make_live(
    tree: PluginTree,
    *,
    registry: Registry | None = None,
    extras: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    code_roots: Iterable[Path] = (),
    api: LocalApi | None = None,
    **settings: Any,
) -> Live:
    """A server over `tree` that has not been entered, quick to believe the disk."""
    journal: list[str] = []
    registry = registry if registry is not None else PluginRegistry()
    ctx = context(journal, registry, **(extras or {}))
    ctx.config = config or {}
    options = Settings(**{"debounce_ms": 10, **settings})
    server = DevServer(tree.root, code_roots=code_roots, context=ctx, settings=options, api=api)
    return Live(server, journal)


@asynccontextmanager
async def serving(tree: PluginTree, **options: Any) -> AsyncIterator[Live]:
    """A server over `tree`, entered; `options` are those of `make_live`."""
    live = make_live(tree, **options)
    async with live.server:
        yield live
    assert not live.disagreements, live.disagreements
