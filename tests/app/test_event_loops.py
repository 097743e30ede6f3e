"""Plugins whose processes ended with the event loop that they were set up in."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest
from command_runs import GUARD_SECONDS
from mcp_servers import is_running, mcp_plugin
from serving import context, serving
from trees import PluginTree

from dagstack_dev import EventLoopClosed, PluginRef, PluginRegistry, State, TeardownErrors

pytestmark = pytest.mark.usefixtures("imports_forgotten")

PID = """
import os
class Plugin:
    def pid(self):
        return os.getpid()
"""


@pytest.mark.parametrize("kind", ["demo", "tool"])
def test_a_plugin_whose_process_has_ended_with_the_loop_is_not_ready(
    tree: PluginTree, kind: str
) -> None:
    if kind == "tool":
        mcp_plugin(tree, "it")
    else:
        tree.plugin("it", code=PID, manifest='execution_model = "process_cpu_bound"')
    registry = PluginRegistry().discover(tree.root)
    ctx, ref = context(registry=registry), PluginRef(kind, "it")

    async def begin() -> int:
        await registry.setup_all(ctx)
        return int(await registry.get_plugin(*ref).pid())

    pid = asyncio.run(begin())
    assert not is_running(pid)
    status = registry.statuses()[ref]
    assert status.state is State.FAILED
    assert isinstance(status.error, EventLoopClosed)
    with pytest.raises(TeardownErrors, match="EventLoopClosed"):
        asyncio.run(registry.teardown_all())

    async def once_more() -> None:
        assert await begin() != pid
        await registry.teardown_all()

    asyncio.run(once_more())


TICKING = """
import asyncio
class Plugin:
    def setup(self, ctx):
        self.journal = ctx.extras["journal"]
        ctx.start_soon(self.tick)
    async def tick(self):
        await asyncio.sleep(3600)
    async def teardown(self):
        await asyncio.sleep(0)
        self.journal.append("teardown")
    def value(self):
        return {value}
"""


async def test_a_plugin_whose_tasks_were_all_cancelled_is_torn_down_by_its_next_reload(
    tree: PluginTree,
) -> None:
    tree.plugin("it", code=TICKING.format(value=1))
    async with serving(tree) as live:
        for task in asyncio.all_tasks():
            if "demo/it" in task.get_name():
                task.cancel()
        with anyio.fail_after(GUARD_SECONDS):
            while live.states != {"it": "failed"}:
                await anyio.lowlevel.checkpoint()
        assert live.journal == []
        tree.plugin("it", code=TICKING.format(value=2))
        await live.settle()
        assert live.states == {"it": "ready"}
        assert live.plugin("it").value() == 2
        assert live.journal == ["teardown"]
    assert live.journal == ["teardown"] * 2
