"""`dagstack-dev mcp --install`: how coding agents come to know the MCP server."""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from dagstack_dev.app.local_api import can_serve
from dagstack_dev.cli.output import printable
from dagstack_dev.core.documents import DocumentInvalid, read_document
from dagstack_dev.core.errors.base import place_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

_NAME: Final = "dagstack-dev"
"""What the server is called in a configuration."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program in which an agent works, and how it is told of MCP servers.

    Attributes:
        title: its name.
        file: its configuration, below the folder that is open in it.
        table: what holds the servers there.
        folder: how that file writes the folder; empty where servers are started in it.
        step: what is to be done next.
    """

    title: str
    file: str
    table: str
    folder: str
    step: str


_STRING_OR_SPACE: Final = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')

_WORKSPACE: Final = "${workspaceFolder}"

CLIENTS: Final[Mapping[str, Client]] = {
    "claude-code": Client(
        "Claude Code",
        ".mcp.json",
        "mcpServers",
        "",
        "start `claude` in this folder, and allow the server when it asks",
    ),
    "cursor": Client(
        "Cursor",
        ".cursor/mcp.json",
        "mcpServers",
        _WORKSPACE,
        "open this folder in Cursor, and switch the server on in the settings, under MCP",
    ),
    "vscode": Client(
        "VS Code",
        ".vscode/mcp.json",
        "servers",
        _WORKSPACE,
        "open this folder in VS Code, and start the server above its entry in the file",
    ),
}


def install(name: str, server: Path | None, options: Collection[str], *, dry_run: bool) -> int:
    """Add the server to the configuration of a client for this folder; return the exit code.

    All else in that file stays, and an entry of that name that differs, too. What was not given
    at the command line is left for the settings of the project to say.

    Args:
        name: of the client, in `CLIENTS`.
        server: the `--server` of the command.
        options: the names of its other options that the client is to start it with.
        dry_run: whether the text is printed instead of written.

    Raises:
        click.UsageError: the server lies elsewhere.
        click.ClickException: the file has something that would be lost, or cannot be written.
    """
    client = CLIENTS[name]
    path = Path(client.file)
    entry = _entry(client, Path.cwd(), [*_place(client, server), *_given(options)])
    try:
        old = path.read_bytes() if path.exists() else b""
        new = _merged(old or b"{}", client.table, entry)
        if dry_run:
            click.echo(new, nl=False)
            return 0
        if new != old:
            _write(path, new)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise _refusal(place_of(str(path), error.line), error.reason, client, entry) from error
    did = "has it already" if new == old else "has it now" if old else "is written"
    command = " ".join([entry["command"], *entry["args"]])
    steps = "".join(f"\n  {each}" for each in (*_missing(), client.step))
    click.echo(f"{path} {did}: {client.title} starts `{command}`\n\nnext:{steps}")
    return 0


def _refusal(
    place: str, reason: str, client: Client, entry: Mapping[str, Any]
) -> click.ClickException:
    wanted = _json({client.table: {_NAME: entry}}, 2)
    return click.ClickException(
        printable(f"{place}: {reason}; it is left as it is. Put this into it:\n{wanted}")
    )


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _given(names: Collection[str]) -> Iterator[str]:
    """Yield the options of these names as they were given to the command."""
    context = click.get_current_context()
    for option in context.command.params:
        name = option.name or ""
        if name not in names or not _is_given(name) or not isinstance(option, click.Option):
            continue
        value = context.params[name]
        if option.is_flag:
            yield option.opts[0] if value else option.secondary_opts[0]
        else:
            for each in value if option.multiple else [value]:
                yield from (option.opts[0], str(each))


def _place(client: Client, server: Path | None) -> list[str]:
    """Return the option that says which dev server is asked; none for that of the folder.

    Raises:
        click.UsageError: it lies elsewhere.
    """
    if server is None or not _is_given("server"):
        return ["--server", client.folder] if client.folder else []
    below = server.expanduser().resolve()
    if not below.is_relative_to(Path.cwd()):
        words = "lies outside of this folder; the file is to hold no path of your machine"
        raise click.UsageError(f"--server {server}: {words}")
    return ["--server", str(Path(client.folder) / below.relative_to(Path.cwd()))]


def _entry(client: Client, folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """Return how a client starts the server.

    No path of this machine is in it, so that the file can be committed: an environment in the
    folder is named from there, any other has to be on the client's `PATH`.

    Args:
        client: the client.
        folder: the one that is open in it.
        words: the options of `dagstack-dev mcp`.
    """
    environment = Path(os.path.realpath(Path(sys.prefix).parent), Path(sys.prefix).name)
    if not environment.is_relative_to(folder):
        command = [_NAME]
    elif (folder / "uv.lock").exists():
        command = ["uv", "run", *(["--directory", client.folder] if client.folder else []), _NAME]
    else:
        program = environment.relative_to(folder) / "bin" / _NAME
        command = [str(Path(client.folder) / program)]
    command += ["mcp", *words]
    return {"type": "stdio", "command": command[0], "args": command[1:]}


def _merged(data: bytes, table: str, entry: Mapping[str, Any]) -> bytes:
    """Return a configuration with an entry added, if it is not there already.

    Indent, line ends and a byte order mark are those of `data`.

    Raises:
        DocumentInvalid: it is no JSON, which with comments it is not; or something in it would not
            stay as it is.
    """
    document = read_document(data, is_json=True)
    if _STRING_OR_SPACE.sub(r"\1", document.text) != _json(document.values, None):
        raise DocumentInvalid("has something that cannot be written back as it is, say a key twice")
    values = document.values
    servers = values.setdefault(table, {}) if isinstance(values, dict) else None
    if not isinstance(servers, dict):
        raise DocumentInvalid(f"has no object {table!r}")
    if servers.get(_NAME) == entry:
        return data
    if _NAME in servers:
        raise DocumentInvalid(f"has another server {_NAME!r}")
    servers[_NAME] = entry
    indent = re.search(r"^([ \t]+)\S", document.text, re.MULTILINE)
    text = _json(values, indent[1] if indent else 2) + "\n"
    if "\r\n" in document.text:
        text = text.replace("\n", "\r\n")
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return mark + text.encode()


def _json(value: Any, indent: int | str | None) -> str:
    """Return JSON, all of it on one line and without spaces where there is no indent."""
    separators = (",", ":") if indent is None else None
    return json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole, so that no half of it is ever there.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        made = Path(folder, path.name)
        made.write_bytes(data)
        if path.exists():
            shutil.copymode(path, made)
        made.replace(path)


def _missing() -> list[str]:
    """Return how to install what the server runs on, where it is not there."""
    if find_spec("mcp") is None or not can_serve():
        return ["pip install 'dagstack-dev[api,mcp]'"]
    return []
