"""The extra `[mcp]`: what is said without it, and that it costs nothing where it is not needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from command_runs import CHECKOUT, GUARD_SECONDS
from mcp_servers import mcp_plugin
from trees import PluginTree

from dagstack_dev import PluginRegistry
from dagstack_dev.core.errors.registry import INSTALL_MCP, RuntimeNotSupported
from dagstack_dev.host.services.http import INSTALL_HTTP

LOADED = """
import asyncio, sys
from dagstack_dev import PluginContext, PluginRegistry

async def main():
    registry = PluginRegistry().discover("plugins")
    await registry.setup_all(PluginContext(config={}, logger=None, registry=registry))
    await registry.teardown_all()

asyncio.run(main())
heavy = {"mcp", "httpx", "httpx2", "jsonschema_rs"}
print(*sorted(heavy & sys.modules.keys()), "end")
"""


def test_what_to_install_is_named(tree: PluginTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagstack_dev.app.registry.find_spec", lambda _: None)
    manifest = """
    [plugin]
    name = "server"
    kind = "tool"
    core_version = ">=0.1"
    runtime = "mcp_http"
    url = "http://127.0.0.1:1/mcp"
    """
    tree.write("server/dagstack.toml", manifest)
    with pytest.raises(RuntimeNotSupported) as caught:
        PluginRegistry().discover(tree.root)
    assert "tool/server runs in mcp_http, which is not installed" in str(caught.value)
    assert INSTALL_MCP in str(caught.value)


def test_nothing_is_imported_before_it_is_needed(tree: PluginTree) -> None:
    tree.plugin("plain")
    assert _heavy_modules(tree) == "end"
    mcp_plugin(tree, "server")
    assert _heavy_modules(tree) == "end"


def _heavy_modules(tree: PluginTree) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tree.root.parent,
        capture_output=True,
        text=True,
        env={**CHECKOUT, "PATH": ""},
        timeout=GUARD_SECONDS,
        check=True,
    )
    return done.stdout.splitlines()[-1].strip()


@pytest.mark.parametrize(("extra", "command"), [("mcp", INSTALL_MCP), ("http", INSTALL_HTTP)])
def test_the_command_that_is_advised_installs_what_the_extra_does(extra: str, command: str) -> None:
    project = tomli.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    requirement = command.removeprefix('pip install "').removesuffix('"')
    assert requirement in project["optional-dependencies"][extra]
