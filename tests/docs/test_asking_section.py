"""What docs/cli.md shows of the commands that ask a running server is what they print."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import QUIET_START, Asking
from command_runs import Watching
from sessions import shown_commands, timeless
from trees import PluginTree

from dagstack_dev.cli.ask import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SYNOPSIS = PAGE.partition("## ")[0]
SECTION = PAGE.partition("## Ask the running server\n")[2].partition("\n## ")[0]
RUNNING, BROKEN = SECTION.split("After a save that leaves out the last `)`:\n")
CODE = re.search(r"```python\n# plugins/words/plugin.py\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


@pytest.fixture
def watching(tree: PluginTree, watch: Callable[..., Watching]) -> Watching:
    assert CODE is not None
    tree.plugin("words", kind="tool", code=CODE[1].replace("class Words", "class Plugin"))
    run = watch("plugins", "--log-format", "json", environment=QUIET_START)
    run.event("watch.started")
    return run


def test_each_command_prints_what_is_shown(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    play(ask, RUNNING)
    file = tree.root / "words/plugin.py"
    head, _, tail = file.read_text(encoding="utf-8").rpartition(")")
    file.write_text(head + tail, encoding="utf-8")
    play(ask, BROKEN)
    assert watching.ended() == 0


def play(ask: Asking, text: str) -> None:
    """Run the commands of a text, and compare what they print."""
    commands = shown_commands(text)
    assert commands
    for command, output in commands:
        done = ask.run(*command)
        assert timeless(done.stdout + done.stderr) == timeless(output), command


def test_the_names_of_plugins_are_completed(watching: Watching, tmp_path: Path) -> None:
    completing = {
        "_DAGSTACK_DEV_COMPLETE": "bash_complete",
        "COMP_WORDS": "dagstack-dev status to",
        "COMP_CWORD": "2",
    }
    assert Asking(tmp_path, completing).run().stdout == "plain,tool/words\n"


def test_the_page_names_every_command_and_option() -> None:
    for command in COMMANDS:
        assert f"dagstack-dev {command.name} " in SYNOPSIS
        assert re.search(rf"^\| .*`{command.name}\b", SECTION, re.MULTILINE)
        for name in {name for each in command.params for name in each.opts if "-" in name}:
            assert re.search(rf"(?<![\w-]){name}\b", SECTION), name
