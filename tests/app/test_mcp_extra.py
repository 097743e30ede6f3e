"""The extra `[mcp]`: what is told without it, and that it costs nothing where it is not needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tomli
from command_runs import CHECKOUT
from mcp_servers import mcp_plugin
from trees import PluginTree

from dagstack_dev import PluginRegistry
from dagstack_dev.core.errors.registry import INSTALL_MCP, RuntimeNotSupported
from dagstack_dev.host.services.http import INSTALL_HTTP
from dagstack_dev.runtimes.mcp import is_installed

LOADED = """
import asyncio, sys
from dagstack_dev import PluginContext, PluginRegistry

async def main():
    registry = PluginRegistry().discover("plugins")
    await registry.setup_all(PluginContext(config={}, logger=None, registry=registry))
    await registry.teardown_all()

asyncio.run(main())
heavy = {"mcp", "mcp_types", "jsonschema", "httpx", "httpx2"}
print(*sorted(heavy & sys.modules.keys()), "end")
"""


@pytest.mark.parametrize("runtime", ["mcp_stdio", "mcp_http"])
def test_what_to_install_is_told(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr("dagstack_dev.app.registry.is_installed", lambda: False)
    manifest = f"""
    [plugin]
    name = "server"
    kind = "tool"
    core_version = ">=0.1"
    runtime = "{runtime}"
    """
    more = 'command = "serve"' if runtime == "mcp_stdio" else 'url = "http://127.0.0.1:1/mcp"'
    tree.write("server/dagstack.toml", manifest + more)
    with pytest.raises(RuntimeNotSupported) as caught:
        PluginRegistry().discover(tree.root)
    assert f"tool/server runs in {runtime}, which is not installed" in str(caught.value)
    assert INSTALL_MCP in str(caught.value)


def test_an_sdk_that_is_too_old_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "dagstack_dev.runtimes.mcp.find_spec"
    monkeypatch.setattr(known, lambda name: None if name == "httpx2" else find_spec("json"))
    assert not is_installed()


def test_nothing_of_it_is_imported_without_such_a_plugin(tree: PluginTree) -> None:
    tree.plugin("plain")
    assert _heavy_modules(tree) == "end"


def test_it_is_imported_with_one(tree: PluginTree) -> None:
    tree.plugin("plain")
    mcp_plugin(tree, "server")
    assert "mcp " in _heavy_modules(tree)


def _heavy_modules(tree: PluginTree) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tree.root.parent,
        capture_output=True,
        text=True,
        env={**CHECKOUT, "PATH": ""},
        timeout=50,
        check=True,
    )
    return done.stdout.splitlines()[-1].strip()


@pytest.mark.parametrize(("extra", "command"), [("mcp", INSTALL_MCP), ("http", INSTALL_HTTP)])
def test_the_command_that_is_advised_installs_what_the_extra_does(extra: str, command: str) -> None:
    project = tomli.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    requirement = command.removeprefix('pip install "').removesuffix('"')
    assert requirement in project["optional-dependencies"][extra]
