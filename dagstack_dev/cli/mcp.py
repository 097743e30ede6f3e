"""`dagstack-dev mcp`, and what `watch` offers coding agents, too."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from dagstack_dev.cli.ask import SERVER
from dagstack_dev.cli.settings import SettledCommand, setting

if TYPE_CHECKING:
    from pathlib import Path


def _plugins(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> Any:
    """Refuse what names no plugins."""
    del ctx, option
    for each in value:
        if each != "all" and "/" not in each:
            raise click.UsageError(f"--expose {each}: name it as kind/name, or tool/*, or all")
    return value


READ_ONLY = setting(
    "--read-only/--no-read-only", help="Offer agents no tools that change something."
)
EXPOSE = setting(
    "--expose",
    metavar="KIND/NAME",
    multiple=True,
    callback=_plugins,
    help="Offer agents the tools, prompts and resources of a plugin; tool/* or all names several.",
)


@click.command(cls=SettledCommand)
@SERVER
@READ_ONLY
@EXPOSE
@click.option(
    "--install",
    "client",
    type=click.Choice(["claude-code", "cursor", "vscode"]),
    help="Add it to the configuration of this program, for the current folder.",
)
@click.option("--dry-run", is_flag=True, help="With --install: print the file, and write nothing.")
def mcp(server: Path | None, client: str | None, *, dry_run: bool, **options: Any) -> int:
    """Serve a coding agent, as an MCP server on standard input and output.

    It finds the dev server by itself, also one that is started later or again. With --install, it
    serves nothing: the other options are those that the agent's program will start it with.
    """
    if client is not None:
        from dagstack_dev.cli.install import install  # noqa: PLC0415 - keeps --help fast

        return install(client, server, options, dry_run=dry_run)
    if dry_run:
        raise click.UsageError("--dry-run belongs to --install")
    if find_spec("mcp") is None:
        raise click.ClickException("`mcp` needs an extra: pip install 'dagstack-dev[mcp]'")
    return _serve(server, **options)


def _serve(server: Path | None, **options: Any) -> int:
    """Serve until the input ends; return the exit code."""
    import signal  # noqa: PLC0415 - keeps --help fast

    import anyio  # noqa: PLC0415 - likewise

    from dagstack_dev.agents.stdio import serve_stdio  # noqa: PLC0415 - an extra
    from dagstack_dev.cli.leftovers import end_at_once  # noqa: PLC0415 - likewise
    from dagstack_dev.cli.signals import answer  # noqa: PLC0415 - likewise

    for number in (signal.SIGINT, signal.SIGTERM):  # A thread waits for input, and hears nothing.
        answer(number, lambda *_: end_at_once(0))
    anyio.run(lambda: serve_stdio(server, **options))
    return 0
