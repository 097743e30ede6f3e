"""The README's examples do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from asking import Asking
from command_runs import GUARD_SECONDS, Watching
from sessions import shown_commands, timeless

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


FIRST_MINUTES = re.search(r"^## The first minutes\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
EDITS = [('"Hello")', '"Good morning")'), ('morning")', 'morning"'), ('morning"', 'morning")')]
"""What is edited before each of the blocks that show what `watch` prints then."""


def test_the_first_minutes_are_as_they_are_shown(
    tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    assert FIRST_MINUTES is not None
    edits = iter(EDITS)
    ask = Asking(tmp_path)
    running: Watching | None = None
    for language, block in re.findall(r"```(\w*)\n(.*?)```", FIRST_MINUTES[1], re.DOTALL):
        if language:
            continue
        commands = shown_commands(f"```\n{block}```\n")
        printed = block
        if commands and commands[0][0][0] == "watch":
            ((command, printed),) = commands
            running = watch(*command[1:], columns=80)
        elif commands:
            for command, output in commands:
                done = ask.run(*command)
                assert timeless(done.stdout + done.stderr) == timeless(output)
            continue
        else:
            edit(tmp_path / "plugins/greeter/plugin.py", *next(edits))
        assert running is not None
        before = len(running.lines)
        last = timeless(printed).splitlines()[-1]
        running.until(partial(is_like, last))
        seen = timeless("\n".join(running.screen.splitlines()[before:]))
        assert seen == timeless(printed)
    assert next(edits, None) is None
    assert running is not None
    assert running.end() == 0


def is_like(shown: str, line: str) -> bool:
    return timeless(line) == shown


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_shows_a_plugin_and_each_use() -> None:
    assert [name for name, _ in BLOCKS] == [
        "plugins/store/dagstack.toml",
        "plugins/store/plugin.py",
        "plugins/welcome/dagstack.toml",
        "plugins/welcome/plugin.py",
        "tables/dagstack.toml",
        "app.py",
        "registry.py",
    ]


def test_the_manifest_of_a_plugin_in_another_language_is_valid(project: Path) -> None:
    assert load_manifest(project / "tables").runtime == ("mcp_stdio",)


def test_the_embedding_example_greets(project: Path) -> None:
    assert "Hello, world!" in run("app.py", project)


def test_the_registry_example_lists_the_plugin(project: Path) -> None:
    assert "['data/store', 'tool/welcome']" in run("registry.py", project)


@pytest.mark.parametrize("command", ["scripts/watch", "scripts/test"])
def test_the_two_commands_exist_and_can_be_run(command: str) -> None:
    assert command in README
    assert (ROOT / command).stat().st_mode & 0o111
