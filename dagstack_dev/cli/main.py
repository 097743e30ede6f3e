"""The `dagstack-dev` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dagstack_dev._version import __version__
from dagstack_dev.cli.ask import COMMANDS as ASKING
from dagstack_dev.cli.leftovers import end_in_spite_of, threads_left
from dagstack_dev.cli.mcp import EXPOSE, READ_ONLY, mcp
from dagstack_dev.cli.output import open_missing_descriptors, say
from dagstack_dev.cli.settings import SettledCommand, setting, setting_argument

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_PATH = click.Path(path_type=Path)
_PATHS = setting_argument("paths", nargs=-1, metavar="PATH...", type=_PATH)
_CONFIG = setting(
    "--config",
    "config_file",
    metavar="FILE",
    type=_PATH,
    help="TOML with a table [kind.name] per plugin; watch reloads what changes in it.",
)
_IGNORE = setting(
    "--ignore",
    metavar="GLOB",
    multiple=True,
    help="Leave out matching files and folders; may be given several times.",
)
_GITIGNORE = setting(
    "--gitignore/--no-gitignore",
    default=True,
    help="Whether data that git ignores reloads nothing; code counts in any case.",
)


def _version(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no version."""
    del ctx, option
    if value is not None:
        from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - keeps --help fast

        try:
            Version(value)
        except InvalidVersion:
            msg = f"--core-version {value!r} is not a PEP 440 version; write for example 0.1.0"
            raise click.UsageError(msg) from None
    return value


_CORE_VERSION = setting(
    "--core-version", metavar="VERSION", callback=_version, help="Act as this version of the core."
)
_ENTRY_POINTS = setting(
    "--entry-points/--no-entry-points",
    help="Installed plugins too, by the entry points of the group dagstack.plugins.",
)
_HOOKSPECS = setting(
    "--hookspecs",
    "hookspec_files",
    metavar="FILE",
    multiple=True,
    type=_PATH,
    help="YAML that declares kinds of plugins and their hooks; may be given several times.",
)
_WATCH_CODE = setting(
    "--watch-code",
    "code_roots",
    metavar="DIR",
    multiple=True,
    type=_PATH,
    help="Code below DIR that plugins import counts as theirs; may be given several times.",
)


def _selection(command: Any) -> Any:
    """Declare which plugins a command looks at without running them, and what holds for these."""
    for option in (_WATCH_CODE, _GITIGNORE, _IGNORE, _HOOKSPECS, _ENTRY_POINTS, _CORE_VERSION):
        command = option(command)
    return _PATHS(_CONFIG(command))


class _Sections(click.Group):
    """Lists the commands by what they are for."""

    command_class = SettledCommand

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, each command with the first line of its help."""
        del ctx
        asking = {each.name for each in ASKING}
        for title, wanted in (("Commands", False), ("Ask the running server", True)):
            named = [
                (name, command.get_short_help_str(80))
                for name, command in self.commands.items()
                if (name in asking) is wanted
            ]
            with formatter.section(title):
                formatter.write_dl(named)


@click.group(cls=_Sections, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="dagstack-dev", message="%(prog)s %(version)s")
def cli() -> None:
    """A hot-reloading development server for dagstack plugins."""


@cli.command()
@_PATHS
@_CONFIG
@_CORE_VERSION
@_ENTRY_POINTS
@_HOOKSPECS
@_IGNORE
@_GITIGNORE
@setting(
    "--leaks",
    type=click.Choice(["off", "warn", "error"]),
    default="warn",
    show_default=True,
    help="What old generations leave behind: say nothing, warn, or also end with exit code 3.",
)
@setting("--polling/--no-polling", help="Look at intervals; for disks that report nothing.")
@setting(
    "--settle",
    "settle_ms",
    metavar="MS",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="How long the disk must be quiet for a save to count as complete.",
)
@setting(
    "--log-format",
    type=click.Choice(["console", "json", "logfmt"]),
    help="Default: console on a terminal, json otherwise.",
)
@setting(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="The lowest level that is logged.",
)
@setting(
    "--log-file",
    metavar="FILE",
    type=_PATH,
    help="Append every log event to this file as well.",
)
@setting(
    "--trace",
    "trace_file",
    metavar="FILE",
    type=_PATH,
    help="Write how the time of each reload went by, for Perfetto and chrome://tracing.",
)
@setting(
    "--state",
    "state_folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep checkpoints and blobs of plugins in DIR; by default they end with the run.",
)
@_WATCH_CODE
@setting(
    "--editor",
    metavar="TEMPLATE",
    help="What opens a place: a command or a URL with {path} and {line}.",
)
@setting("--page/--no-page", help="Serve the dev page for your browser; key o opens it.")
@setting(
    "--page-port",
    metavar="PORT",
    type=click.IntRange(1024, 65_535),
    help="Of the dev page; by default one that stays the same for the same PATHs.",
)
@READ_ONLY
@EXPOSE
@setting("--keys/--no-keys", default=True, help="Whether keys do something; h lists them.")
def watch(**options: Any) -> int:
    """Run the plugins below each PATH and reload what changes.

    Ctrl-C tears everything down in reverse order and exits with 0; a second one ends at once,
    with 130. Wrong usage exits with 2, a leak with --leaks error exits with 3.
    """
    from dagstack_dev.host.loop.gc_pause import rare_collections  # noqa: PLC0415 - keeps --help fast

    with rare_collections(adds_only=True):
        from dagstack_dev.cli.watch import WatchOptions, run  # noqa: PLC0415 - (the same)

    return run(WatchOptions(**options))


@cli.command()
@click.argument("file", type=_PATH)
@_selection
def why(file: Path, paths: tuple[Path, ...], **selection: Any) -> int:
    """Show what a save of FILE would reload, and by which imports.

    Reads the code and runs none of it.
    """
    from dagstack_dev.cli.why import run  # noqa: PLC0415 - keeps --help fast

    return run(file, paths, **selection)


@cli.command()
@_selection
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "mermaid", "dot", "json", "svg"]),
    default="tree",
    show_default=True,
    help="For a person, for another program that draws it, or a picture.",
)
@click.option(
    "--around",
    metavar="REF",
    help="Only this plugin, what it depends on, and what depends on it.",
)
@click.option(
    "--reload",
    metavar="FILE",
    type=_PATH,
    help="Show what a save of FILE would tear down, import and set up, in order.",
)
def graph(paths: tuple[Path, ...], **options: Any) -> int:
    """Draw which plugin depends on which; runs none of them.

    `why` says by which way a file comes to what its save reloads.
    """
    from dagstack_dev.host.loop.gc_pause import rare_collections  # noqa: PLC0415 - keeps --help fast

    with rare_collections(adds_only=True):
        from dagstack_dev.cli.graph import run  # noqa: PLC0415 - (the same)

        return run(paths, **options)


@cli.command()
def schema() -> int:
    """Print the JSON Schema of dagstack.toml, for editors.

    `dagstack-dev docs manifest#in-an-editor` says how an editor comes to know it.
    """
    from dagstack_dev.static.schema import schema_text  # noqa: PLC0415 - keeps --help fast

    click.echo(schema_text(), nl=False)
    return 0


@cli.command()
@_selection
@setting(
    "--blast-limit",
    metavar="N",
    type=click.IntRange(min=1),
    help="Plugins that a save of shared code may reload. Default: half of them, if 20 or more.",
)
@setting(
    "--skip",
    metavar="CODE",
    multiple=True,
    help="Leave out findings of this code, such as D402; may be given several times.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="github: annotations of GitHub Actions; sarif: SARIF 2.1.0.",
)
def check(paths: tuple[Path, ...], **options: Any) -> int:
    """Find what is wrong with plugins; runs none of them.

    Exits with 1 when an error is found, with 2 for wrong usage. `dagstack-dev docs checks`
    explains the codes.
    """
    from dagstack_dev.host.loop.gc_pause import rare_collections  # noqa: PLC0415 - keeps --help fast

    with rare_collections(adds_only=True):
        from dagstack_dev.cli.check import run  # noqa: PLC0415 - (the same)

        return run(paths, **options)


@cli.command()
@_PATHS
@click.option(
    "--check",
    "checks",
    metavar="NAME",
    multiple=True,
    type=click.Choice(["manifest", "lifecycle", "serialization", "ambient_state", "determinism"]),
    help="Only this check, and not the plugins' own tests; may be given several times.",
)
@click.option(
    "--plugin",
    "plugins",
    metavar="[KIND/]NAME",
    multiple=True,
    help="Only this one of the plugins below PATH; may be given several times.",
)
@_CONFIG
@_IGNORE
@_WATCH_CODE
def test(paths: tuple[Path, ...], **options: Any) -> int:
    """Test each plugin against the contract, and by its own tests.

    Exits with 1 when a plugin fails, with 2 for wrong usage.
    """
    from dagstack_dev.cli.test import run  # noqa: PLC0415 - keeps --help fast

    return run(paths, **options)


@cli.command()
@click.argument("what", required=False, metavar="[KIND/NAME]")
@click.option(
    "--template",
    type=click.Choice(["python", "package", "mcp-python", "mcp-javascript"]),
    help="What to begin with, by default python; --list says more.",
)
@click.option(
    "--into",
    metavar="FOLDER",
    type=_PATH,
    help="The folder of plugins; by default the one watched here, in the settings, or plugins/.",
)
@click.option("--list", "lists", is_flag=True, help="Show the templates, and write nothing.")
@click.option("--app", is_flag=True, help="Write an app with a plugin, into the FOLDER named.")
def new(
    what: str | None, template: str | None, into: Path | None, *, lists: bool, app: bool
) -> int:
    """Write a new plugin, with a test, that runs at once.

    Without a name, asks for it and for the template, if there is a terminal. With --app, the
    argument is the folder of a new app that has a dev server within. Nothing that exists is
    overwritten.
    """
    from dagstack_dev.cli.new import list_templates, new_app, new_plugin  # noqa: PLC0415 - keeps --help fast

    if lists:
        return list_templates()
    if not app:
        return new_plugin(what, template, into)
    if template or into:
        raise click.UsageError("--app takes a folder, and neither --template nor --into")
    return new_app(Path(what or "app"))


@cli.command()
@click.argument("page", required=False)
@click.option("--search", "words", metavar="WORDS", help="Find the sections about these words.")
def docs(page: str | None, words: str | None) -> int:
    """Show a page of the documentation, as of this version.

    PAGE is its name, or that of a section: checks, logs#traces. Without it, lists all pages.
    """
    from dagstack_dev.cli.docs import find, list_pages, show_page  # noqa: PLC0415 - keeps --help fast

    if words is not None and page is not None:
        raise click.UsageError("name a page, or --search all of them")
    if words is not None:
        return find(words)
    return list_pages() if page is None else show_page(page)


for _command in (mcp, *ASKING):
    cli.add_command(_command)


def main() -> None:
    """Entry point: run the command and exit with its code."""
    open_missing_descriptors()
    try:
        code = cli.main(prog_name="dagstack-dev", standalone_mode=False)
    except click.ClickException as error:
        message = error.format_message()
        if message.startswith("Usage:"):
            click.echo(message, err=True)
        else:
            say(message)
        code = error.exit_code
    except click.Abort:
        code = 130
    code = code if isinstance(code, int) else 0
    end_in_spite_of(threads_left(), code)
    sys.exit(code)
