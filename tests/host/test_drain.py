"""Calls in flight end before the teardown begins, within the drain time."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import PluginContext, PluginRef, PluginRegistry, PluginUnavailable
from dagstack_dev.core.events import DrainTimedOut, Fact
from dagstack_dev.host.calls import drain

Put = Callable[..., Any]
REF = PluginRef("demo", "it")


class Busy:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.under_way = anyio.Event()
        self.go = anyio.Event()
        self.go_thread = threading.Event()

    def teardown(self) -> None:
        self.log.append("teardown")

    async def work(self) -> None:
        await self._work()

    @staticmethod
    async def static_work(it: Busy) -> None:
        await it._work()

    async def _work(self) -> None:
        self.under_way.set()
        await self.go.wait()
        self.log.append("call ended")

    async def stream(self) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            self.log.append("call ended")

    def block(self) -> None:
        anyio.from_thread.run_sync(self.under_way.set)
        assert self.go_thread.wait(GUARD_SECONDS)
        self.log.append("call ended")

    def release(self) -> None:
        self.go.set()
        self.go_thread.set()


@pytest.fixture
def plugin() -> Busy:
    return Busy()


@pytest.fixture
def proxy(put: Put, plugin: Busy) -> Any:
    return put(plugin)


async def closed(registry: PluginRegistry) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        while not registry.table.entries[REF].gate.closed:
            await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    "call",
    [
        lambda proxy, it: proxy.work(),
        lambda proxy, it: proxy.static_work(it),
        lambda proxy, it: anyio.to_thread.run_sync(proxy.block),
    ],
)
async def test_a_call_in_flight_ends_before_the_teardown(
    registry: PluginRegistry,
    ctx: PluginContext,
    proxy: Any,
    plugin: Busy,
    call: Callable[[Any, Busy], Any],
) -> None:
    await registry.setup_all(ctx)
    async with anyio.create_task_group() as group:
        group.start_soon(call, proxy, plugin)
        await plugin.under_way.wait()
        group.start_soon(registry.teardown_all)
        await closed(registry)
        assert plugin.log == []
        plugin.release()
    assert plugin.log == ["call ended", "teardown"]


async def test_a_half_consumed_stream_is_in_flight_until_it_is_closed(
    registry: PluginRegistry, ctx: PluginContext, proxy: Any, plugin: Busy
) -> None:
    await registry.setup_all(ctx)
    stream = proxy.stream()
    assert await anext(stream) == 1
    async with anyio.create_task_group() as group:
        group.start_soon(registry.teardown_all)
        await closed(registry)
        assert plugin.log == []
        assert await anext(stream) == 2
        await stream.aclose()
    assert plugin.log == ["call ended", "teardown"]


async def test_a_drain_that_takes_too_long_is_reported_and_ends(
    registry: PluginRegistry, ctx: PluginContext, proxy: Any, plugin: Busy, facts: list[Fact]
) -> None:
    registry.runner.drain_seconds = 0.05
    await registry.setup_all(ctx)
    async with anyio.create_task_group() as group:
        group.start_soon(proxy.work)
        await plugin.under_way.wait()
        await registry.teardown_all()
        assert plugin.log == ["teardown"]
        plugin.release()
    [fact] = [fact for fact in facts if isinstance(fact, DrainTimedOut)]
    assert (fact.ref, fact.calls, fact.seconds) == (REF, 1, 0.05)
    assert plugin.log == ["teardown", "call ended"]


async def test_new_calls_do_not_prolong_a_drain(
    registry: PluginRegistry,
    ctx: PluginContext,
    proxy: Any,
    plugin: Busy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain, "_STUCK_SECONDS", 60)  # The call in flight waits for none of them.
    await registry.setup_all(ctx)
    refused = []

    async def late() -> None:
        with pytest.raises(PluginUnavailable) as caught:
            await proxy.work()
        refused.append(caught.value.reason)

    async with anyio.create_task_group() as group:
        group.start_soon(proxy.work)
        await plugin.under_way.wait()
        group.start_soon(registry.teardown_all)
        await closed(registry)
        group.start_soon(late)
        await anyio.wait_all_tasks_blocked()
        plugin.release()
    assert plugin.log == ["call ended", "teardown"]
    assert refused == ["it has been torn down; await registry.setup_all(...) first"]


class Quick(Busy):
    async def quick(self) -> None:
        self.log.append("quick")


async def test_a_caller_that_was_let_in_waits_again_with_its_next_call(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin = Quick()
    proxy = put(plugin)
    await registry.setup_all(ctx)

    async def call_twice() -> None:
        await proxy.quick()  # Let in: the call in flight waits for it.
        plugin.release()
        with pytest.raises(PluginUnavailable):
            await proxy.quick()

    with anyio.fail_after(GUARD_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(proxy.work)
            await plugin.under_way.wait()
            group.start_soon(registry.teardown_all)
            await closed(registry)
            group.start_soon(call_twice)
    assert plugin.log == ["quick", "call ended", "teardown"]


class Outer(Busy):
    """Its calls come back to it through its own proxy, directly or through another plugin."""

    def setup(self, ctx: PluginContext) -> None:
        self.me = ctx.registry.get_plugin("demo", "it")
        self.other = ctx.registry.get_plugin("demo", "other")

    async def directly(self) -> None:
        await self._work()
        await self.me.inner()
        self.me.sync_inner()

    async def through_another(self) -> None:
        await self._work()
        await self.other.back(self.me)

    async def inner(self) -> None:
        self.log.append("inner")

    def sync_inner(self) -> None:
        self.log.append("sync inner")


class Other:
    async def back(self, it: Any) -> None:
        await it.inner()
        it.sync_inner()


@pytest.mark.parametrize("method", ["directly", "through_another"])
async def test_a_call_that_comes_back_to_its_own_plugin_does_not_hold_up_the_drain(
    registry: PluginRegistry, ctx: PluginContext, put: Put, method: str
) -> None:
    plugin = Outer()
    put(Other(), "other")
    proxy = put(plugin, depends_on=["other"])
    await registry.setup_all(ctx)
    with anyio.fail_after(GUARD_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(proxy, method))
            await plugin.under_way.wait()
            group.start_soon(registry.teardown_all)
            await closed(registry)
            plugin.release()
    assert plugin.log == ["call ended", "inner", "sync inner", "teardown"]


async def test_a_setup_all_that_fails_waits_for_no_call_to_what_never_came_up(
    registry: PluginRegistry, ctx: PluginContext, put: Put, facts: list[Fact]
) -> None:
    fail, refused = anyio.Event(), []

    class Calling:
        async def ask(self) -> None:
            await other.work()

    class Slow(Busy):
        async def setup(self, ctx: PluginContext) -> None:
            await anyio.sleep_forever()

    class Failing:
        async def setup(self, ctx: PluginContext) -> None:
            await fail.wait()
            raise OSError("no")

    calling, other = put(Calling(), "calling"), put(Slow(), "slow")
    put(Failing(), "failing")

    async def ask() -> None:
        with pytest.raises(PluginUnavailable) as caught:
            await calling.ask()
        refused.append(caught.value.ref)

    async with anyio.create_task_group() as group:

        async def set_up() -> None:
            with pytest.raises(OSError, match="no"):
                await registry.setup_all(ctx)

        group.start_soon(set_up)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        fail.set()
    assert refused == [PluginRef("demo", "slow")]
    assert [fact for fact in facts if isinstance(fact, DrainTimedOut)] == []
