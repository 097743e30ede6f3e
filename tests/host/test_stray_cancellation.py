"""A cancellation that a plugin raises by itself is its failure, and cancels nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from trees import PluginTree

from dagstack_dev import (
    DevServer,
    PluginCancelled,
    PluginContext,
    PluginRef,
    PluginRegistry,
    State,
    TeardownErrors,
)

REF = PluginRef("demo", "it")


async def await_a_cancelled_task() -> None:
    task = asyncio.create_task(anyio.sleep_forever())
    task.cancel()
    await task


def raise_at_once() -> None:
    raise asyncio.CancelledError


class AsyncSetup:
    async def setup(self, ctx: PluginContext) -> None:
        await await_a_cancelled_task()


class AwaitableSetup:
    def setup(self, ctx: PluginContext) -> Any:
        return await_a_cancelled_task()


class PlainSetup:
    def setup(self, ctx: PluginContext) -> None:
        raise_at_once()


class PlainSetupOfAsyncPlugin(PlainSetup):
    async def teardown(self) -> None:
        return


class SetupWithDeadTaskGroup:
    group: TaskGroup

    async def setup(self, ctx: PluginContext) -> None:
        self.group = await anyio.create_task_group().__aenter__()
        self.group.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()


class AsyncTeardown:
    async def teardown(self) -> None:
        await await_a_cancelled_task()


class AwaitableTeardown:
    def teardown(self) -> Any:
        return await_a_cancelled_task()


class PlainTeardown:
    def teardown(self) -> None:
        raise_at_once()


@pytest.mark.parametrize(
    "plugin",
    [AsyncSetup, AwaitableSetup, PlainSetup, PlainSetupOfAsyncPlugin, SetupWithDeadTaskGroup],
)
async def test_a_setup_that_ends_with_a_cancellation_of_its_own_has_failed(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], plugin: type
) -> None:
    put(plugin())
    with pytest.raises(PluginCancelled, match="demo/it: setup ended with a cancellation") as caught:
        await registry.setup_all(ctx)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert registry.statuses()[REF].state is State.LOADED


@pytest.mark.parametrize("plugin", [AsyncTeardown, AwaitableTeardown, PlainTeardown])
async def test_a_teardown_that_ends_with_a_cancellation_of_its_own_is_collected(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    journal: list[str],
    plugin: type,
) -> None:
    class Early:
        def teardown(self) -> None:
            journal.append("early torn down")

    put(Early(), "early")
    put(plugin(), depends_on=["early"])
    await registry.setup_all(ctx)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    [(ref, error)] = caught.value.failures
    assert ref == REF
    assert isinstance(error, PluginCancelled)
    assert error.method == "teardown"
    assert journal == ["early torn down"]
    assert registry.statuses()[REF].state is State.STOPPED


class StrayTask:
    async def setup(self, ctx: PluginContext) -> None:
        self.go = anyio.Event()
        ctx.start_soon(self.stray)

    async def stray(self) -> None:
        await self.go.wait()
        await await_a_cancelled_task()


class StrayManager:
    async def setup(self, ctx: PluginContext) -> None:
        await ctx.enter_async(self.held())

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        await await_a_cancelled_task()
        yield


async def test_a_background_task_that_ends_so_takes_the_plugin_down_and_is_named(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    plugin = StrayTask()
    put(plugin)
    await registry.setup_all(ctx)
    died = anyio.Event()
    registry.runner.on_crash = lambda *_: died.set()
    plugin.go.set()
    await died.wait()
    status = registry.statuses()[REF]
    assert status.state is State.FAILED
    assert isinstance(status.error, PluginCancelled)
    assert status.error.method == "background task 'StrayTask.stray'"
    with pytest.raises(TeardownErrors):
        await registry.teardown_all()


async def test_a_manager_that_is_entered_so_fails_the_setup(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    put(StrayManager())
    with pytest.raises(PluginCancelled, match=r"context manager 'StrayManager\.held' ended with"):
        await registry.setup_all(ctx)


async def test_a_callback_that_ends_so_holds_nothing_up(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    class StrayCallback:
        async def setup(self, ctx: PluginContext) -> None:
            ctx.callback(journal.append, "undone last")
            ctx.callback(await_a_cancelled_task)

    put(StrayCallback())
    await registry.setup_all(ctx)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    [(_, error)] = caught.value.failures
    assert isinstance(error, PluginCancelled)
    assert error.method == "callback await_a_cancelled_task"
    assert journal == ["undone last"]


async def test_a_reload_whose_setup_raises_a_cancellation_is_rolled_back(tree: PluginTree) -> None:
    tree.plugin("it", value=1)
    async with DevServer(tree.root) as server:
        tree.plugin(
            "it",
            code="""
            import asyncio
            class Plugin:
                def setup(self, ctx):
                    raise asyncio.CancelledError
            """,
        )
        await server.wait_idle()
        status = server.statuses()[REF]
        assert (status.state, status.pending) == (State.READY, True)
        assert isinstance(status.error, PluginCancelled)
        assert server.registry.get_plugin("demo", "it").value() == 1
