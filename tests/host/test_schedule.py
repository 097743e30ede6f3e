"""When setups start, in which order, and what their time limits do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from trees import PluginTree

from dagstack_dev import (
    PluginContext,
    PluginRef,
    PluginRegistry,
    SetupTimeout,
    State,
    TeardownErrors,
    TeardownTimeout,
)
from dagstack_dev.core.events import Fact, TeardownFailed, Transition

NAPPING = """
    import anyio.lowlevel
    class Plugin:
        async def setup(self, ctx):
            await anyio.lowlevel.checkpoint()
"""


def started(facts: list[Fact]) -> list[str]:
    return [
        fact.ref.name
        for fact in facts
        if isinstance(fact, Transition) and fact.to_state is State.SETTING_UP
    ]


async def test_setups_start_by_priority_then_name(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, facts: list[Fact]
) -> None:
    for name, priority in {"e": 0, "d": 5, "c": 0, "b": 9, "a": 5}.items():
        tree.plugin(name, manifest=f"priority = {priority}\n", code=NAPPING)
    registry.discover(tree.root)
    await registry.setup_all(ctx)
    assert started(facts) == ["b", "a", "d", "c", "e"]
    await registry.teardown_all()


async def test_fifty_plugins_that_wait_for_something_wait_at_the_same_time(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    """None gets on before all fifty are under way: one after the other would hang."""
    under_way: list[object] = []
    all_are = anyio.Event()

    class Waiting:
        async def setup(self, ctx: PluginContext) -> None:
            under_way.append(self)
            if len(under_way) == 50:
                all_are.set()
            await all_are.wait()

    for number in range(50):
        put(Waiting(), f"p{number}", startup_timeout_sec=10)
    await registry.setup_all(ctx)
    assert {each.state for each in registry.statuses().values()} == {State.READY}
    await registry.teardown_all()


async def test_a_plugin_starts_as_soon_as_its_own_dependencies_are_ready(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    """`slow` ends only once `quick`'s dependent is up: waiting for whole levels would hang."""
    dependent_is_up = anyio.Event()

    class Slow:
        async def setup(self, ctx: PluginContext) -> None:
            await dependent_is_up.wait()

    class Dependent:
        def setup(self, ctx: PluginContext) -> None:
            dependent_is_up.set()

    put(Slow(), "slow", startup_timeout_sec=10)
    put(object(), "quick")
    put(Dependent(), "dependent", depends_on=["quick"])
    await registry.setup_all(ctx)
    assert [ref.name for ref in registry.table.ready_refs()] == ["quick", "dependent", "slow"]
    await registry.teardown_all()


async def test_a_plugin_with_no_lifecycle_methods_is_fine(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    tree.plugin("bare", code="class Plugin:\n    def value(self):\n        return 'bare'\n")
    registry.discover(tree.root)
    await registry.setup_all(ctx)
    assert registry.get_plugin("demo", "bare").value() == "bare"
    await registry.teardown_all()
    assert registry.statuses()[PluginRef("demo", "bare")].state is State.STOPPED


@pytest.mark.parametrize("method", ["setup", "teardown"])
async def test_a_plain_function_may_return_an_awaitable(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], method: str
) -> None:
    done = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        done.append(method)

    plugin = type("Plugin", (), {method: lambda self, *ctx: work()})
    put(plugin())
    await registry.setup_all(ctx)
    await registry.teardown_all()
    assert done == [method]


async def test_a_setup_beyond_its_time_is_cancelled_and_rolled_back(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    class Early:
        def teardown(self) -> None:
            journal.append("early torn down")

    class Stuck:
        async def setup(self, ctx: PluginContext) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                journal.append("stuck cancelled")

    put(Early(), "early")
    put(Stuck(), "stuck", startup_timeout_sec=1)
    with pytest.raises(SetupTimeout, match="startup_timeout_sec") as caught:
        await registry.setup_all(ctx)
    assert (caught.value.ref, caught.value.seconds) == (PluginRef("demo", "stuck"), 1)
    assert isinstance(caught.value, TimeoutError)
    assert journal == ["stuck cancelled", "early torn down"]
    assert not registry.is_set_up


def returns_an_awaitable(self: object) -> Any:
    return anyio.sleep_forever()


async def is_async(self: object) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("teardown", [is_async, returns_an_awaitable])
async def test_a_teardown_beyond_its_time_is_collected_and_the_others_go_on(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    journal: list[str],
    facts: list[Fact],
    teardown: Callable[[object], Any],
) -> None:
    class Early:
        def teardown(self) -> None:
            journal.append("early torn down")

    put(Early(), "early")
    stuck = type("Stuck", (), {"teardown": teardown})
    put(stuck(), "stuck", depends_on=["early"], teardown_timeout_sec=1)
    await registry.setup_all(ctx)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    [error] = caught.value.errors
    assert isinstance(error, TeardownTimeout)
    assert (error.ref, error.seconds) == (PluginRef("demo", "stuck"), 1)
    assert journal == ["early torn down"]
    assert [fact.error for fact in facts if isinstance(fact, TeardownFailed)] == [error]


async def test_cancelling_setup_all_tears_down_what_was_up(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    under_way = anyio.Event()

    class Early:
        async def teardown(self) -> None:
            await anyio.lowlevel.checkpoint()
            journal.append("early torn down")

    class Stuck:
        async def setup(self, ctx: PluginContext) -> None:
            under_way.set()
            try:
                await anyio.sleep_forever()
            finally:
                journal.append("stuck cancelled")

    put(Early(), "early")
    put(Stuck(), "stuck", depends_on=["early"])
    async with anyio.create_task_group() as group:
        group.start_soon(registry.setup_all, ctx)
        await under_way.wait()
        group.cancel_scope.cancel()
    assert journal == ["stuck cancelled", "early torn down"]
    assert {each.state for each in registry.statuses().values()} == {State.LOADED}


async def test_cancelling_teardown_all_still_tears_everything_down(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    under_way = anyio.Event()

    class Early:
        def teardown(self) -> None:
            journal.append("early torn down")

    class Slow:
        async def teardown(self) -> None:
            under_way.set()
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            journal.append("slow torn down")

    put(Early(), "early")
    put(Slow(), "slow", depends_on=["early"])
    await registry.setup_all(ctx)
    async with anyio.create_task_group() as group:
        group.start_soon(registry.teardown_all)
        await under_way.wait()
        group.cancel_scope.cancel()
    assert journal == ["slow torn down", "early torn down"]
    assert {each.state for each in registry.statuses().values()} == {State.STOPPED}
    assert not registry.is_set_up


async def test_cancelling_the_task_itself_tears_down_what_was_up(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    under_way = anyio.Event()

    class Early:
        def teardown(self) -> None:
            journal.append("early torn down")

    class Stuck:
        async def setup(self, ctx: PluginContext) -> None:
            under_way.set()
            await anyio.sleep_forever()

    put(Early(), "early")
    put(Stuck(), "stuck", depends_on=["early"])
    task = asyncio.create_task(registry.setup_all(ctx))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal == ["early torn down"]
    assert {each.state for each in registry.statuses().values()} == {State.LOADED}
