"""What a plugin is told of what it has under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from serving import Live, serving
from trees import PluginTree

from dagstack_dev import Operation, OperationKind, PluginContext, ReloadCommitted

CODE = """
import anyio

class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
        self.release = anyio.Event()
        ctx.start_soon(self.poll, name="poll")
        ctx.run_thread(self.wait)
    async def poll(self):
        await anyio.sleep_forever()  # poll
    def wait(self, stop):
        stop.wait()  # wait
    async def ask(self):
        await self.release.wait()  # ask
    def now(self):
        return self.ctx.in_flight()  # now
    async def teardown(self):
        self.ctx.extras["seen"] += self.ctx.in_flight()
"""


def line_of(path: Path, mark: str) -> int:
    """The line that ends with the comment `mark`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


async def until_asked(live: Live, calls: int) -> None:
    """Wait until so many calls of `it` are under way."""
    while len(live.plugin("it").now()) < calls + 3:
        await anyio.sleep(0.001)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_tasks_and_threads_are_named_with_their_lines(tree: PluginTree, backend: str) -> None:
    async def main() -> None:
        path = tree.plugin("it", code=CODE) / "plugin.py"
        async with (
            serving(tree, extras={"seen": []}) as live,
            anyio.create_task_group() as callers,
        ):
            it = live.plugin("it")
            callers.start_soon(it.ask)
            callers.start_soon(it.ask)
            await until_asked(live, 2)

            def operation(kind: OperationKind, name: str, mark: str) -> Operation:
                return Operation(kind, name, str(path), line_of(path, mark))

            found = it.now()
            ask = operation(OperationKind.CALL, "ask", "ask")
            assert found.count(ask) == 2  # Each call is one, wherever they are.
            assert set(found) == {
                ask,
                operation(OperationKind.CALL, "now", "now"),
                operation(OperationKind.TASK, "poll", "poll"),
                operation(OperationKind.THREAD, "Plugin.wait", "wait"),
            }
            assert str(ask) == f"call of ask() at {path}:{ask.line}"
            live.instance("it").release.set()

    anyio.run(main, backend=backend)


async def test_the_error_of_a_teardown_names_what_has_not_ended_in_time(tree: PluginTree) -> None:
    tree.plugin("it", code=CODE)
    seen: list[Operation] = []
    async with (
        serving(tree, extras={"seen": seen}, drain_seconds=0.01) as live,
        anyio.create_task_group() as callers,
    ):
        old = live.instance("it")
        callers.start_soon(live.plugin("it").ask)
        await until_asked(live, 1)
        tree.plugin("it", value=2)
        await live.fact(ReloadCommitted)
        assert [(each.kind, each.name) for each in seen] == [
            ("call", "ask"),
            ("background task", "poll"),
            ("thread", "Plugin.wait"),
        ]
        old.release.set()


IN_THREADS = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
    def ask(self, begun, release):
        release.wait(begun.set())  # In one line, which is that where it is when it has begun.
    def teardown(self):
        self.ctx.extras["seen"] += self.ctx.in_flight()
"""


async def test_the_error_of_a_teardown_in_a_thread_names_calls_in_threads(tree: PluginTree) -> None:
    tree.plugin("it", code=IN_THREADS, manifest='execution_model = "thread_cpu_bound"\n')
    seen: list[Operation] = []
    begun, release = threading.Event(), threading.Event()
    async with (
        serving(tree, extras={"seen": seen}, drain_seconds=0.01) as live,
        anyio.create_task_group() as callers,
    ):
        callers.start_soon(live.plugin("it").ask, begun, release)
        await anyio.to_thread.run_sync(begun.wait)
        tree.plugin("it", value=2)
        await live.fact(ReloadCommitted)
        release.set()
    assert [(each.kind, each.name, each.line) for each in seen] == [("call", "ask", 6)]


async def test_there_is_no_telling_before_and_after_a_life(tree: PluginTree) -> None:
    tree.plugin("it", code=CODE)
    async with serving(tree, extras={"seen": []}) as live:
        ask: Callable[[], object] = live.instance("it").ctx.in_flight
    with pytest.raises(RuntimeError, match="torn down"):
        ask()
    host = PluginContext(config={}, logger=None, registry=None)
    with pytest.raises(RuntimeError, match="belongs to the host"):
        host.in_flight()
