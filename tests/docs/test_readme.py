"""The README's examples do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dagstack_dev import load_manifest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with every file that the README shows, under the name it gives."""
    for name, text in BLOCKS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_shows_a_plugin_and_each_use() -> None:
    assert [name for name, _ in BLOCKS] == [
        "plugins/store/dagstack.toml",
        "plugins/store/plugin.py",
        "plugins/greeter/dagstack.toml",
        "plugins/greeter/plugin.py",
        "tables/dagstack.toml",
        "app.py",
        "registry.py",
    ]


def test_the_manifest_of_a_plugin_in_another_language_is_valid(project: Path) -> None:
    assert load_manifest(project / "tables").runtime == ("mcp_stdio",)


def test_the_embedding_example_greets(project: Path) -> None:
    assert "Hello, world!" in run("app.py", project)


def test_the_registry_example_lists_the_plugin(project: Path) -> None:
    assert "['data/store', 'tool/greeter']" in run("registry.py", project)


@pytest.mark.parametrize("command", ["scripts/watch", "scripts/test"])
def test_the_two_commands_exist_and_can_be_run(command: str) -> None:
    assert command in README
    assert (ROOT / command).stat().st_mode & 0o111
