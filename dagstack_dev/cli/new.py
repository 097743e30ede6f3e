"""`dagstack-dev new`."""

from __future__ import annotations

import keyword
import os
import re
import shlex
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Final

import click

from dagstack_dev.api.socket import find_server
from dagstack_dev.app.local_api import can_serve
from dagstack_dev.cli.output import printable
from dagstack_dev.cli.settings import find_settings, variable
from dagstack_dev.cli.wording import short
from dagstack_dev.core.manifest_forms import MANIFEST_NAME
from dagstack_dev.core.refs import IDENTIFIER, IDENTIFIER_RULE, PluginRef
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.static.project import read_project

if TYPE_CHECKING:
    from dagstack_dev.api.socket import Server

TEMPLATES: Final = {
    "python": "a class in one file",
    "package": "Python in several files, which import each other",
    "mcp-python": "an MCP server in Python, written with the package mcp",
    "mcp-javascript": "an MCP server in JavaScript, without any package",
}
"""The first is the default. Each is a folder of `dagstack_dev/templates`: a plugin that runs."""

_PACKAGE: Final = Path(__file__).parents[1]

_SCHEMA: Final = "dagstack.schema.json"
"""For editors: the first line of each manifest leads to it, beside the plugins' folders."""

_EXAMPLE: Final = PluginRef("tool", "greeter")
"""What the plugin of each template is called, in its own files."""

_FOR_AGENTS: Final = "AGENTS.md"
"""For coding agents: it lies where these are started, and is written once."""


def list_templates() -> int:
    """Print what there is to begin with; return the exit code."""
    width = max(map(len, TEMPLATES))
    for name, words in TEMPLATES.items():
        click.echo(f"{name:<{width}}  {words}")
    return 0


def new_plugin(text: str | None, template: str | None, into: Path | None) -> int:
    """Write a plugin; return the exit code.

    At a terminal, its name is asked for if it is not given, and then its template, too.

    Args:
        text: its kind and name, or its name.
        template: one of `TEMPLATES`; by default the first.
        into: the folder of plugins; by default the one that is watched here, or
            that the settings name, or `plugins`.

    Raises:
        click.UsageError: the name cannot be used, or something is there already.
    """
    default = next(iter(TEMPLATES))
    if text is not None:
        ref = _ref(text)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        ref = click.prompt("Kind and name", default=str(_EXAMPLE), value_proc=_ref)
        if template is None:
            list_templates()
            template = click.prompt("Template", default=default, type=click.Choice([*TEMPLATES]))
    else:
        raise click.UsageError(f"name the plugin: dagstack-dev new {_EXAMPLE}")
    template = template or default
    into = into or _usual_folder()
    if (into / MANIFEST_NAME).exists():
        raise click.UsageError(f"{into} is a plugin, and none is looked for below it; see --into")
    if into.is_dir():
        known = read_project([str(into.resolve())]).plugins.get(ref)
        if known is not None:
            raise click.UsageError(f"{ref} already exists in {short(known[1].folder)}")
    folder = into / ref.name
    texts = _files(template, ref)
    if not (into / _SCHEMA).exists():
        texts[f"../{_SCHEMA}"] = _schema()
    project = _project(into)
    if not (project / _FOR_AGENTS).exists():
        texts[os.path.relpath(project / _FOR_AGENTS, folder)] = _for_agents(project, into, ref)
    written = _write(texts, folder)
    steps = _missing(template)
    if _server(folder) is None:
        steps.append(f"dagstack-dev watch {_quoted(into)}/")
    steps.append(f"dagstack-dev call {ref} greet name=Ada    # while it runs, in another terminal")
    steps.append(f"dagstack-dev test {_quoted(folder)}")
    _report(str(ref), folder, written, steps)
    return 0


def new_app(folder: Path) -> int:
    """Write an app with a plugin; return the exit code.

    Raises:
        click.UsageError: something is there already.
    """
    texts = _files("app", _EXAMPLE)
    plugin = _files(next(iter(TEMPLATES)), _EXAMPLE)
    texts |= {f"plugins/{_EXAMPLE.name}/{path}": text for path, text in plugin.items()}
    texts[f"plugins/{_SCHEMA}"] = _schema()
    if not (folder / _FOR_AGENTS).exists():
        agents = _for_agents(folder, folder / "plugins", _EXAMPLE, start="python app.py")
        texts[_FOR_AGENTS] = agents
    written = _write(texts, folder)
    steps = [
        f"python {_quoted(folder / 'app.py')}",
        "dagstack-dev status    # while it runs, in another terminal",
    ]
    _report("the app", folder, written, [*_missing("app"), *steps])
    return 0


def _ref(text: str) -> PluginRef:
    kind, _, name = text.strip().rpartition("/")
    ref = PluginRef(kind or _EXAMPLE.kind, name)
    for what, word in zip(("kind", "name"), ref, strict=True):
        if not re.fullmatch(IDENTIFIER, word):
            raise click.UsageError(f"{what} {word!r}: {IDENTIFIER_RULE}, as in {_EXAMPLE}")
    if name in sys.stdlib_module_names:
        raise click.UsageError(f"{name!r} is a module of Python; call it {name}_{ref.kind}, say")
    if IgnoreRules().folder(name, name):
        raise click.UsageError(f"no plugin is looked for in a folder {name!r}; choose another name")
    return ref


def _server(place: Path, *, is_given: bool = True) -> Server | None:
    with suppress(OSError):
        return find_server(place, is_given=is_given)
    return None


def _usual_folder() -> Path:
    """Return the first folder that a server watches around here, or that the settings name."""
    server = _server(Path.cwd(), is_given=False)
    if server is not None and server.roots:
        return Path(server.roots[0])
    named = os.environ.get(variable("paths"))
    if named:
        return Path(named.split(os.pathsep)[0])
    settings = find_settings()
    paths = None if settings is None else settings.settings.get("paths")
    first = paths[0] if isinstance(paths, list) and paths else paths
    if settings is not None and isinstance(first, str):
        return settings.path.parent / Path(first).expanduser()
    return Path("plugins")


def _files(template: str, ref: PluginRef) -> dict[str, str]:
    """Return the text of each file of a template for the plugin `ref`, by its path."""
    words = {
        f'"{_EXAMPLE.kind}"': f'"{ref.kind}"',
        _EXAMPLE.name: ref.name,
        _class_name(_EXAMPLE.name): _class_name(ref.name),
    }
    pattern = re.compile("|".join(rf"(?<!\w){each}(?!\w)" for each in words))
    folder = _PACKAGE / "templates" / template.replace("-", "_")
    return {
        str(file.relative_to(folder)): pattern.sub(
            lambda found: words[found[0]], file.read_text(encoding="utf-8")
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    }


def _project(into: Path) -> Path:
    """Return where agents are started: the folder of the settings, the current one, or `into`."""
    settings = find_settings()
    above = [*([settings.path.parent] if settings else []), Path.cwd()]
    return next((each for each in above if into.resolve().is_relative_to(each.resolve())), into)


def _for_agents(project: Path, into: Path, ref: PluginRef, start: str | None = None) -> str:
    """Return what tells coding agents how to work on plugins.

    Args:
        project: where it will lie, and its commands are run.
        into: the folder of plugins.
        ref: of one of them, for examples.
        start: the command that runs them; by default `watch`.
    """
    plugins = shlex.quote(os.path.relpath(into, project))
    words = {
        "dagstack-dev watch plugins/": start or f"dagstack-dev watch {plugins}/",
        "plugins/": f"{plugins}/",
        str(_EXAMPLE): str(ref),
    }
    text = (_PACKAGE / "templates" / _FOR_AGENTS).read_text(encoding="utf-8")
    return re.sub("|".join(words), lambda found: words[found[0]], text)


def _schema() -> str:
    return (_PACKAGE / "schema" / _SCHEMA).read_text(encoding="utf-8")


def _class_name(name: str) -> str:
    """Return `my-plugin` as `MyPlugin`."""
    joined = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))
    return f"Plugin{joined}" if joined[0].isdigit() or keyword.iskeyword(joined) else joined


def _write(texts: dict[str, str], folder: Path) -> list[str]:
    """Write files that are not there yet, and return their paths.

    Raises:
        click.UsageError: one is there already.
        click.ClickException: one cannot be written.
    """
    for path in texts:
        if (folder / path).exists():
            raise click.UsageError(f"{short(str(folder / path))} already exists")
    # A plugin is there as soon as its manifest is, so that comes last.
    ordered = sorted(texts, key=lambda path: path.endswith(MANIFEST_NAME))
    try:
        for path in ordered:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as file:
                file.write(texts[path])
    except OSError as error:
        raise click.ClickException(f"{folder / path}: {error.strerror}") from error
    return sorted(texts)


def _missing(template: str) -> list[str]:
    """Return how to install what a template runs on, where it is not there."""
    if template == "mcp-python" and find_spec("mcp") is None:
        return ["pip install 'mcp>=2'"]
    if template == "mcp-javascript" and which("node") is None:
        return ["install Node, see nodejs.org"]
    if template == "app" and not can_serve():
        return ["pip install 'dagstack-dev[api]'"]
    return []


def _quoted(path: Path) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(short(str(path)))


def _report(what: str, folder: Path, written: list[str], steps: list[str]) -> None:
    files = "".join(f"  {path}\n" for path in written)
    commands = "".join(f"\n  {step}" for step in steps)
    click.echo(printable(f"{what} is in {short(str(folder))}:\n{files}\nnext:{commands}"))
