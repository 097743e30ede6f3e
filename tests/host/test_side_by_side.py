"""Two reloads at a time, in two tasks of one loop: each fact belongs to its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import PluginContext, PluginRef, PluginRegistry, ReloadWaiting, State
from dagstack_dev.core.events import Fact, TeardownFailed, Transition
from dagstack_dev.core.plan import Load
from dagstack_dev.host.loop.watchdog import Watchdog
from dagstack_dev.host.reload import waiting
from dagstack_dev.host.reload.schedule import Setups
from dagstack_dev.host.reload.waiting import watching

Put = Callable[..., Any]


class Slow:
    """Its setups go on at a signal, and its teardowns raise."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.go_on.set()
        self.crash = anyio.Event()

    async def setup(self, ctx: PluginContext) -> None:
        ctx.start_soon(self.serve)
        await self.go_on.wait()

    async def serve(self) -> None:
        await self.crash.wait()
        raise LookupError("bang")

    def teardown(self) -> None:
        raise ValueError("no")


async def reload(registry: PluginRegistry, name: str, reload_id: int) -> None:
    """Give one plugin a new setup."""
    runner, table, ref = registry.runner, registry.table, PluginRef("demo", name)
    entry = table.entries[ref]
    with watching(table, [ref], reload_id):
        await runner.take_down([(entry, "an edit")])
        runner.load(entry, Load.RENEW, "an edit")
        await Setups(runner, {ref: "an edit"}).run()


def ids(facts: list[Fact], name: str) -> set[int | None]:
    """The reloads to which what happened to one plugin belongs."""
    return {
        each.reload_id
        for each in facts
        if isinstance(each, Transition | TeardownFailed) and each.ref.name == name
    }


async def test_what_happens_belongs_to_the_reload_that_does_it(
    registry: PluginRegistry, ctx: PluginContext, put: Put, facts: list[Fact]
) -> None:
    plugins = {name: Slow() for name in ("one", "two", "other")}
    for name, plugin in plugins.items():
        put(plugin, name)
    await registry.setup_all(ctx)
    facts.clear()
    one, two, other = plugins.values()
    one.go_on, two.go_on = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(reload, registry, "one", 1)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(reload, registry, "two", 2)
        await anyio.wait_all_tasks_blocked()
        other.crash.set()
        await anyio.wait_all_tasks_blocked()
        one.go_on.set()
        await anyio.wait_all_tasks_blocked()
        two.go_on.set()
    assert registry.table.states[PluginRef("demo", "other")] is State.FAILED
    assert {name: ids(facts, name) for name in plugins} == {"one": {1}, "two": {2}, "other": {None}}
    facts.clear()
    one.crash.set()  # It is no part of the reload in which the plugin was set up.
    await anyio.wait_all_tasks_blocked()
    assert registry.table.states[PluginRef("demo", "one")] is State.FAILED
    assert ids(facts, "one") == {None}


async def test_each_reload_reports_what_it_waits_for_itself(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    facts: list[Fact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "REPORTED_SECONDS", 0.02)
    plugins = {name: Slow() for name in ("one", "two")}
    for name, plugin in plugins.items():
        put(plugin, name)
    await registry.setup_all(ctx)
    reported: dict[int | None, set[str]] = {}
    both = anyio.Event()

    def see(fact: Fact) -> None:
        if isinstance(fact, ReloadWaiting):
            reported.setdefault(fact.reload_id, set()).update(each.ref.name for each in fact.waits)
            if reported.keys() >= {1, 2}:
                both.set()

    registry.observe(see)
    for plugin in plugins.values():
        plugin.go_on = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(reload, registry, "one", 1)
        group.start_soon(reload, registry, "two", 2)
        await both.wait()
        for plugin in plugins.values():
            plugin.go_on.set()
    assert reported == {1: {"one"}, 2: {"two"}}


def test_a_watchdog_watches_until_the_last_has_ended() -> None:
    watchdog = Watchdog(lambda _: None, lambda _: None)
    first, second = watchdog.watching(), watchdog.watching()
    first.__enter__()
    thread = watchdog._thread
    second.__enter__()
    first.__exit__(None, None, None)
    watchdog.stop()  # It does not, for something is watched.
    assert watchdog.is_needed()
    second.__exit__(None, None, None)
    watchdog.stop()
    assert thread is not None
    thread.join(GUARD_SECONDS)  # `stop` waits for a moment only.
    assert not thread.is_alive()
