"""The examples of docs/mcp.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mcp_service import serving_mcp
from node_packages import NODE_MODULES, needs_node
from serving import serving
from trees import PluginTree

import dagstack_dev
from dagstack_dev.core.errors import remote
from dagstack_dev.core.manifest.mcp import McpHttp, McpStdio
from dagstack_dev.runtimes.mcp.plugin import McpPlugin

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n(?:#|//) plugins/(\S+)\n(.*?)```", PAGE, re.DOTALL))


def write(tree: PluginTree, name: str) -> None:
    for path, text in FILES.items():
        if path.startswith(f"{name}/"):
            tree.write(path, text)


async def test_the_scales_and_the_market(tree: PluginTree) -> None:
    write(tree, "scales")
    code = FILES["market/plugin.py"].replace("class Market", "class Plugin")
    tree.plugin("market", code=code, depends_on=["scales"])
    async with serving(tree) as live:
        assert await live.plugin("market").weigh(1500) == 1.5
        scales = live.plugin("scales", "tool")
        assert await scales.convert(2_000_000, "t") == 2
        assert await scales.read_resource("scales://units") == "kg, t"
        (message,) = await scales.get_prompt("explain", unit="stone")
        assert message["content"]["text"] == "What is a stone?"
        with pytest.raises(dagstack_dev.ToolError, match="Error executing tool convert"):
            await scales.convert(1, "stone")


@needs_node
async def test_the_shout(tree: PluginTree) -> None:
    write(tree, "shout")
    (tree.root / "node_modules").symlink_to(NODE_MODULES)
    async with serving(tree) as live:
        assert await live.plugin("shout", "tool").shout("help", times=2) == "HELP!HELP!"


async def test_the_forecast(tree: PluginTree, tmp_path: Path) -> None:
    write(tree, "forecast")
    with serving_mcp(tmp_path / "service") as service:
        manifest = tree.root / "forecast/dagstack.toml"
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text.replace("http://127.0.0.1:8000/mcp", service.url))
        async with serving(tree) as live:
            assert await live.plugin("forecast", "data").count() == 1


def test_every_key_of_the_table_for_services_is_documented() -> None:
    section = PAGE.partition("| in `[plugin.mcp_http]`")[2].partition("\n\n")[0]
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", section)) == set(McpHttp.model_fields)


def test_every_error_is_documented_and_public() -> None:
    public = {name for name in vars(remote) if name.startswith(("Tool", "Server", "Hand"))}
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`.*?) \|", PAGE))))
    assert public <= table
    assert public <= {*dir(dagstack_dev)}


def test_every_key_of_the_table_is_documented() -> None:
    rows = re.findall(r"(?m)^\| [^|]*\| `(\w+)` \|", PAGE)
    assert set(rows) == set(McpStdio.model_fields)


def test_every_method_is_documented() -> None:
    own = {name for name in vars(McpPlugin) if not name.startswith("_")}
    assert {name for name in own if f"plugin.{name}" in PAGE} == own - {"setup", "teardown"}
