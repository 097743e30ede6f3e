"""A generation lives in one task: scopes entered in setup are left in teardown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from command_runs import GUARD_SECONDS

from dagstack_dev import (
    PluginContext,
    PluginCrashed,
    PluginRef,
    PluginRegistry,
    SetupTimeout,
    State,
    TeardownErrors,
)
from dagstack_dev.core.lifecycle import Stage

Put = Callable[..., Any]


class Pulse:
    """Enters a task group in setup and leaves it in teardown."""

    group: TaskGroup

    def __init__(self) -> None:
        self.beats = 0
        self.beaten = anyio.Event()

    async def setup(self, ctx: PluginContext) -> None:
        self.group = await anyio.create_task_group().__aenter__()
        self.group.start_soon(self.beat)

    async def beat(self) -> None:
        while True:
            self.beats += 1
            self.beaten.set()
            await anyio.lowlevel.checkpoint()

    async def teardown(self) -> None:
        self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)


class Failing:
    async def setup(self, ctx: PluginContext) -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("no")


class Leaving(Pulse):
    """Fails with its task group left open."""

    async def setup(self, ctx: PluginContext) -> None:
        await super().setup(ctx)
        await self.beaten.wait()
        raise LookupError("left open")


class Bomb(Pulse):
    """One of its tasks raises."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse = anyio.Event()

    async def beat(self) -> None:
        await self.fuse.wait()
        raise LookupError("bang")

    async def teardown(self) -> None:
        await self.group.__aexit__(None, None, None)


def other_tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def settle(done: Callable[[], bool]) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        while not done():
            await anyio.lowlevel.checkpoint()


async def test_a_task_group_spans_setup_and_teardown(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugins = [Pulse() for _ in range(3)]
    for number, plugin in enumerate(plugins):
        put(plugin, f"p{number}")
    await registry.setup_all(ctx)
    for plugin in plugins:
        await plugin.beaten.wait()
    await registry.teardown_all()
    await settle(lambda: not other_tasks())


async def test_the_pair_may_be_called_from_different_tasks_and_under_time_limits(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin = Pulse()
    put(plugin)

    async def limited(call: Callable[[], Any]) -> None:
        with anyio.fail_after(GUARD_SECONDS):
            await call()

    await asyncio.create_task(limited(lambda: registry.setup_all(ctx)))
    await plugin.beaten.wait()
    await asyncio.create_task(limited(registry.teardown_all))
    assert registry.statuses()[PluginRef("demo", "it")].state is State.STOPPED
    await settle(lambda: not other_tasks())


async def test_a_task_group_is_left_in_order_when_another_plugin_fails(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin = Pulse()
    put(plugin, "pulse")
    put(Failing(), "failing", depends_on=["pulse"])
    with pytest.raises(LookupError, match="no") as caught:
        await registry.setup_all(ctx)
    assert not hasattr(caught.value, "__notes__")
    await settle(lambda: not other_tasks())


async def test_a_setup_that_fails_with_a_task_group_open_leaves_no_task_behind(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin = Leaving()
    put(plugin)
    with pytest.raises(LookupError, match="left open"):
        await registry.setup_all(ctx)
    await settle(lambda: not other_tasks())
    beats = plugin.beats
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    assert plugin.beats == beats


async def test_a_setup_that_times_out_with_a_task_group_open_leaves_no_task_behind(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    class Stuck(Pulse):
        async def setup(self, ctx: PluginContext) -> None:
            await super().setup(ctx)
            await anyio.sleep_forever()

    put(Stuck(), startup_timeout_sec=1)
    with pytest.raises(TimeoutError):
        await registry.setup_all(ctx)
    await settle(lambda: not other_tasks())


async def test_a_scope_left_open_does_not_disturb_the_host(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    put(Leaving())
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(10) as scope:
            with pytest.raises(LookupError):
                await registry.setup_all(ctx)
            await anyio.lowlevel.checkpoint()
        group.start_soon(anyio.lowlevel.checkpoint)
    assert not scope.cancelled_caught
    assert not group.cancel_scope.cancel_called


async def test_a_teardown_that_leaves_its_task_group_open_leaves_no_task_behind(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    class Careless(Pulse):
        async def teardown(self) -> None:
            return

    put(Careless())
    await registry.setup_all(ctx)
    await registry.teardown_all()
    await settle(lambda: not other_tasks())


async def test_a_background_task_that_raises_makes_the_plugin_failed(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin, ref = Bomb(), PluginRef("demo", "it")
    proxy = put(plugin)
    await registry.setup_all(ctx)
    plugin.fuse.set()
    await settle(lambda: registry.statuses()[ref].state is State.FAILED)
    status = registry.statuses()[ref]
    assert status.stage is Stage.RUN
    assert isinstance(status.error, BaseExceptionGroup)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    assert caught.value.failures == ((ref, status.error),)
    await settle(lambda: not other_tasks())
    assert proxy.fuse.is_set()


async def test_a_plugin_that_died_can_be_set_up_again(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin, ref = Bomb(), PluginRef("demo", "it")
    put(plugin)
    await registry.setup_all(ctx)
    plugin.fuse.set()
    await settle(lambda: registry.statuses()[ref].state is State.FAILED)
    with pytest.raises(TeardownErrors):
        await registry.teardown_all()
    plugin.fuse = anyio.Event()
    await registry.setup_all(ctx)
    assert registry.statuses()[ref].state is State.READY
    plugin.group.cancel_scope.cancel()
    await settle(lambda: registry.statuses()[ref].state is State.FAILED)
    assert isinstance(registry.statuses()[ref].error, PluginCrashed)
    await registry.teardown_all()


def test_the_loop_may_end_without_a_teardown(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    """`asyncio.run` cancels what is left; that must neither hang nor raise."""
    put(Pulse())

    async def main() -> None:
        await registry.setup_all(ctx)

    asyncio.run(main())


class Late:
    """The last thing that its setup does cannot be cancelled."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.began, self.go_on = anyio.Event(), anyio.Event()

    async def setup(self, ctx: PluginContext) -> None:
        ctx.callback(lambda: self.journal.append("callback"))
        with anyio.CancelScope(shield=True):
            self.began.set()
            await self.go_on.wait()
        self.journal.append("bound")

    async def teardown(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.journal.append("released")


class LateInTime(Late):
    """It goes on when its time is over."""

    async def setup(self, ctx: PluginContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.go_on.set()
            await super().setup(ctx)
        raise AssertionError


class LateAndCaught(LateInTime):
    async def setup(self, ctx: PluginContext) -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await super().setup(ctx)


class LateWithATaskThatFails(Late):
    async def setup(self, ctx: PluginContext) -> None:
        ctx.start_soon(self.fail)
        await super().setup(ctx)

    async def fail(self) -> None:
        await self.began.wait()
        self.go_on.set()
        raise LookupError("no")


async def test_a_setup_that_ends_well_though_it_was_cancelled_is_torn_down(
    registry: PluginRegistry, ctx: PluginContext, put: Put, journal: list[str]
) -> None:
    plugin = Late(journal)
    put(plugin)
    async with anyio.create_task_group() as group:
        group.start_soon(registry.setup_all, ctx)
        await plugin.began.wait()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            plugin.go_on.set()
    assert journal == ["bound", "released", "callback"]
    assert registry.statuses()[PluginRef("demo", "it")].state is State.LOADED


@pytest.mark.parametrize(
    ("kind", "error"), [(LateAndCaught, SetupTimeout), (LateWithATaskThatFails, LookupError)]
)
async def test_so_is_one_that_fails_for_another_reason_than_its_own(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    journal: list[str],
    kind: type[Late],
    error: type[Exception],
) -> None:
    put(kind(journal), startup_timeout_sec=1)
    with pytest.raises(error):
        await registry.setup_all(ctx)
    assert journal == ["bound", "released", "callback"]


async def test_a_setup_that_does_not_end_well_is_not_torn_down(
    registry: PluginRegistry, ctx: PluginContext, put: Put, journal: list[str]
) -> None:
    put(LateInTime(journal), startup_timeout_sec=1)
    with pytest.raises(SetupTimeout):
        await registry.setup_all(ctx)
    assert journal == ["bound", "callback"]
