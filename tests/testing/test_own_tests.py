"""What a plugin's own tests import is what the server runs, by whatever name they know it."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from mcp_servers import mcp_plugin
from trees import PluginTree

from dagstack_dev import PluginContext
from dagstack_dev.testing.folders import check_folders
from dagstack_dev.testing.own_tests import TestRun

CODE = """
import json, logging, types
from . import json as own_json
from .types import SIZE

class Plugin:
    def value(self):
        return SIZE, own_json.NAME, json.loads("1"), types.SimpleNamespace, logging.INFO
"""
SHADOWS = {"types": "SIZE = 3\n", "json": "NAME = 'own'\n", "logging": "", "decimal": "1 / 0\n"}


async def own_tests(tree: PluginTree) -> dict[str, TestRun]:
    """How the own tests of each plugin went, by the names of the folders."""
    reports = [each async for each in check_folders([tree.root])]
    return {each.folder.rpartition("/")[2]: each.tests for each in reports if each.tests}


async def passed(tree: PluginTree) -> str:
    """The summary of the only plugin's own tests; none has failed."""
    [run] = (await own_tests(tree)).values()
    assert run.passed, run.output
    return run.summary


@pytest.mark.parametrize("with_init", [False, True], ids=["folders", "packages"])
async def test_own_tests_import_the_plugin_as_the_server_does(
    tree: PluginTree, with_init: bool
) -> None:
    folder = tree.plugin("odd", kind="a.b", code=CODE)
    for name, text in SHADOWS.items():
        tree.write(folder / f"{name}.py", text)
    tree.write(folder / "parts/deep.py", "from ..types import SIZE as DEEP\n")
    tree.write(folder / "tests/conftest.py", FIXTURE)
    tree.write(folder / "tests/inner/conftest.py", "from ...types import SIZE\n")
    tree.write(folder / "tests/inner/test_it.py", BY_RELATIVE_NAME.replace("..", "..."))
    tree.write(folder / "tests/help.py", "from ..types import SIZE\n")
    tree.write(folder / "tests/test_it.py", BY_RELATIVE_NAME)
    tree.write(folder / "tests/test_files.py", BY_FILE_NAME)
    if with_init:
        for package in ("", "tests/", "tests/inner/", "parts/"):
            tree.write(folder / f"{package}__init__.py", "from dataclasses import field\n")
    assert (await passed(tree)).startswith("4 passed")


FIXTURE = """
import pytest
from ..plugin import Plugin

@pytest.fixture
def made():
    return Plugin
"""
BY_RELATIVE_NAME = """
from __future__ import annotations
import dataclasses
import types
from ..parts.deep import DEEP
from ..plugin import Plugin

@dataclasses.dataclass
class Case:
    number: int

def test_it(made):
    assert made is Plugin
    assert Plugin().value()[:3] == (3, "own", 1)
    assert Plugin.__module__ == "dagstack_plugins.a%2Eb.odd.plugin"
    assert types.SimpleNamespace and DEEP == 3
"""
BY_FILE_NAME = """
import decimal
import parts.deep
import plugin
from .help import SIZE
from plugin import Plugin

def test_it(made):
    assert made is Plugin is plugin.Plugin
    assert parts.deep.DEEP == SIZE and decimal.Decimal

def test_in_a_function():
    from .. import types
    from ..parts import deep
    assert deep is parts.deep and types.SIZE == 3
"""


def test_a_plugin_that_is_set_up_by_hand_logs_with_fields_as_under_the_server(
    plugin_context: PluginContext,
    caplog: pytest.LogCaptureFixture,
    captured_events: list[structlog.typing.EventDict],
) -> None:
    caplog.set_level("INFO")
    plugin_context.logger.info("greeting", name="Ann")
    assert captured_events == [{"event": "greeting", "name": "Ann", "log_level": "info"}]


async def test_plugins_with_test_files_of_one_name_do_not_meet(tree: PluginTree) -> None:
    for value in (1, 2):
        folder = tree.plugin(f"p{value}", value=value)
        tree.write(folder / "tests/conftest.py", f"VALUE = {value}\n")
        tree.write(
            folder / "tests/test_x.py",
            "from plugin import Plugin\nfrom .conftest import VALUE\n"
            "def test_it(): assert Plugin().value() == VALUE\n",
        )
    runs = await own_tests(tree)
    assert {name: run.passed for name, run in runs.items()} == {"p1": True, "p2": True}, runs


async def test_own_tests_import_what_the_plugin_shares_with_others(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'shared'\n")
    folder = tree.plugin("user", code="from helpers.words import WORD\nclass Plugin: pass\n")
    tree.write(
        folder / "tests/test_it.py",
        "import helpers.words\nfrom ..plugin import WORD\n"
        "def test_it(): assert helpers.words.WORD is WORD\n",
    )
    assert (await passed(tree)).startswith("1 passed")


async def test_a_plugin_by_a_link_and_a_server_are_importable_too(
    tree: PluginTree, tmp_path: Path
) -> None:
    folder = mcp_plugin(tree, "server")
    tree.write(
        folder / "tests/test_it.py",
        "import server\nfrom ..server import TOOLS\ndef test_it(): assert server.TOOLS is TOOLS\n",
    )
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert (await passed(tree)).startswith("1 passed")


async def test_a_comparison_that_fails_is_explained_and_an_import_names_its_line(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("odd")
    tree.write(folder / "broken.py", "import nowhere\n")
    tree.write(
        folder / "tests/test_value.py",
        "from ..plugin import Plugin\ndef test_it(): assert Plugin().value() == 2\n",
    )
    tree.write(folder / "tests/test_broken.py", "from .. import broken\ndef test_it(): pass\n")
    run = (await own_tests(tree))["odd"]
    assert not run.passed
    assert "tests/test_broken.py:1: in <module>" in run.output
    assert "broken.py:1: in <module>" in run.output
    assert "No module named 'nowhere'" in run.output
    (folder / "tests/test_broken.py").unlink()
    run = (await own_tests(tree))["odd"]
    assert "assert 1 == 2" in run.output
    assert "where 1 = value()" in run.output
