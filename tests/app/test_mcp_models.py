"""MCP servers whatever the manifest says of execution, and on whatever event loop."""

from __future__ import annotations

import pytest
import trio
from mcp_servers import is_running, mcp_plugin
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted


@pytest.mark.parametrize("model", ["async", "sync", "thread_cpu_bound", "process_cpu_bound"])
async def test_the_execution_model_means_nothing_for_a_process_of_its_own(
    tree: PluginTree, model: str
) -> None:
    mcp_plugin(tree, "server", manifest=f'execution_model = "{model}"')
    async with serving(tree) as live:
        assert await live.plugin("server", "tool").echo("x", times=2) == "xx"


def test_a_server_on_trio(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    pids = []

    async def main() -> None:
        async with serving(tree) as live:
            server = live.plugin("server", "tool")
            pids.append(int(await server.pid()))
            edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
            await live.fact(ReloadCommitted)
            assert await server.value() == "2"
            pids.append(int(await server.pid()))

    trio.run(main)
    assert [is_running(pid) for pid in pids] == [False, False]
