"""Wrong usage is told in one line and exits with 2; help and docs agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from command_runs import CHECKOUT, GUARD_SECONDS

from dagstack_dev import __version__
from dagstack_dev.cli.main import cli, main

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


class Printed(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Printed]:
    """Call the command's entry point in a folder of its own; it may not start anything."""

    def main_with(*arguments: str) -> Printed:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["dagstack-dev", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return Printed(exit_.value.code, *capsys.readouterr())

    return main_with


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("wach plugins", "'wach'"),
        ("watch", "name a folder with plugins: dagstack-dev watch plugins/, or set paths"),
        ("watch nowhere", "nowhere: does not exist; a folder with plugins was expected"),
        ("watch plugins nowhere", "nowhere: does not exist"),
        ("watch a_file", "a_file: is not a folder"),
        ("watch plugins --watch-code none", "none: does not exist; a folder with code was"),
        ("why a_file", "name a folder with plugins: dagstack-dev why FILE plugins/"),
        ("why plugins plugins", "plugins: is a folder; name a file in it"),
        ("why a_file plugins --watch-code none", "none: does not exist; a folder with code was"),
        ("watch plugins --hookspecs none", "none: cannot be read: No such file or directory"),
        ("watch plugins --hookspecs a_file", "a_file:2: must be a mapping"),
        ("watch plugins --log-formt json", "--log-format"),
        ("mcp --expose greeter", "--expose greeter: name it as kind/name, or tool/*, or all"),
        ("watch plugins --log-format jsn", "'jsn' is not one of 'console', 'json', 'logfmt'"),
        ("watch plugins --log-level chatty", "'chatty' is not one of"),
        ("watch plugins --settle soon", "'soon' is not a valid integer"),
        ("watch plugins --settle 0", "--settle"),
        ("watch plugins --core-version one", "--core-version 'one' is not a PEP 440 version"),
        ("watch plugins --config missing.toml", "missing.toml: cannot be read: No such file"),
        ("watch plugins --config a_file", "a_file:2: is not valid TOML"),
        ("watch plugins --config plugins", "plugins: cannot be read: Is a directory"),
        ("watch plugins --log-file none/x.log", "--log-file none/x.log: No such file or directory"),
        ("watch plugins --log-file plugins", "--log-file plugins: Is a directory"),
        ("watch plugins --trace none/x.json", "--trace none/x.json: No such file or directory"),
        ("watch plugins --trace /dev/full", "--trace /dev/full: No space left on device"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_code_2(
    tmp_path: Path, run: Callable[..., Printed], arguments: str, says: str
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "a_file").write_text("\nnot toml", encoding="utf-8")
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("dagstack-dev: ")
    assert says in err
    assert len(err.splitlines()) == 1


def test_the_real_command_exits_with_2_and_shows_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagstack_dev", "watch", "nowhere"],
        cwd=tmp_path,
        env=os.environ | CHECKOUT,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "dagstack-dev: nowhere: does not exist; a folder with plugins was expected\n"
    )


def test_without_a_command_the_help_is_shown(run: Callable[..., Printed]) -> None:
    printed = run()
    assert (printed.out + printed.err).startswith("Usage: dagstack-dev")


def test_the_version_is_shown(run: Callable[..., Printed]) -> None:
    assert run("--version") == (0, f"dagstack-dev {__version__}\n", "")


def test_the_help_names_every_option_with_a_sentence(run: Callable[..., Printed]) -> None:
    code, out, _ = run("watch", "--help")
    assert code == 0
    assert out.startswith("Usage: dagstack-dev watch [OPTIONS] PATH...")
    for option in _options():
        assert option.help
        assert max(option.opts, key=len) in out


def _options(command: str = "watch") -> list[click.Option]:
    params = cli.commands[command].params
    return [param for param in params if isinstance(param, click.Option)]


def _section(title: str) -> str:
    """The part of the page below the heading `title`."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_docs_list_exactly_the_options_there_are() -> None:
    row = re.compile(r"^\| `(?:-h`, `)?(--[\w-]+)", re.MULTILINE)
    names = [max(option.opts, key=len) for option in _options()]
    assert row.findall(_section("Options of `watch`")) == [*names, "--help"]
    names = [max(option.opts, key=len) for option in _options("test")]
    assert row.findall(_section("Testing plugins")) == names


def test_the_docs_name_the_choices_and_defaults_there_are() -> None:
    section = _section("Options of `watch`")
    rows = dict(re.findall(r"^\| `(--[\w-]+)[^`]*` \|(.*)$", section, re.MULTILINE))
    for option in _options():
        row = rows[max(option.opts, key=len)]
        if isinstance(option.type, click.Choice):
            for choice in option.type.choices:
                assert f"`{choice}`" in row
        if option.show_default:
            assert str(option.default) in row.split("|")[0]
