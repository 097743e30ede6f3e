"""A server that is started and stopped in whatever tasks, and what ends it else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import pytest_asyncio
from serving import Live, make_live, serving
from trees import PluginTree

from dagstack_dev import DevServer
from dagstack_dev.app.leaks import LeakCheck
from dagstack_dev.core.events import WatchStarted, WatchStopped
from dagstack_dev.disk.sweep import Sweep
from dagstack_dev.host.registry.registry import Registry

HANGING = """
import anyio
class Plugin:
    async def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        try:
            await anyio.sleep_forever()
        finally:
            ctx.extras["journal"].append("cancelled")
"""

SLOW_TO_GO = """
class Plugin:
    def setup(self, ctx):
        self.extras = ctx.extras
    async def teardown(self):
        self.extras["going"].set()
        await self.extras["go"].wait()
        self.extras["journal"].append("torn down")
"""


@pytest_asyncio.fixture
async def live(tree: PluginTree) -> AsyncIterator[Live]:
    """As an app writes it; it is entered and left in two tasks, neither of them the test's."""
    tree.plugin("base")
    live = make_live(tree)
    async with live.server:
        yield live
    assert live.journal[-1].startswith("teardown base")
    assert isinstance(live.facts[-1], WatchStopped)


async def test_a_fixture_brings_up_a_server_that_reloads(live: Live, tree: PluginTree) -> None:
    assert live.plugin("base").value() == 1
    tree.plugin("base", value=2)
    await live.server.wait_idle()
    assert live.plugin("base").value() == 2


def test_each_step_may_come_from_a_task_of_its_own(tree: PluginTree) -> None:
    tree.plugin("base")
    with asyncio.Runner() as runner:
        live: Live = runner.run(_call(make_live, tree))
        assert runner.run(live.server.start()) is live.server
        tree.plugin("base", value=2)
        runner.run(live.server.wait_idle())
        assert live.plugin("base").value() == 2
        runner.run(live.server.stop())
        assert live.journal[-1] == "teardown base 2"


async def _call(function: Callable[..., Any], *args: object) -> Any:
    return function(*args)


async def test_stopping_again_waits_for_the_end_and_changes_nothing(tree: PluginTree) -> None:
    tree.plugin("base", code=SLOW_TO_GO)
    going, go = asyncio.Event(), asyncio.Event()
    live = make_live(tree, extras={"going": going, "go": go})
    await live.server.start()
    one, other = (asyncio.create_task(live.server.stop()) for _ in range(2))
    await going.wait()
    await anyio.wait_all_tasks_blocked()
    assert not one.done()
    assert not other.done()
    go.set()
    await asyncio.gather(one, other)
    await live.server.stop()
    assert live.journal == ["torn down"]
    assert len(live.of(WatchStopped)) == 1


async def test_what_was_never_started_can_be_stopped(tree: PluginTree) -> None:
    await make_live(tree).server.stop()


async def test_a_start_that_fails_raises_why_and_leaves_nothing_to_stop(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object, **__: object) -> None:
        raise OSError("no disk")

    tree.plugin("base")
    tasks = asyncio.all_tasks()
    live = make_live(tree)
    before = live.server.registry.runner.on_crash
    monkeypatch.setattr("dagstack_dev.app.reload.loop.ReloadLoop.start", fail)
    with pytest.raises(OSError, match="no disk"):
        await live.server.start()
    assert live.server.registry.runner.on_crash is before
    await live.server.stop()
    with pytest.raises(RuntimeError, match="make a new one"):
        await live.server.start()
    assert asyncio.all_tasks() == tasks
    with pytest.raises(FileNotFoundError):
        await DevServer(tree.root / "nowhere").start()


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_a_start_that_is_cancelled_half_way_tears_down_what_is_up(
    tree: PluginTree, how: str
) -> None:
    tree.plugin("base")
    tree.plugin("slow", depends_on=["base"], code=HANGING)
    tasks = asyncio.all_tasks()
    live = make_live(tree)
    scope = anyio.CancelScope()

    async def start() -> None:
        with scope:
            await live.server.start()

    starting = asyncio.create_task(start())
    while "setup" not in live.journal:
        await asyncio.sleep(0)
    if how == "scope":
        scope.cancel()
    else:
        starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled() is (how == "task")
    assert live.journal == ["setup base 1", "setup", "cancelled", "teardown base 1"]
    assert live.of(WatchStarted) == []
    await live.server.stop()
    assert asyncio.all_tasks() == tasks


async def test_a_stop_that_is_cancelled_is_so_when_all_is_torn_down(tree: PluginTree) -> None:
    tree.plugin("base", code=SLOW_TO_GO)
    going, go = asyncio.Event(), asyncio.Event()
    live = make_live(tree, extras={"going": going, "go": go})
    await live.server.start()
    stopping = asyncio.create_task(live.server.stop())
    await going.wait()
    stopping.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not stopping.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert live.journal == ["torn down"]


def test_a_loop_that_ends_without_a_stop_tears_down(tree: PluginTree) -> None:
    tree.plugin("base")

    async def main() -> Live:
        live = make_live(tree)
        await live.server.start()
        return live

    live = asyncio.run(main())
    assert live.journal == ["setup base 1", "teardown base 1"]
    asyncio.run(live.server.stop())


@pytest.mark.parametrize("what", ["stop", "wait_idle", "reload"])
async def test_another_loop_is_refused_as_the_wrong_one(live: Live, what: str) -> None:
    call = getattr(live.server, what)
    with pytest.raises(RuntimeError, match="runs in another event loop; use it there"):
        await anyio.to_thread.run_sync(lambda: asyncio.run(call()))
    await live.server.wait_idle()
    assert live.plugin("base").value() == 1


async def test_what_has_not_been_started_answers_no_request(tree: PluginTree) -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        await make_live(tree).server.wait_idle()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the factory came with Python 3.12")
def test_tasks_that_begin_at_once_make_no_difference(tree: PluginTree) -> None:
    tree.plugin("base")

    async def main() -> list[str]:
        factory = vars(asyncio)["eager_task_factory"]  # mypy looks at Python 3.11.
        asyncio.get_running_loop().set_task_factory(factory)
        live = make_live(tree)
        async with live.server:
            tree.plugin("base", value=2)
            await live.server.wait_idle()
        return live.journal

    assert asyncio.run(main())[-2:] == ["setup base 2", "teardown base 2"]


def test_on_trio_start_and_stop_may_be_in_two_tasks(tree: PluginTree) -> None:
    tree.plugin("base")

    async def main() -> list[str]:
        live = make_live(tree)
        for step in (live.server.start, live.server.wait_idle, live.server.stop):
            async with anyio.create_task_group() as group:
                group.start_soon(step)
        return live.journal

    assert anyio.run(main, backend="trio") == ["setup base 1", "teardown base 1"]


class Fault(Exception):
    """Of the server itself."""


@pytest.fixture
def break_server(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the server fail, in whatever state it is, as by a defect."""
    events: list[anyio.Event] = []

    async def run(_: Sweep) -> None:
        events.append(anyio.Event())
        await events[0].wait()
        raise Fault

    monkeypatch.setattr(Sweep, "run", run)

    def now() -> None:
        events[0].set()

    return now


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failure_of_the_server_ends_the_block_and_comes_out_of_it(
    tree: PluginTree, break_server: Callable[[], None], backend: str
) -> None:
    tree.plugin("base")
    seen: list[str] = []

    async def app(live: Live) -> None:
        async with live.server:
            await anyio.wait_all_tasks_blocked()
            break_server()
            try:
                await anyio.sleep_forever()
            finally:
                seen.append("broken off")

    async def main() -> Live:
        live = make_live(tree)
        with pytest.raises(ExceptionGroup) as raised:
            await app(live)
        assert raised.group_contains(Fault)
        await anyio.lowlevel.checkpoint()  # Nothing is left of the cancellation.
        await live.server.stop()  # It has been raised, and is not again.
        return live

    live = anyio.run(main, backend=backend)
    assert seen == ["broken off"]
    assert live.journal == ["setup base 1", "teardown base 1"]


async def test_a_failure_of_the_server_beside_one_of_the_block_hides_neither(
    tree: PluginTree, break_server: Callable[[], None]
) -> None:
    async def app() -> None:
        async with serving(tree):
            await anyio.wait_all_tasks_blocked()
            break_server()
            try:
                await anyio.sleep_forever()
            finally:
                raise LookupError("mine")

    with pytest.raises(ExceptionGroup) as raised:
        await app()
    assert raised.group_contains(Fault)
    assert raised.group_contains(LookupError)
    await asyncio.sleep(0)


async def test_a_block_that_ends_just_as_the_server_fails_is_not_cancelled_after_it(
    tree: PluginTree,
) -> None:
    live = make_live(tree)
    with pytest.raises(Fault):
        async with live.server:
            live.server._life._fail(Fault())
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_is_not_taken_for_the_servers(
    tree: PluginTree, break_server: Callable[[], None]
) -> None:
    live = make_live(tree)

    async def app() -> None:
        async with live.server:
            await anyio.wait_all_tasks_blocked()
            break_server()
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(60)

    task = asyncio.create_task(app())
    await asyncio.wait([task])
    assert task.cancelled() or isinstance(task.exception(), BaseExceptionGroup)


async def test_without_a_block_a_failure_is_reported_and_raised_by_whatever_is_asked_next(
    tree: PluginTree, break_server: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    tree.plugin("base")
    live = make_live(tree)
    await live.server.start()
    await anyio.wait_all_tasks_blocked()
    break_server()
    await live.fact(WatchStopped)
    told = capsys.readouterr().err
    assert told.startswith("dagstack-dev: the DevServer has ended by itself; ")
    assert "Fault" in told
    with pytest.raises(RuntimeError, match="has ended by itself"):
        await live.server.wait_idle()
    with pytest.raises(ExceptionGroup) as raised:
        await live.server.stop()
    assert raised.group_contains(Fault)
    await live.server.stop()


async def test_each_step_of_the_end_runs_whatever_the_others_raise(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Fault

    tree.plugin("base")
    live = make_live(tree)
    runner = live.server.registry.runner
    before = runner.on_crash, runner.drain_seconds
    monkeypatch.setattr(LeakCheck, "finish", fail)
    monkeypatch.setattr("dagstack_dev.app.reload.shared.SharedFiles.close", _raise_fault)
    stream = live.server.events()
    with pytest.raises(Fault):
        async with live.server:
            assert (runner.on_crash, runner.drain_seconds) != before
    assert live.journal == ["setup base 1", "teardown base 1"]
    assert (runner.on_crash, runner.drain_seconds) == before
    assert stream.ended
    assert isinstance(live.facts[-1], WatchStopped)


async def test_a_teardown_that_fails_as_a_whole_keeps_the_server_from_nothing(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Registry) -> None:
        raise Fault

    live = make_live(tree)
    before = live.server.registry.runner.on_crash
    await live.server.start()
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "teardown_all", fail)
        with pytest.raises(Fault):
            await live.server.stop()
    assert live.server.registry.runner.on_crash is before
    await live.server.registry.teardown_all()


def _raise_fault(*_: object) -> None:
    raise Fault
