"""`dagstack-dev why` and `--watch-code`: which code outside of plugins counts, and for whom."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import CHECKOUT, GUARD_SECONDS, Watching
from trees import PluginTree

FACTORY = """
import json
from typing import TYPE_CHECKING

from myapp.names import NAME

if TYPE_CHECKING:
    from myapp import types
"""
LAZY = """
from .client import Client

class Plugin:
    def setup(self, ctx):
        from myapp.llm.factory import NAME
        ctx.logger.info("made", name=NAME)
"""


@pytest.fixture
def app(tree: PluginTree, tmp_path: Path) -> Path:
    """An app with its package in `src/`, and plugins that import it and a helper package."""
    source = tmp_path / "src/myapp"
    tree.write(source / "__init__.py", "")
    tree.write(source / "llm/__init__.py", "")
    tree.write(source / "llm/factory.py", FACTORY)
    tree.write(source / "names.py", "NAME = 'old'\n")
    tree.write(source / "types.py", "")
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/text.py", "")
    tree.plugin("openai", kind="llm", code=LAZY)
    tree.write("openai/client.py", "import helpers.text\nclass Client: ...\n")
    tree.plugin("chat", kind="agent", depends_on=["openai"])
    return tmp_path


def why(app: Path, file: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "dagstack_dev", "why", file, "plugins", *arguments]
    run = subprocess.run(
        command,
        cwd=app,
        env=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        timeout=GUARD_SECONDS,
    )
    return run.stdout


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        (
            "src/myapp/names.py",
            [
                "src/myapp/names.py  myapp.names",
                "└── myapp.llm.factory imports it  src/myapp/llm/factory.py:5",
                "    └── llm/openai imports it  plugins/openai/plugin.py:6",
                "        └── agent/chat depends on it",
            ],
        ),
        (
            "plugins/helpers/text.py",
            [
                "plugins/helpers/text.py  helpers.text",
                "└── llm/openai imports it  plugins/openai/client.py:1",
                "    └── agent/chat depends on it",
            ],
        ),
        (
            "plugins/openai/client.py",
            [
                "plugins/openai/client.py",
                "└── llm/openai contains it  plugins/openai",
                "    └── agent/chat depends on it",
            ],
        ),
        (
            "plugins/openai/clint.py",
            [
                "plugins/openai/clint.py  there is no such file",
                "└── llm/openai contains it  plugins/openai",
                "    └── agent/chat depends on it",
            ],
        ),
        (
            "src/myapp/types.py",
            ["src/myapp/types.py: a change reloads nothing: no plugin imports it"],
        ),
        (
            "plugins/openai/run.log",
            [
                (
                    "plugins/openai/run.log: there is no such file; a change reloads nothing: "
                    "it is ignored"
                )
            ],
        ),
        (
            "other.py",
            [
                (
                    "other.py: there is no such file; a change reloads nothing: it is below none "
                    "of the watched folders; see --watch-code"
                )
            ],
        ),
    ],
)
def test_the_chain_from_a_file_to_what_it_would_reload(
    app: Path, file: str, lines: list[str]
) -> None:
    assert why(app, file, "--watch-code", "src").splitlines() == lines


def test_why_runs_no_code_and_passes_over_what_is_broken(app: Path, tree: PluginTree) -> None:
    tree.plugin("loud", code="open('ran', 'w')\nimport myapp.names\nclass Plugin: ...\n")
    tree.plugin("broken", code="import myapp.names (\n")
    tree.write("worse/dagstack.toml", "[plugin\n")
    assert "demo/loud imports it" in why(app, "src/myapp/names.py", "--watch-code", "src")
    assert not (app / "ran").exists()


def test_code_below_a_named_folder_reloads_who_imports_it(
    app: Path, watch: Callable[..., Watching]
) -> None:
    run = watch("plugins", "--watch-code", "src")
    assert run.event("made")["name"] == "old"
    started = run.event("watch.started")
    assert started["code_roots"] == [str(app / "src")]
    (app / "src/myapp/names.py").write_text("NAME = 'new'\n", encoding="utf-8")
    assert run.event("made")["name"] == "new"
    committed = run.event("reload.committed")
    assert (committed["changed"], committed["affected"]) == (
        ["llm/openai"],
        ["agent/chat", "llm/openai"],
    )
    assert run.end() == 0
