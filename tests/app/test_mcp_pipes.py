"""What goes through the pipes of a server: when it does not read, or cannot be told something."""

from __future__ import annotations

import os
import signal

import pytest
from mcp_servers import mcp_plugin
from serving import serving
from trees import PluginTree

from dagstack_dev.core.runtime_errors import ToolArgumentsInvalid, ToolTimeout


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


async def test_what_cannot_be_sent_is_told_to_its_caller_alone(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        undecodable = os.fsdecode(b"caf\xe9")  # The name of a file, say.
        with pytest.raises(ToolArgumentsInvalid, match="cannot be sent as JSON"):
            await server.echo(undecodable)
        with pytest.raises(ToolArgumentsInvalid, match="cannot be sent"):
            await server.read_resource(undecodable)
        assert await server.value() == "1"
