"""What an app sees of us that has not asked for anything, and how it asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_runs import GUARD_SECONDS
from trees import PluginTree

DISCOVER = """
import asyncio
{asked}
from dagstack_dev import PluginContext, discover
async def main():
    registry = discover("plugins")
    await registry.setup_all(PluginContext(config={{}}, logger=None, registry=registry))
    print("value", registry.get_plugin("demo", "talker").value())
    await registry.teardown_all()
asyncio.run(main())
"""

SERVE = """
import asyncio
{asked}
from dagstack_dev import DevServer
async def main():
    async with DevServer("plugins") as server:
        print("value", server.registry.get_plugin("demo", "talker").value())
asyncio.run(main())
"""

TALKER = """
class Plugin:
    def setup(self, ctx):
        self.logger = ctx.logger

    def value(self):
        if self.logger is not None:
            self.logger.info("not worth a line")
            self.logger.warning("mind the %s", "gap", name="n", message="m", args=1)
        return 1
"""

FAILS = "class Plugin:\n    def setup(self, ctx): raise ValueError('no key')\n"


def run(program: str, folder: Path, asked: str = "") -> tuple[str, str]:
    """Standard output and standard error of a script."""
    done = subprocess.run(
        [sys.executable, "-c", program.format(asked=asked)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=GUARD_SECONDS,
    )
    return done.stdout, done.stderr


@pytest.fixture
def talker(tree: PluginTree) -> PluginTree:
    tree.plugin("talker", code=TALKER)
    return tree


def test_a_registry_in_a_script_writes_nothing(talker: PluginTree, tmp_path: Path) -> None:
    assert run(DISCOVER, tmp_path) == ("value 1\n", "")


def test_a_server_writes_what_its_plugins_warn_of_and_nothing_else(
    talker: PluginTree, tmp_path: Path
) -> None:
    talker.plugin("failing", code=FAILS)
    out, err = run(SERVE, tmp_path)
    assert out == "value 1\n"
    assert err == "mind the gap plugin='demo/talker' name='n' message='m' args=1\n"


def test_an_app_that_has_configured_logging_sees_events_and_what_plugins_log(
    talker: PluginTree, tmp_path: Path
) -> None:
    talker.plugin("failing", code=FAILS)
    asked = (
        "import logging; "
        "logging.basicConfig(level='INFO', format='%(levelname)s %(name)s %(module)s %(message)s')"
    )
    out, err = run(SERVE, tmp_path, asked)
    assert out == "value 1\n"
    assert "INFO dagstack_dev logs plugin.ready plugin='demo/talker' from_state=" in err
    assert "ERROR dagstack_dev logs plugin.failed plugin='demo/failing' " in err
    assert "INFO dagstack_plugins plugin not worth a line plugin='demo/talker'\n" in err


def test_an_app_that_has_configured_structlog_sees_all_of_it_there(
    talker: PluginTree, tmp_path: Path
) -> None:
    asked = (
        "import structlog; structlog.configure(processors=[structlog.processors.JSONRenderer()])"
    )
    out, err = run(SERVE, tmp_path, asked)
    assert '"event": "plugin.ready"}' in out
    assert '{"plugin": "demo/talker", "event": "not worth a line"}\n' in out
    assert err == ""
