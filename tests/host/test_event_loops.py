"""A registry whose steps run in event loops of their own, as `asyncio.run` gives to each."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from command_runs import GUARD_SECONDS

from dagstack_dev import (
    BroadcastCollectDispatcher,
    EventLoopClosed,
    PluginContext,
    PluginRef,
    PluginRegistry,
    PluginUnavailable,
    State,
    TeardownErrors,
)
from dagstack_dev.core.events import Fact, Transition

Put = Callable[..., Any]
Run = Callable[..., Any]

IT = PluginRef("demo", "it")


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function in an event loop of its own."""
    return partial(anyio.run, backend=request.param)


class Plugin:
    """Its setup is the function that a test gives it."""

    group: TaskGroup

    def __init__(
        self, log: list[str], acquire: Callable[[Any, PluginContext], Awaitable[None]] | None = None
    ) -> None:
        self.log = log
        self.acquire = acquire

    async def setup(self, ctx: PluginContext) -> None:
        ctx.callback(self.log.append, "callback")
        if self.acquire is not None:
            await self.acquire(self, ctx)

    async def teardown(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.log.append("teardown")

    async def value(self) -> int:
        await anyio.lowlevel.checkpoint()
        return 1


class Plain:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def teardown(self) -> None:
        self.log.append("plain teardown")


@asynccontextmanager
async def session(log: list[str]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        log.append("left")


async def a_task(_: Plugin, ctx: PluginContext) -> None:
    ctx.start_soon(anyio.sleep_forever, name="poll")


class Poller:
    """Cancels its own background task when it is told to."""

    def setup(self, ctx: PluginContext) -> None:
        ctx.start_soon(self._poll)

    async def _poll(self) -> None:
        self.task = asyncio.current_task()
        await anyio.sleep_forever()

    async def stop_polling(self) -> None:
        assert self.task is not None
        self.task.cancel()
        while not self.task.done():
            await anyio.lowlevel.checkpoint()


async def test_a_plugin_that_cancels_its_own_task_stays_ready(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    plugin = Poller()
    put(plugin)
    await registry.setup_all(ctx)
    await anyio.wait_all_tasks_blocked()
    await plugin.stop_polling()
    await anyio.wait_all_tasks_blocked()
    assert registry.statuses()[IT].state is State.READY
    await registry.teardown_all()


async def a_manager(plugin: Plugin, ctx: PluginContext) -> None:
    await ctx.enter_async(session(plugin.log))


async def a_group(plugin: Plugin, _: PluginContext) -> None:
    plugin.group = anyio.create_task_group()
    await plugin.group.__aenter__()
    plugin.group.start_soon(anyio.sleep_forever)


async def a_thread(plugin: Plugin, ctx: PluginContext) -> None:
    def serve(stop: threading.Event) -> None:
        stop.wait(GUARD_SECONDS)
        plugin.log.append("thread ended")

    ctx.run_thread(serve)


def test_an_asynchronous_teardown_runs_in_the_loop_that_calls(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    log: list[str] = []
    plugin = put(Plugin(log))
    put(Plain(log), "plain", depends_on=["it"])
    run(registry.setup_all, ctx)
    assert {each.state for each in registry.statuses().values()} == {State.READY}
    assert run(plugin.value) == 1
    run(registry.teardown_all)
    assert log == ["plain teardown", "teardown", "callback"]
    assert {each.state for each in registry.statuses().values()} == {State.STOPPED}


def test_so_does_one_in_a_worker_thread(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    log: list[str] = []
    put(Plain(log), execution_model="thread_cpu_bound")
    run(registry.setup_all, ctx)
    run(registry.teardown_all)
    assert log == ["plain teardown"]


@pytest.mark.parametrize(
    ("acquire", "what", "log"),
    [
        (a_task, "background task 'poll'", ["teardown", "callback"]),
        (a_manager, "context manager 'session'", ["left", "teardown", "callback"]),
    ],
)
def test_what_has_ended_with_its_loop_is_not_ready_any_more(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    facts: list[Fact],
    acquire: Any,
    what: str,
    log: list[str],
) -> None:
    seen: list[str] = []
    plugin = put(Plugin(seen, acquire))
    run(registry.setup_all, ctx)
    told = [each for each in facts if isinstance(each, Transition)]
    assert told[-1].to_state is State.FAILED
    status = registry.statuses()[IT]
    assert status.state is State.FAILED
    assert isinstance(status.error, EventLoopClosed)
    assert what in str(status.error)
    assert "keep one loop: await setup_all, what uses the plugins" in str(status.error)
    with pytest.raises(PluginUnavailable, match="set up in an event loop that has been closed"):
        run(plugin.value)
    with pytest.raises(EventLoopClosed, match="demo/it was set up in an event loop that"):
        run(registry.setup_all, ctx)
    with pytest.raises(
        TeardownErrors, match="EventLoopClosed: demo/it was set up in an event loop"
    ):
        run(registry.teardown_all)
    assert seen == log

    async def once_more() -> None:
        await registry.setup_all(ctx)
        assert registry.statuses()[IT].state is State.READY
        await registry.teardown_all()

    run(once_more)


def test_its_teardown_may_still_say_that_a_restart_is_needed(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    class Staying(Plugin):
        async def teardown(self) -> Any:
            return False

    put(Staying([], a_task))
    run(registry.setup_all, ctx)
    with pytest.raises(TeardownErrors):
        run(registry.teardown_all)
    assert registry.statuses()[IT].requires_restart


def test_nor_is_a_plugin_whose_setup_has_opened_a_task_group(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    log: list[str] = []
    put(Plugin(log, a_group))
    asyncio.run(registry.setup_all(ctx))
    assert registry.statuses()[IT].state is State.FAILED
    with pytest.raises(TeardownErrors, match="its cancel scope or task group, which its"):
        asyncio.run(registry.teardown_all())
    assert log == ["teardown", "callback"]


def test_teardowns_keep_their_order_beside_what_has_ended(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    order: list[str] = []
    put(Plain(order), "base")
    put(Plugin(order, a_task), "middle", depends_on=["base"])
    put(Plain(order), "top", depends_on=["middle"])
    run(registry.setup_all, ctx)
    with pytest.raises(TeardownErrors):
        run(registry.teardown_all)
    assert order == ["plain teardown", "teardown", "callback", "plain teardown"]


def test_a_thread_outlives_the_loop_and_is_stopped_and_joined_at_the_end(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    log: list[str] = []
    put(Plugin(log, a_thread))
    run(registry.setup_all, ctx)
    assert registry.statuses()[IT].state is State.READY
    run(registry.teardown_all)
    assert log == ["teardown", "thread ended", "callback"]


def test_a_thread_that_has_ended_after_the_loop_is_noticed(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    release = threading.Event()

    async def acquire(_: Plugin, ctx: PluginContext) -> None:
        ctx.run_thread(lambda _: release.wait(GUARD_SECONDS), name="serving")

    put(Plugin([], acquire))
    run(registry.setup_all, ctx)
    (thread,) = (each for each in threading.enumerate() if each.name == "serving")
    release.set()
    thread.join()
    with pytest.raises(TeardownErrors, match="ended its thread 'serving'"):
        run(registry.teardown_all)


@contextmanager
def loop_that_cancels_nothing() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"
    try:
        yield loop
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_closed_without_cancelling_anything_is_noticed(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    log: list[str] = []
    put(Plugin(log, a_task))
    put(Plugin(log), "other")
    with loop_that_cancels_nothing() as loop:
        loop.run_until_complete(registry.setup_all(ctx))
        assert {each.state for each in registry.statuses().values()} == {State.READY}
    with pytest.raises(PluginUnavailable, match="has been closed"):
        asyncio.run(registry.get_plugin("demo", "it").value())
    assert registry.statuses()[IT].state is State.FAILED
    with pytest.raises(TeardownErrors, match="background task 'poll'"):
        asyncio.run(registry.teardown_all())
    assert sorted(log) == ["callback", "callback", "teardown", "teardown"]
    gc.collect()


def test_plugins_of_a_loop_that_still_runs_are_torn_down_there(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    log: list[str] = []
    plugin = put(Plugin(log, a_task))
    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(registry.setup_all, ctx)
        assert asyncio.run(plugin.value()) == 1
        with pytest.raises(RuntimeError, match="demo/it was set up in another event loop, which"):
            asyncio.run(registry.teardown_all())
        assert registry.statuses()[IT].state is State.READY
        portal.call(registry.teardown_all)
    assert log == ["teardown", "callback"]


def test_plugins_of_a_thread_that_is_over_are_torn_down_in_another(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    log: list[str] = []
    put(Plugin(log, a_thread))
    thread = threading.Thread(target=lambda: asyncio.run(registry.setup_all(ctx)))
    thread.start()
    thread.join()
    asyncio.run(registry.teardown_all())
    assert log == ["teardown", "thread ended", "callback"]


def test_what_is_only_called_may_be_set_up_in_any_loop_and_dispatched_to_in_others(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run
) -> None:
    put(Plain([]))
    put(Plugin([]), "other")
    run(registry.setup_all, ctx)
    run(registry.setup_all, ctx)  # Nothing has come, so it does nothing.
    dispatcher = BroadcastCollectDispatcher(registry, dispatch_class_override="broadcast_collect")

    class Asked:
        async def answer(self, _: object) -> str:
            await anyio.lowlevel.checkpoint()
            return "yes"

    put(Asked(), "asked")
    run(registry.setup_all, ctx)
    assert run(dispatcher.dispatch_async, "demo", "answer", None) == (["yes"], None)
    run(registry.teardown_all)


async def test_a_teardown_runs_though_every_task_has_been_cancelled(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    log: list[str] = []
    put(Plugin(log, a_thread))
    await registry.setup_all(ctx)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await anyio.lowlevel.checkpoint()
    await registry.teardown_all()
    assert log == ["teardown", "thread ended", "callback"]


def test_an_error_of_such_a_teardown_says_where_it_comes_from(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    class Bound:
        async def setup(self, _: PluginContext) -> None:
            self.lock = asyncio.Condition()
            self.future = asyncio.get_running_loop().create_future()

        async def teardown(self) -> None:
            await self.future

    put(Bound())
    asyncio.run(registry.setup_all(ctx))
    with pytest.raises(TeardownErrors) as caught:
        asyncio.run(registry.teardown_all())
    (error,) = caught.value.errors
    assert "attached to a different loop" in str(error)
    assert "set up in an event loop that has been closed; keep one loop" in error.__notes__[0]
