"""An app whose event loop starts tasks at once: `asyncio.eager_task_factory`."""

from __future__ import annotations

import asyncio
import sys

import anyio
import anyio.lowlevel
import pytest
from command_runs import GUARD_SECONDS
from mcp_servers import mcp_plugin
from serving import serving
from trees import PluginTree

from dagstack_dev import BroadcastCollectDispatcher
from dagstack_dev.core.events import TeardownFailed

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 12), reason="it came with Python 3.12"),
    pytest.mark.usefixtures("imports_forgotten"),
]

OWNER = """
import asyncio
from contextlib import asynccontextmanager

class Plugin:
    {setup} setup(self, ctx):
        self.journal = ctx.extras["journal"]
        ctx.start_soon(self.say, "at once", name="one")
        ctx.start_soon(self.tick)
        ctx.callback(self.journal.append, "callback")
        ctx.run_thread(lambda stop: (stop.wait(), self.journal.append("thread")))
        {more}

    async def say(self, word):
        self.journal.append(word)

    async def tick(self):
        self.journal.append("ticks")
        try:
            await asyncio.sleep(3600)
        finally:
            self.journal.append("ended")

    @asynccontextmanager
    async def session(self):
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self.tick())
            yield
            ticking.cancel()
        self.journal.append("left")

    async def crash(self, ctx):
        ctx.start_soon(self.fail)

    async def fail(self):
        raise LookupError("gone")

    def value(self):
        return {value}

    {teardown} teardown(self):
        self.journal.append("teardown")
"""

ENTER = "await ctx.enter_async(self.session())"


def owner(tree: PluginTree, setup: str = "", teardown: str = "", **words: object) -> None:
    code = OWNER.format(
        **{"setup": setup + "def", "teardown": teardown + "def", "value": 1, "more": "", **words}
    )
    tree.plugin("owner", code=code)


def start_tasks_at_once() -> None:
    factory = getattr(asyncio, "eager_task_factory")  # noqa: B009 - unknown to Python 3.11
    asyncio.get_running_loop().set_task_factory(factory)


@pytest.mark.parametrize("teardown", ["", "async "], ids=["plain teardown", "async teardown"])
@pytest.mark.parametrize(
    ("setup", "more"),
    [("", ""), ("async ", ""), ("async ", ENTER)],
    ids=["plain setup", "async setup", "entering"],
)
async def test_what_a_plugin_owns_runs_and_is_undone(
    tree: PluginTree, setup: str, more: str, teardown: str
) -> None:
    start_tasks_at_once()
    owner(tree, setup, teardown, more=more)
    ticking = 2 if more else 1
    async with serving(tree) as live:
        with anyio.fail_after(GUARD_SECONDS):
            while live.journal.count("ticks") < ticking:
                await anyio.lowlevel.checkpoint()
        assert live.journal.count("at once") == 1
        live.forget()
        owner(tree, setup, teardown, more=more, value=2)
        await live.settle()
        assert live.plugin("owner").value() == 2
        undone = live.journal[: live.journal.index("callback") + 1]
        assert undone == ["teardown", *(["ended", "left"] if more else []), "thread", "callback"]
        assert live.journal.count("ended") == ticking
    assert live.journal.count("ended") == 2 * ticking


async def test_a_task_that_fails_at_once_fails_its_plugin(tree: PluginTree) -> None:
    start_tasks_at_once()
    owner(tree, "async ", more="ctx.start_soon(self.fail); await asyncio.sleep(3600)")
    async with serving(tree) as live:
        assert live.states == {"owner": "failed"}
        assert isinstance(live.status("owner").error, LookupError)


REMOTE = """
import asyncio

class Plugin:
    async def setup(self, ctx):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        self.ticks = 0
        ctx.start_soon(self.tick)

    async def tick(self):
        self.ticks += 1
        await asyncio.sleep(3600)

    async def value(self):
        return self.ticks

    def plain(self):
        return "plain"
"""


@pytest.mark.parametrize("model", ["async", "thread_cpu_bound", "process_cpu_bound"])
async def test_calls_go_through_wherever_they_run(tree: PluginTree, model: str) -> None:
    start_tasks_at_once()
    tree.plugin("it", code=REMOTE, manifest=f'execution_model = "{model}"')
    async with serving(tree) as live:
        plugin = live.plugin("it")
        answers = await asyncio.gather(*(plugin.value() for _ in range(5)))
        assert answers == [1] * 5
        if model != "async":
            assert await asyncio.gather(*(plugin.plain() for _ in range(5))) == ["plain"] * 5
        assert live.states == {"it": "ready"}
    assert live.of(TeardownFailed) == []


async def test_servers_units_and_dispatches_do_as_ever(tree: PluginTree) -> None:
    start_tasks_at_once()
    mcp_plugin(tree, "server")
    code = """
    class Plugin:
        async def setup(self, ctx):
            self.journal = ctx.extras["journal"]
            self.server = ctx.registry.get_plugin("tool", "server")
        async def execute(self, ctx, args):
            word = await self.server.value()
            self.journal.append(word)
            return word
    """
    tree.plugin(
        "worker",
        code=code,
        depends_on=["server"],
        manifest="[plugin.unit_of_work]\ndeclared = true",
    )
    tree.plugin(
        "local",
        kind="orchestrator",
        code="from dagstack_dev import LocalExecutorOrchestrator as Plugin",
    )
    async with serving(tree) as live:
        units = live.plugin("local", "orchestrator")
        answer = await units.enqueue({"plugin_name": "worker", "args": {}})
        with anyio.fail_after(GUARD_SECONDS):
            while "1" not in live.journal:
                await anyio.lowlevel.checkpoint()
        answers = await BroadcastCollectDispatcher(
            live.server.registry, dispatch_class_override="broadcast_collect"
        ).dispatch_async("demo", "execute", None, {})
        assert answers == (["1"], None)
        assert (await units.status(answer))["state"] == "succeeded"
    assert live.of(TeardownFailed) == []
