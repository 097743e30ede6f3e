"""What a plugin's own tests import is what the server runs, by whatever name they know it."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from mcp_servers import mcp_plugin
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRef
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.testing.own_tests import TestRun, run_own_tests

CODE = """
import json, logging, types
from . import json as own_json
from .types import SIZE

class Plugin:
    def value(self):
        return SIZE, own_json.NAME, json.loads("1"), types.SimpleNamespace, logging.INFO
"""
SHADOWS = {"types": "SIZE = 3\n", "json": "NAME = 'own'\n", "logging": "", "decimal": "1 / 0\n"}


async def own_tests(tree: PluginTree, folder: Path) -> TestRun:
    """How the own tests of the plugin in `folder` went."""
    root = str(tree.root)
    source, _ = read_plugin(str(folder), root, IgnoreRules())
    run = await run_own_tests(PluginRef("a.b", "odd"), source, [root], [])
    assert run is not None
    return run


async def test_of_tests_that_print_without_end_the_end_is_kept(tree: PluginTree) -> None:
    folder = tree.plugin("odd", kind="a.b")
    code = "def test_it():\n    for _ in range(30):\n        print('x' * 1_000_000)\n    assert 0\n"
    tree.write(folder / "tests/test_it.py", code)
    run = await own_tests(tree, folder)
    assert not run.passed
    assert run.summary.startswith("1 failed")
    assert run.output.startswith("... after ")
    assert run.summary in run.output
    assert len(run.output) < 1_100_000


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
    run = await own_tests(tree, folder)
    assert run.passed, run.output
    assert run.summary.startswith("4 passed")


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


async def test_a_server_a_link_shared_code_and_files_of_one_name_are_no_matter(
    tree: PluginTree, tmp_path: Path
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'shared'\n")
    user = tree.plugin("user", code="from helpers.words import WORD\nclass Plugin: pass\n")
    tree.write(user / "tests/conftest.py", "import helpers.words\nMINE = helpers.words\n")
    tree.write(
        user / "tests/test_x.py",
        "import plugin\nfrom ..plugin import WORD, Plugin\nfrom .conftest import MINE\n"
        "def test_it(): assert MINE.WORD is WORD and plugin.Plugin is Plugin\n",
    )
    tree.write(user / "tests/pytest.ini", "[pytest]\npythonpath = ..\n")  # As pytest alone needs.
    server = mcp_plugin(tree, "server")
    tree.write(server / "tests/conftest.py", "import server\nMINE = server\n")
    tree.write(
        server / "tests/test_x.py",
        "from ..server import TOOLS\nfrom .conftest import MINE\n"
        "def test_it(): assert MINE.TOOLS is TOOLS\n",
    )
    server.rename(tmp_path / "elsewhere")
    server.symlink_to(tmp_path / "elsewhere")
    for folder in (user, server):
        run = await own_tests(tree, folder)
        assert run.passed, run.output


async def test_a_comparison_that_fails_is_explained_and_an_import_names_its_line(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("odd")
    tree.write(folder / "broken.py", "import nowhere\n")
    tree.write(
        folder / "tests/test_value.py",
        """
        from ..plugin import Plugin

        def test_value():
            assert Plugin().value() == 2

        def test_import():
            from .. import broken
        """,
    )
    run = await own_tests(tree, folder)
    assert not run.passed
    assert "assert 1 == 2" in run.output
    assert "where 1 = value()" in run.output
    assert "tests/test_value.py:8:" in run.output
    assert "broken.py:1: in <module>" in run.output
    assert "No module named 'nowhere'" in run.output
