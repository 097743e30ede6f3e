"""A cancellation, at whatever moment, ends with nothing left set up and no task left."""

from __future__ import annotations

import asyncio
from collections import Counter

import anyio
import pytest
from serving import Live, make_live, ref
from trees import CODE, PluginTree

from dagstack_dev.core.events import Transition, WatchStarted, WatchStopped
from dagstack_dev.core.lifecycle import State

SLOW = """
import anyio
class Plugin:
    VALUE = {value}
    async def setup(self, ctx):
        self.ctx = ctx
        self.ctx.extras["journal"].append("setup slow")
        if self.VALUE in ctx.extras["hang"]:
            try:
                await anyio.sleep_forever()
            finally:
                self.ctx.extras["journal"].append("cancelled slow")
    async def teardown(self):
        if "teardown" in self.ctx.extras["hang"]:
            self.ctx.extras["in_teardown"].set()
            await self.ctx.extras["go_on"].wait()
        self.ctx.extras["journal"].append("teardown slow")
"""


def slow_tree(tree: PluginTree, value: int = 1) -> None:
    tree.plugin("base", value=value)
    tree.plugin("slow", depends_on=["base"], code=SLOW.format(value=value))
    tree.plugin("top", depends_on=["slow"])


def assert_all_down(live: Live) -> None:
    """Every setup has met its teardown or its cancellation."""
    begun = Counter(line.split()[1] for line in live.journal if line.startswith("setup"))
    ended = Counter(line.split()[1] for line in live.journal if not line.startswith("setup"))
    assert begun == ended
    assert not set(live.states.values()) & {"ready", "setting_up", "tearing_down"}
    assert isinstance(live.facts[-1], WatchStopped)


async def run_until_cancelled(live: Live, scope: anyio.CancelScope) -> None:
    with scope:
        async with live.server:
            await anyio.sleep_forever()


def slow_again(fact: Transition) -> bool:
    """The second generation of `slow` is being set up."""
    return (fact.ref, fact.to_state, fact.generation) == (ref("slow"), State.SETTING_UP, 2)


async def test_in_the_middle_of_the_first_start(tree: PluginTree) -> None:
    slow_tree(tree)
    tasks = asyncio.all_tasks()
    live = make_live(tree, extras={"hang": {1}})
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(run_until_cancelled, live, scope)
        await live.fact(Transition, lambda each: each.to_state is State.SETTING_UP)
        await anyio.wait_all_tasks_blocked()
        assert live.journal == ["setup base 1", "setup slow"]
        scope.cancel()
    assert live.journal == ["setup base 1", "setup slow", "cancelled slow", "teardown base 1"]
    assert_all_down(live)
    assert live.of(WatchStarted) == []
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_in_the_middle_of_a_setup_of_a_reload(tree: PluginTree, how: str) -> None:
    slow_tree(tree)
    tree.plugin("aside")
    tasks = asyncio.all_tasks()
    live = make_live(tree, extras={"hang": {2}})
    scope = anyio.CancelScope()
    running = asyncio.create_task(run_until_cancelled(live, scope))
    await live.fact(WatchStarted)
    slow_tree(tree, value=2)
    live.take_in()
    await live.fact(Transition, slow_again)
    if how == "scope":
        scope.cancel()
        await running
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert live.journal[-3:] == ["cancelled slow", "teardown base 2", "teardown aside 1"]
    assert_all_down(live)
    assert asyncio.all_tasks() == tasks


async def test_in_the_middle_of_a_teardown_of_a_reload(tree: PluginTree) -> None:
    slow_tree(tree)
    tasks = asyncio.all_tasks()
    in_teardown, go_on = anyio.Event(), anyio.Event()
    extras = {"hang": {"teardown"}, "in_teardown": in_teardown, "go_on": go_on}
    live = make_live(tree, extras=extras)
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(run_until_cancelled, live, scope)
        await live.fact(WatchStarted)
        slow_tree(tree, value=2)
        await in_teardown.wait()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert "teardown base 1" not in live.journal
        go_on.set()
    assert live.journal[-2:] == ["teardown slow", "teardown base 1"]
    assert_all_down(live)
    assert asyncio.all_tasks() == tasks


async def test_while_a_rollback_is_under_way(tree: PluginTree) -> None:
    slow_tree(tree)
    hang: set[int] = set()
    live = make_live(tree, extras={"hang": hang})
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(run_until_cancelled, live, scope)
        await live.fact(WatchStarted)
        live.forget()
        hang.add(1)
        text = CODE.format(name="base", value=2).replace("self.ctx = ctx", "1 / 0")
        tree.write("base/plugin.py", text)
        await live.fact(
            Transition,
            lambda each: each.to_state is State.SETTING_UP and each.ref == ref("slow"),
        )
        scope.cancel()
    assert live.journal == [
        "teardown top 1",
        "teardown slow",
        "teardown base 1",
        "setup base 1",
        "setup slow",
        "cancelled slow",
        "teardown base 1",
    ]
    assert not set(live.states.values()) & {"ready", "setting_up", "tearing_down"}


async def test_while_nothing_happens(tree: PluginTree) -> None:
    slow_tree(tree)
    live = make_live(tree, extras={"hang": set()})
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(run_until_cancelled, live, scope)
        await live.fact(WatchStarted)
        scope.cancel()
    assert live.journal[-3:] == ["teardown top 1", "teardown slow", "teardown base 1"]
    assert_all_down(live)


async def test_an_exception_of_the_body_during_a_reload_waits_for_a_complete_end(
    tree: PluginTree,
) -> None:
    slow_tree(tree)
    live = make_live(tree, extras={"hang": {2}})

    async def fail_during_the_reload() -> None:
        async with live.server:
            slow_tree(tree, value=2)
            await live.fact(Transition, slow_again)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail_during_the_reload()
    assert_all_down(live)


STOPS_THE_APP = """
class Plugin:
    async def setup(self, ctx):
        self.journal = ctx.extras["journal"]
        self.journal.append("setup {name}")
        ctx.extras["scope"].cancel()
    async def teardown(self):
        self.journal.append("teardown {name}")
"""


async def test_in_the_very_moment_in_which_setups_end(tree: PluginTree) -> None:
    for name in ("one", "two"):
        tree.plugin(name, code=STOPS_THE_APP.format(name=name))
    tasks = asyncio.all_tasks()
    scope = anyio.CancelScope()
    live = make_live(tree, extras={"scope": scope})
    await run_until_cancelled(live, scope)
    assert "setup one" in live.journal
    assert_all_down(live)
    assert asyncio.all_tasks() == tasks
