"""The health of a server that is a plugin: a tool of it tells."""

from __future__ import annotations

from pathlib import Path

from mcp_servers import mcp_plugin
from serving import serving
from trees import PluginTree

from dagstack_dev import PluginDegraded, PluginRecovered, State

SERVER = """
import os
from mcp.server import MCPServer

app = MCPServer("checked")

@app.tool()
def ping() -> bool:
    return not os.path.exists({ill!r})

@app.tool()
def health(patient: str) -> str:
    return "ill"

app.run("stdio")
"""


async def test_the_manifest_names_a_tool(tree: PluginTree, tmp_path: Path) -> None:
    ill = tmp_path / "ill"
    code = SERVER.format(ill=str(ill))
    mcp_plugin(tree, "checked", code=code, manifest='health_check = "ping"\n')
    mcp_plugin(tree, "other", code=code)  # It has a tool `health`, which is about something else.
    async with serving(tree, health_seconds=0.01, health_failures=10**6) as live:
        ill.touch()
        degraded = await live.fact(PluginDegraded)
        assert str(degraded.error) == "tool/checked is not healthy: ping() returned False"
        ill.unlink()
        assert (await live.fact(PluginRecovered)).ref.name == "checked"
        assert live.state("checked", "tool") is State.READY
        assert {each.ref.name for each in live.of(PluginDegraded)} == {"checked"}
