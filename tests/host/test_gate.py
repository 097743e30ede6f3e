"""Calls at a closed gate: who waits, who passes, who is refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup
from command_runs import GUARD_SECONDS

from dagstack_dev import PluginContext, PluginRef, PluginRegistry, PluginUnavailable, State
from dagstack_dev.host.calls.gate import Gate

Put = Callable[..., Any]
REF = PluginRef("demo", "it")


class Answering:
    def __init__(self, answer: str = "old") -> None:
        self.answer = answer

    def sync(self) -> str:
        return self.answer

    async def asynchronous(self) -> str:
        return self.answer

    async def stream(self) -> Any:
        yield self.answer


async def settle(done: Callable[[], bool]) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        while not done():
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def proxy(put: Put) -> Any:
    return put(Answering())


@pytest.fixture
def gate(registry: PluginRegistry, proxy: Any) -> Gate:
    return registry.table.entries[REF].gate


def swap(registry: PluginRegistry, instance: object) -> None:
    registry.table.loaded(registry.table.entries[REF], instance, "swapped", is_open=True)


async def collect(proxy: Any) -> str:
    return "".join([item async for item in proxy.stream()])


@pytest.mark.parametrize("call", [lambda proxy: proxy.asynchronous(), collect])
async def test_an_async_call_waits_and_reaches_the_new_instance(
    registry: PluginRegistry, proxy: Any, gate: Gate, call: Callable[[Any], Any]
) -> None:
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await call(proxy))

    gate.close()
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        swap(registry, Answering("new"))
    assert answers == ["new"]
    assert gate.calls.in_flight == []


async def test_a_sync_call_from_another_thread_waits_and_reaches_the_new_instance(
    registry: PluginRegistry, proxy: Any, gate: Gate
) -> None:
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await anyio.to_thread.run_sync(proxy.sync))

    def somebody_waits() -> bool:
        for frame in sys._current_frames().values():
            step: Any = frame
            while step is not None:
                if step.f_code is Gate.wait_in_thread.__code__:
                    return True
                step = step.f_back
        return False

    gate.close()
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await settle(somebody_waits)
        swap(registry, Answering("new"))
    assert answers == ["new"]
    assert gate.calls.in_flight == []


async def test_a_call_of_a_thread_waits_on_when_the_gate_closes_again_as_it_wakes(
    registry: PluginRegistry, proxy: Any, gate: Gate
) -> None:
    class Marks(list[None]):
        """Has the gate closed just before the call that woke marks itself again."""

        def append(self, mark: None) -> None:
            if not reclosed.is_set():
                anyio.from_thread.run_sync(gate.close)
                reclosed.set()
            super().append(mark)

    answers: list[str] = []
    reclosed = threading.Event()

    async def ask() -> None:
        answers.append(await anyio.to_thread.run_sync(proxy.sync))

    gate.close()
    gate.calls.in_flight = Marks([None])
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await settle(lambda: gate.calls.in_flight == [])
        gate.open()
        await settle(reclosed.is_set)
        swap(registry, Answering("new"))
    assert answers == ["new"]


async def test_waiting_is_bounded(proxy: Any, gate: Gate) -> None:
    gate.rules.patience = 0.05
    gate.close()
    with pytest.raises(PluginUnavailable, match=r"was for 0\.05 s") as caught:
        await proxy.asynchronous()
    assert caught.value.ref == REF
    with pytest.raises(PluginUnavailable, match=r"was for 0\.05 s"):
        await anyio.to_thread.run_sync(proxy.sync)
    assert gate.calls.in_flight == []


async def test_a_sync_call_on_the_loops_thread_is_refused_at_once(proxy: Any, gate: Gate) -> None:
    gate.close()
    with pytest.raises(PluginUnavailable, match="make the method async"):
        proxy.sync()
    assert gate.calls.in_flight == []


async def test_a_cancelled_wait_leaves_no_mark(proxy: Any, gate: Gate) -> None:
    gate.close()
    with anyio.move_on_after(0.01) as scope:
        await proxy.asynchronous()
    assert scope.cancelled_caught
    assert gate.calls.in_flight == []


async def test_waiting_calls_are_refused_when_the_plugin_does_not_come_back(
    proxy: Any, gate: Gate
) -> None:
    gate.close()
    refusals = []

    async def ask() -> None:
        with pytest.raises(PluginUnavailable) as caught:
            await proxy.asynchronous()
        refusals.append(caught.value.reason)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        gate.refuse("it was removed")
    assert refusals == ["it was removed"] * 2


async def test_attributes_can_be_read_through_a_closed_gate(proxy: Any, gate: Gate) -> None:
    gate.close()
    assert proxy.answer == "old"


async def test_after_teardown_all_calls_are_refused_and_attributes_readable(
    registry: PluginRegistry, ctx: PluginContext, proxy: Any
) -> None:
    await registry.setup_all(ctx)
    await registry.teardown_all()
    for call in (proxy.sync, partial(anyio.to_thread.run_sync, proxy.sync), proxy.asynchronous):
        with pytest.raises(PluginUnavailable, match="it has been torn down"):
            await call()
    assert proxy.answer == "old"
    await registry.setup_all(ctx)
    assert await proxy.asynchronous() == "old"
    await registry.teardown_all()


@pytest.mark.parametrize("rounds", [1, 2])
async def test_a_call_during_setup_waits_until_it_is_ready(
    registry: PluginRegistry, ctx: PluginContext, put: Put, rounds: int
) -> None:
    class Slow(Answering):
        go: anyio.Event

        async def setup(self, ctx: PluginContext) -> None:
            self.answer = "not ready"
            self.under_way.set()
            await self.go.wait()
            self.answer = "ready"

        def arm(self) -> None:
            self.under_way, self.go = anyio.Event(), anyio.Event()

    plugin = Slow()
    proxy = put(plugin)
    for _ in range(rounds):
        plugin.arm()
        answers: list[str] = []

        async def ask(answers: list[str]) -> None:
            answers.append(await proxy.asynchronous())

        async with anyio.create_task_group() as group:
            group.start_soon(registry.setup_all, ctx)
            await plugin.under_way.wait()
            group.start_soon(ask, answers)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            plugin.go.set()
        assert answers == ["ready"]
        await registry.teardown_all()


async def test_a_plugin_whose_task_died_refuses_calls_with_the_reason(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    class Bomb(Answering):
        group: TaskGroup

        async def setup(self, ctx: PluginContext) -> None:
            self.fuse = anyio.Event()
            self.group = await anyio.create_task_group().__aenter__()
            self.group.start_soon(self.burn)

        async def burn(self) -> None:
            await self.fuse.wait()
            raise LookupError("bang")

        async def teardown(self) -> None:
            await self.group.__aexit__(None, None, None)

    plugin = Bomb()
    proxy = put(plugin)
    await registry.setup_all(ctx)
    plugin.fuse.set()
    await settle(lambda: registry.statuses()[REF].state is State.FAILED)
    with pytest.raises(PluginUnavailable, match="a task of its own ended the plugin"):
        await proxy.asynchronous()
    with pytest.raises(PluginUnavailable, match="a task of its own ended the plugin"):
        proxy.sync()
    registry.runner.crashes.clear()
    await registry.teardown_all()


class SelfCalling(Answering):
    """Calls itself through its own proxy, from wherever it may."""

    group: TaskGroup

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def setup(self, ctx: PluginContext) -> None:
        self.me = ctx.registry.get_plugin("demo", "it")
        self.heard += [self.me.sync(), await self.me.asynchronous()]
        self.group = await anyio.create_task_group().__aenter__()
        await self.group.start(self.in_background)

    async def in_background(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        self.heard.append(await self.me.asynchronous())
        task_status.started()

    async def teardown(self) -> None:
        self.heard += [self.me.sync(), await self.me.asynchronous()]
        await self.group.start(self.in_background)
        await self.group.__aexit__(None, None, None)


class SyncSelfCalling(SelfCalling):
    def setup(self, ctx: PluginContext) -> None:  # type: ignore[override]
        self.heard.append(ctx.registry.get_plugin("demo", "it").sync())
        self.me = ctx.registry.get_plugin("demo", "it")

    def teardown(self) -> None:  # type: ignore[override]
        self.heard.append(self.me.sync())


class ThreadSelfCalling(SelfCalling):
    def setup(self, ctx: PluginContext) -> None:  # type: ignore[override]
        self.me = ctx.registry.get_plugin("demo", "it")
        self.heard.append(anyio.from_thread.run(self.me.sync))

    def teardown(self) -> None:  # type: ignore[override]
        self.heard.append(anyio.from_thread.run(self.me.sync))


@pytest.mark.parametrize(
    ("make", "calls", "model"),
    [
        (SelfCalling, 6, "async"),
        (SyncSelfCalling, 2, "sync"),
        (ThreadSelfCalling, 2, "thread_cpu_bound"),
    ],
)
async def test_a_plugins_own_lifecycle_passes_its_own_gate(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    make: type[SelfCalling],
    calls: int,
    model: str,
) -> None:
    plugin = make()
    put(plugin, execution_model=model)
    with anyio.fail_after(GUARD_SECONDS):
        await registry.setup_all(ctx)
        await registry.teardown_all()
    assert plugin.heard == ["old"] * calls
