"""`execution_model = "thread_cpu_bound"`: plain methods run in worker threads."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import ManifestInvalid, PluginContext, PluginRegistry
from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.events import DrainTimedOut, Fact
from dagstack_dev.host.loop.tasks import MOST_THREADS

current_user: ContextVar[str] = ContextVar("current_user", default="nobody")


class Cruncher:
    """What it does."""

    factor = 2

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()

    def scale(self, number: int, *, by: int | None = None) -> int:
        """A multiple of a number."""
        return number * (self.factor if by is None else by)

    def where(self) -> int:
        return threading.get_ident()

    async def where_async(self) -> int:
        return threading.get_ident()

    def who(self) -> str:
        return current_user.get()

    def fail(self) -> None:
        raise ValueError("too many")

    def hold(self) -> str:
        self.entered.set()
        assert self.release.wait(GUARD_SECONDS)
        return "held"

    def wrapped(self) -> Any:
        """What a decorator makes of an `async def`."""
        return self.where_async()

    @property
    def home(self) -> int:
        return threading.get_ident()

    @staticmethod
    def twice(number: int) -> int:
        return 2 * number

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    def _inner(self) -> int:
        return threading.get_ident()

    def items(self) -> Iterator[int]:
        yield from (1, 2)

    def __len__(self) -> int:
        return 3


@pytest.fixture
def plugin(put: Callable[..., Any]) -> Any:
    return put(Cruncher(), execution_model="thread_cpu_bound")


async def test_a_plain_method_runs_in_a_worker_thread(plugin: Any) -> None:
    assert await plugin.where() != threading.get_ident()


async def test_arguments_come_through_in_every_form(plugin: Any) -> None:
    assert await plugin.scale(4) == 8
    assert await plugin.scale(number=4, by=10) == 40
    assert await plugin.twice(3) == 6
    assert await plugin.name() == "Cruncher"


async def test_wrong_arguments_are_refused_as_ever(plugin: Any) -> None:
    with pytest.raises(TypeError, match=r"scale\(\) got an unexpected keyword argument 'times'"):
        await plugin.scale(1, times=2)


async def test_the_method_keeps_its_signature_and_its_docs(plugin: Any) -> None:
    assert inspect.iscoroutinefunction(plugin.scale)
    assert (
        str(inspect.signature(plugin.scale))
        == "(number: 'int', *, by: 'int | None' = None) -> 'int'"
    )
    assert plugin.scale.__doc__ == "A multiple of a number."
    assert inspect.iscoroutinefunction(plugin.twice)
    assert list(inspect.signature(plugin.twice).parameters) == ["number"]


async def test_what_is_asynchronous_runs_on_the_loop(plugin: Any) -> None:
    assert await plugin.where_async() == threading.get_ident()
    assert await plugin.wrapped() == threading.get_ident()


async def test_the_rest_is_read_where_it_is_asked_for(plugin: Any) -> None:
    assert plugin.home == threading.get_ident()
    assert plugin._inner() == threading.get_ident()
    assert plugin.factor == 2
    assert list(plugin.items()) == [1, 2]
    assert len(plugin) == 3


async def test_an_attribute_that_takes_the_place_of_a_method_runs_in_a_thread_too(
    plugin: Any,
) -> None:
    plugin.where = lambda: ("mine", threading.get_ident())
    name, thread = await plugin.where()
    assert name == "mine"
    assert thread != threading.get_ident()


async def test_context_variables_are_copied(plugin: Any) -> None:
    current_user.set("ada")
    assert await plugin.who() == "ada"


async def test_an_exception_is_the_plugins_own(plugin: Any) -> None:
    with pytest.raises(ValueError, match="too many") as caught:
        await plugin.fail()
    assert [each.name for each in caught.traceback][-1] == "fail"
    assert plugin_frames(caught.value) == ()  # This file is no plugin's; see tests/app.


async def test_it_is_called_from_a_thread_that_has_a_loop(plugin: Any) -> None:
    def elsewhere() -> int:
        answer: int = asyncio.run(plugin.scale(5))
        return answer

    assert await anyio.to_thread.run_sync(elsewhere) == 10
    assert await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(plugin.scale, 6)) == 12


async def test_no_more_threads_than_the_limit_run_at_a_time(put: Callable[..., Any]) -> None:
    class Busy:
        def __init__(self) -> None:
            self.running = 0
            self.most = 0
            self.lock = threading.Lock()
            self.full = threading.Event()

        def work(self) -> None:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
                if self.running == MOST_THREADS:
                    self.full.set()
            assert self.full.wait(GUARD_SECONDS)
            with self.lock:
                self.running -= 1

    busy = Busy()
    plugin = put(busy, execution_model="thread_cpu_bound")
    async with anyio.create_task_group() as group:
        for _ in range(MOST_THREADS + 5):
            group.start_soon(plugin.work)
    assert busy.most == MOST_THREADS


async def test_calls_that_hang_take_no_thread_from_other_plugins(put: Callable[..., Any]) -> None:
    stuck, free = Cruncher(), Cruncher()
    one = put(stuck, "one", execution_model="thread_cpu_bound")
    other = put(free, "other", execution_model="thread_cpu_bound")
    async with anyio.create_task_group() as group:
        for _ in range(MOST_THREADS + 5):
            group.start_soon(one.hold)
        assert await other.scale(1) == 2
        stuck.release.set()


async def test_a_teardown_waits_for_the_thread_of_a_cancelled_call(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    """`asyncio.Task.cancel` comes through where a cancel scope is held back."""
    registry.runner.drain_seconds = 20
    inner = Cruncher()
    ended_before = []

    class Held(Cruncher):
        entered, release = inner.entered, inner.release

        def hold(self) -> str:
            super().hold()
            ended_before.append("call")
            return ""

        def teardown(self) -> None:
            ended_before.append("teardown")

        def __init__(self) -> None:
            pass

    plugin = put(Held(), execution_model="thread_cpu_bound")
    await registry.setup_all(ctx)
    call = asyncio.ensure_future(plugin.hold())
    await anyio.to_thread.run_sync(inner.entered.wait)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with anyio.create_task_group() as group:
        group.start_soon(registry.teardown_all)
        gate = registry.table.entries[("demo", "it")].gate  # type: ignore[index]
        while not gate.closed:
            await anyio.lowlevel.checkpoint()
        assert ended_before == []
        inner.release.set()
    assert ended_before == ["call", "teardown"]


async def test_a_cancelled_call_ends_with_its_thread(plugin: Any) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(plugin.hold)
            await anyio.to_thread.run_sync(plugin.entered.wait)
            scope.cancel()
            plugin.release.set()
    assert scope.cancelled_caught


async def test_a_drain_names_the_line_that_the_thread_is_at(
    registry: PluginRegistry,
    ctx: PluginContext,
    plugin: Any,
    facts: list[Fact],
) -> None:
    registry.runner.drain_seconds = 0.05
    await registry.setup_all(ctx)
    async with anyio.create_task_group() as group:
        group.start_soon(plugin.hold)
        await anyio.to_thread.run_sync(plugin.entered.wait)
        await registry.teardown_all()
        plugin.release.set()
    [late] = [each for each in facts if isinstance(each, DrainTimedOut)]
    [place] = late.places
    assert place.startswith(__file__) or "threading.py" in place


async def test_a_call_waits_while_the_plugin_is_swapped(
    registry: PluginRegistry, ctx: PluginContext, plugin: Any
) -> None:
    gate = registry.table.entries[("demo", "it")].gate  # type: ignore[index]
    gate.close()
    answers = []

    async def call() -> None:
        answers.append(await plugin.scale(4))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not gate.calls.waiting:
            await anyio.lowlevel.checkpoint()
        assert answers == []
        gate.open()
    assert answers == [8]
    assert gate.calls.in_flight == []


def test_it_works_on_trio(put: Callable[..., Any]) -> None:
    plugin = put(Cruncher(), execution_model="thread_cpu_bound")

    async def main() -> tuple[int, int, int]:
        return await plugin.where(), threading.get_ident(), await plugin.scale(2)

    there, here, answer = anyio.run(main, backend="trio")
    assert there != here
    assert answer == 4
    assert anyio.run(plugin.scale, 3) == 6  # And then on another loop.


def test_an_object_made_here_cannot_live_in_a_process_of_its_own(put: Callable[..., Any]) -> None:
    with pytest.raises(ManifestInvalid, match="this object lives in this process already"):
        put(Cruncher(), execution_model="process_cpu_bound")


def test_a_plugin_that_must_stay_here_cannot_live_in_a_process_of_its_own(
    put: Callable[..., Any],
) -> None:
    with pytest.raises(ManifestInvalid, match="contradicts in_process_only"):
        put(Cruncher(), execution_model="process_cpu_bound", in_process_only=True)
