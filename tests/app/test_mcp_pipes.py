"""What goes through the pipes of a server: when it does not read, or cannot be told something."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from mcp_servers import mcp_plugin
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.core.errors.remote import ToolArgumentsInvalid, ToolTimeout
from dagstack_dev.runtimes.mcp import pipes


async def test_a_call_to_a_server_that_does_not_read_runs_out_of_time(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        pid = int(await server.pid())
        os.kill(pid, signal.SIGSTOP)
        for _ in range(2):  # The first fills the pipe, the second finds it full.
            with pytest.raises(ToolTimeout):
                await server.call_tool("echo", {"text": "x" * 500_000}, timeout=0.2)
        os.kill(pid, signal.SIGCONT)
        assert await server.value() == "1"


async def test_what_cannot_be_sent_fails_its_call_alone(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        undecodable = os.fsdecode(b"caf\xe9")  # The name of a file, say.
        with pytest.raises(ToolArgumentsInvalid, match="cannot be sent as JSON"):
            await server.echo(undecodable)
        with pytest.raises(ToolArgumentsInvalid, match="cannot be sent"):
            await server.read_resource(undecodable)
        assert await server.value() == "1"


async def test_a_flood_of_lines_that_are_no_messages_is_cut_short(
    tree: PluginTree, captured_events: list[dict[str, Any]]
) -> None:
    folder = mcp_plugin(tree, "server")
    begins = "print('no message\\n' * 50_000, flush=True); Server(options).serve()"
    edit(folder / "server.py", "Server(options).serve()", begins)
    async with serving(tree) as live:
        await live.plugin("server", "tool").print("one more")
    told = [each["event"] for each in captured_events if "not JSON-RPC" in each["event"]]
    assert len(told) == pipes.MOST_STRAYS + 2
    assert "further lines that are not JSON-RPC are not logged" in told[-2]
    assert "one more" in told[-1]
