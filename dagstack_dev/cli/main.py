"""The `dagstack-dev` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dagstack_dev._version import __version__
from dagstack_dev.cli.leftovers import end_in_spite_of, threads_left
from dagstack_dev.cli.output import open_missing_descriptors, say

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_PATH = click.Path(path_type=Path)
_PATHS = click.argument("paths", nargs=-1, metavar="PATH...", type=_PATH)
_CONFIG = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=_PATH,
    help="TOML with a table [kind.name] per plugin; watch reloads what changes in it.",
)
_IGNORE = click.option(
    "--ignore",
    metavar="GLOB",
    multiple=True,
    help="Leave out matching files and folders; may be given several times.",
)
_WATCH_CODE = click.option(
    "--watch-code",
    "code_roots",
    metavar="DIR",
    multiple=True,
    type=_PATH,
    help="Code below DIR that plugins import counts as theirs; may be given several times.",
)


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="dagstack-dev", message="%(prog)s %(version)s")
def cli() -> None:
    """A hot-reloading development server for dagstack plugins."""


@cli.command()
@_PATHS
@_CONFIG
@click.option("--core-version", metavar="VERSION", help="Act as this version of the core.")
@click.option(
    "--entry-points",
    is_flag=True,
    help="Load installed plugins too, by the entry points of the group dagstack.plugins.",
)
@click.option(
    "--hookspecs",
    "hookspec_files",
    metavar="FILE",
    multiple=True,
    type=_PATH,
    help="YAML that declares kinds of plugins and their hooks; may be given several times.",
)
@_IGNORE
@click.option(
    "--leaks",
    type=click.Choice(["off", "warn", "error"]),
    default="warn",
    show_default=True,
    help="What old generations leave behind: say nothing, warn, or also end with exit code 3.",
)
@click.option("--polling", is_flag=True, help="Look at intervals; for disks that report nothing.")
@click.option(
    "--settle",
    "settle_ms",
    metavar="MS",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="How long the disk must be quiet for a save to count as complete.",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json", "logfmt"]),
    help="Default: console on a terminal, json otherwise.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="The lowest level that is logged.",
)
@click.option(
    "--log-file",
    metavar="FILE",
    type=_PATH,
    help="Append every log event to this file as well.",
)
@click.option(
    "--state",
    "state_folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep checkpoints and blobs of plugins in DIR; by default they end with the run.",
)
@_WATCH_CODE
def watch(**options: Any) -> int:
    """Run the plugins below each PATH and reload what changes.

    Ctrl-C tears everything down in reverse order and exits with 0; a second one ends at once,
    with 130. Wrong usage exits with 2, a leak with --leaks error exits with 3.
    """
    from dagstack_dev.cli.watch import WatchOptions, run  # noqa: PLC0415 - keeps --help fast

    return run(WatchOptions(**options))


@cli.command()
@click.argument("file", type=_PATH)
@_PATHS
@_WATCH_CODE
def why(file: Path, paths: tuple[Path, ...], code_roots: tuple[Path, ...]) -> int:
    """Tell what a change of FILE would reload among the plugins below each PATH.

    Reads the code and runs none of it.
    """
    from dagstack_dev.cli.why import run  # noqa: PLC0415 - keeps --help fast

    return run(file, paths, code_roots)


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
@_CONFIG
@_IGNORE
def test(
    paths: tuple[Path, ...],
    checks: tuple[str, ...],
    config_file: Path | None,
    ignore: tuple[str, ...],
) -> int:
    """Check each plugin below each PATH against the contract, and run its own tests.

    Exits with 1 when a plugin fails, with 2 for wrong usage.
    """
    from dagstack_dev.cli.test import run  # noqa: PLC0415 - keeps --help fast

    return run(paths, config_file=config_file, checks=checks, ignore=ignore)


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
