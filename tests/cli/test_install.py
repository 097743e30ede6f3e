"""`dagstack-dev mcp --install`: a client's file gets one entry, which works; nothing is lost."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from command_runs import CHECKOUT
from mcp_clients import Door, connected, tools

from dagstack_dev.cli.install import CLIENTS
from dagstack_dev.cli.main import cli, main

FILES = {
    "claude-code": (".mcp.json", "mcpServers", []),
    "cursor": (".cursor/mcp.json", "mcpServers", ["--server", "${workspaceFolder}"]),
    "vscode": (".vscode/mcp.json", "servers", ["--server", "${workspaceFolder}"]),
}


class Done(NamedTuple):
    returncode: object
    stdout: str
    stderr: str


@dataclass
class Asking:
    """Runs the command in this process: it starts nothing."""

    folder: Path
    patch: pytest.MonkeyPatch
    printed: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Done:
        self.patch.chdir(self.folder)
        self.patch.setattr(sys, "argv", ["dagstack-dev", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return Done(exit_.value.code, *self.printed.readouterr())


@pytest.fixture
def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Asking:
    return Asking(tmp_path, monkeypatch, capsys)


def entry(*words: str, command: str = "dagstack-dev") -> dict[str, Any]:
    return {"type": "stdio", "command": command, "args": ["mcp", *words]}


def installed(ask: Asking, file: str, table: str = "mcpServers") -> Any:
    return json.loads((ask.folder / file).read_text())[table]["dagstack-dev"]


def test_every_client_can_be_named() -> None:
    (option,) = (each for each in cli.commands["mcp"].params if each.name == "client")
    assert isinstance(option.type, click.Choice)
    assert [*option.type.choices] == [*CLIENTS] == [*FILES]


@pytest.mark.parametrize("client", FILES)
def test_the_file_is_written_once(ask: Asking, client: str) -> None:
    file, table, place = FILES[client]
    done = ask.run("mcp", "--install", client)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{file} is written: ")
    assert json.loads((ask.folder / file).read_text()) == {table: {"dagstack-dev": entry(*place)}}
    written = (ask.folder / file).stat()
    again = ask.run("mcp", "--install", client)
    assert again.stdout.startswith(f"{file} has it already: ")
    assert (ask.folder / file).stat().st_mtime_ns == written.st_mtime_ns
    assert [each.name for each in (ask.folder / file).parent.iterdir()] == [Path(file).name]


def test_a_dry_run_prints_the_file_and_writes_nothing(ask: Asking) -> None:
    done = ask.run("mcp", "--install", "cursor", "--dry-run")
    assert json.loads(done.stdout)["mcpServers"]["dagstack-dev"] == entry(*FILES["cursor"][2])
    assert not list(ask.folder.iterdir())
    assert "--dry-run belongs to --install" in ask.run("mcp", "--dry-run").stderr


def test_options_that_are_given_are_those_it_is_started_with(ask: Asking) -> None:
    (ask.folder / "dagstack-dev.toml").write_text('read-only = true\nserver = "elsewhere"\n')
    ask.run("mcp", "--install", "claude-code")
    assert installed(ask, ".mcp.json") == entry()  # It will read the settings itself.
    ask.run("mcp", "--install", "cursor", "--read-only", "--server", "plugins")
    assert installed(ask, ".cursor/mcp.json") == entry(
        "--server", "${workspaceFolder}/plugins", "--read-only"
    )
    done = ask.run("mcp", "--install", "vscode", "--expose", "tool/scales", "--expose", "data/*")
    assert installed(ask, ".vscode/mcp.json", "servers") == entry(
        *("--server", "${workspaceFolder}", "--expose", "tool/scales", "--expose", "data/*")
    )
    done = ask.run("mcp", "--install", "vscode", "--server", "..")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--server ..: lies outside of this folder" in done.stderr


def test_all_else_in_the_file_stays_in_its_order_and_indent(ask: Asking) -> None:
    other = {"command": "npx", "args": ["ä", 1, 2.5, None, True], "env": {"KEY": "a/b"}}
    held = {"version": 1, "mcpServers": {"other": other}, "inputs": []}
    file = ask.folder / ".mcp.json"
    file.write_text(json.dumps(held, indent="\t", ensure_ascii=False))
    file.chmod(0o640)
    assert ask.run("mcp", "--install", "claude-code").stdout.startswith(".mcp.json has it now: ")
    wanted = held | {"mcpServers": {"other": other, "dagstack-dev": entry()}}
    assert file.read_text() == json.dumps(wanted, indent="\t", ensure_ascii=False) + "\n"
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_file_of_another_editor_keeps_its_line_ends_and_byte_order_mark(
    ask: Asking, mark: bytes, end: bytes
) -> None:
    def as_written(servers: object) -> bytes:
        text = json.dumps({"mcpServers": servers}, indent=2) + "\n"
        return mark + text.encode().replace(b"\n", end)

    file = ask.folder / ".mcp.json"
    file.write_bytes(as_written({"other": {}}))
    assert ask.run("mcp", "--install", "claude-code").returncode == 0
    wanted = as_written({"other": {}, "dagstack-dev": entry()})
    assert file.read_bytes() == wanted
    assert ask.run("mcp", "--install", "claude-code").stdout.startswith(".mcp.json has it already:")
    assert file.read_bytes() == wanted


def test_a_file_behind_a_link_is_written_where_it_is(ask: Asking) -> None:
    real = ask.folder / "real.json"
    real.write_text("{}")
    (ask.folder / ".mcp.json").symlink_to(real)
    ask.run("mcp", "--install", "claude-code")
    assert (ask.folder / ".mcp.json").is_symlink()
    assert "dagstack-dev" in real.read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  // mine\n  "mcpServers": {}\n}', ".mcp.json:2: is not valid JSON"),
        ('{"mcpServers": {},}', ".mcp.json:1: is not valid JSON"),
        ('{"a": 1, "a": 2}', ".mcp.json: has something that cannot be written back as it is"),
        ('{"a": 1e400}', "cannot be written back as it is"),
        ('{"a": "\\ud800"}', "cannot be written back as it is"),
        ("[]", ".mcp.json: has no object 'mcpServers'"),
        ('{"mcpServers": []}', ".mcp.json: has no object 'mcpServers'"),
        ('{"mcpServers": {"dagstack-dev": {}}}', ".mcp.json: has another server 'dagstack-dev'"),
    ],
)
def test_what_would_be_lost_is_left_alone_and_the_entry_is_shown(
    ask: Asking, text: str, words: str
) -> None:
    file = ask.folder / ".mcp.json"
    file.write_text(text)
    done = ask.run("mcp", "--install", "claude-code")
    assert (done.returncode, done.stdout) == (1, "")
    said, _, shown = done.stderr.partition("Put this into it:\n")
    assert words in said
    assert "it is left as it is" in said
    assert json.loads(shown) == {"mcpServers": {"dagstack-dev": entry()}}
    assert file.read_text() == text


def test_a_file_that_cannot_be_written_is_one_line(ask: Asking) -> None:
    (ask.folder / ".cursor").write_text("a file")
    done = ask.run("mcp", "--install", "cursor")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "dagstack-dev: .cursor/mcp.json: File exists\n"


class Project:
    """A folder with an environment of its own, in which the program is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / ".venv")
        (packages,) = (folder / ".venv").glob("lib/*/site-packages")
        known = [CHECKOUT["PYTHONPATH"], *(each for each in sys.path if "-packages" in each)]
        (packages / "known.pth").write_text("\n".join(known))
        self.program = folder / ".venv/bin/dagstack-dev"
        self.program.write_text(
            f"#!{folder}/.venv/bin/python\nfrom dagstack_dev.cli.main import main\nmain()\n"
        )
        self.program.chmod(0o755)

    def words(self, client: str) -> list[str]:
        """What a client is to start, as the program of the environment has it."""
        command = [str(self.program), "mcp", "--install", client, "--dry-run"]
        printed = subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.PIPE)
        entry = json.loads(printed.stdout)[FILES[client][1]]["dagstack-dev"]
        return [entry["command"], *entry["args"]]


async def test_an_environment_in_the_folder_is_found_without_being_active(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.words("claude-code") == [".venv/bin/dagstack-dev", "mcp"]
    place, program = "${workspaceFolder}", "${workspaceFolder}/.venv/bin/dagstack-dev"
    assert project.words("vscode") == [program, "mcp", "--server", place]
    words = [each.replace(place, str(tmp_path)) for each in project.words("cursor")]
    async with connected("python", Door(words, tmp_path)) as agent:
        assert "docs" in await tools(agent)
    (tmp_path / "uv.lock").touch()
    assert project.words("claude-code") == ["uv", "run", "dagstack-dev", "mcp"]
    assert project.words("cursor") == [
        *("uv", "run", "--directory", place, "dagstack-dev", "mcp", "--server", place)
    ]
