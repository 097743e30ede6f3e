"""What others wrote does nothing at a terminal, and JSON of it can be read by every parser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from command_runs import CHECKOUT, Watching
from rich.panel import Panel
from rich.text import Text
from trees import PluginTree

from dagstack_dev.cli.log_lines import _json
from dagstack_dev.cli.output import printable
from dagstack_dev.cli.screen import Screen

ACTING = ["\x1b[2J", "\x9b31m", "\x07", "\x08", "\x7f", "\u202e", "\u2066", "\u2028", "\udc80"]


@pytest.mark.parametrize("text", ACTING)
def test_what_acts_is_written_as_python_would(text: str) -> None:
    assert printable(f"a{text}b") == f"a{ascii(text[0])[1:-1]}{text[1:]}b"


def test_what_lays_out_lines_and_any_language_stay() -> None:
    text = "def f():\n\treturn 'naïve שלום 👩\u200d💻'\n"
    assert printable(text) == text


@pytest.mark.parametrize("text", ACTING)
def test_a_frame_around_what_acts_keeps_its_width(text: str) -> None:
    file = StringIO()
    Screen(file, width=40).print(Panel(Text(f"line {text} end", "bold"), title="title"))
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert {len(line) for line in lines} == {40}
    assert not set(file.getvalue()) & {text[0]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (Text.assemble("a", ("b", "red")), [("a", "none"), ("b", "red")]),
        (Text.assemble("a\x1b", ("b", "red")), [("a\\x1bb", "None")]),
        ("[bold]:smile:", [("[bold]:smile:", "None")]),
    ],
)
def test_a_text_keeps_its_styles_unless_something_in_it_acts(
    text: str | Text, shown: list[tuple[str, str]]
) -> None:
    segments = [*Screen(StringIO(), width=40).render(text)][:-1]
    assert [(each.text, str(each.style)) for each in segments] == shown


@pytest.mark.parametrize("text", ACTING)
def test_a_line_of_json_holds_nothing_that_acts_and_says_the_same(text: str) -> None:
    line = _json({"event": text, text: [text]})
    assert line.isprintable()
    same = text if text != "\udc80" else "\\udc80"
    assert json.loads(line) == {"event": same, same: [same]}


@pytest.mark.parametrize("log_format", ["console", "logfmt", "json"])
def test_nothing_that_plugins_log_raise_or_are_named_acts_in_any_format(
    tree: PluginTree, watch: Callable[..., Watching], log_format: str
) -> None:
    tree.plugin(
        "logs",
        code=r"""
        import logging

        class Plugin:
            def setup(self, ctx):
                ctx.logger.info("\x1b[2Jone \x9b \u202e", **{"k\x1bey": "v\x1b", "bytes": "\udcff"})
                logging.getLogger("acme\x1b").warning("two\x1b[2J")
        """,
    )
    tree.plugin(
        "raises",
        code="""
        class Odd(Exception):
            pass

        class Plugin:
            def setup(self, ctx):
                error = Odd("three\\x1b[2J")
                error.add_note("four\\x9b")
                raise error  # \x1b[31m red \u202e
        """,
    )
    tree.write("b\x1b[2Jad/dagstack.toml", "[plugin]\n")
    tree.write("unnamed/dagstack.toml", '[plugin]\nname = "a\\u001bb"\n"k\\u001b" = 1\n')
    run = watch("plugins", "--log-format", log_format)
    run.line({"console": "Ctrl-C to stop"}.get(log_format, "watch.started"))
    assert run.end() == 0
    written = "\n".join(run.lines)
    assert not set(written) & set("\x1b\x9b\u202e\udcff\x07\x08")
    for word in ("one", "two", "three", "[2Jad"):
        assert word in written


@pytest.mark.parametrize("command", ["why", "test", "watch"])
def test_names_on_the_command_line_come_out_as_text(
    tree: PluginTree, tmp_path: Path, command: str
) -> None:
    empty = tmp_path / "\x1b[2J[red]:smile:"
    empty.mkdir()
    file = empty / "notes.txt"
    given = {"why": [file, tree.root], "test": [empty], "watch": [empty / "none"]}[command]
    run = subprocess.run(
        [sys.executable, "-m", "dagstack_dev", command, *map(str, given)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | CHECKOUT,
    )
    assert "\\x1b[2J[red]:smile:" in run.stdout + run.stderr
    assert "\x1b" not in run.stdout + run.stderr
