"""What all commands have in common that ask a running server."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dagstack_dev.api.client import ApiClient, ApiError, ServerGone
from dagstack_dev.api.socket import find_servers
from dagstack_dev.cli.output import printable
from dagstack_dev.core.refs import ref_called

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

NO_SERVER_EXIT_CODE: Final = 4
"""How a command ends that asks a running server where none runs."""


class NoServer(click.ClickException):
    """No server runs that the command could ask."""

    exit_code = NO_SERVER_EXIT_CODE


class Remote(ApiClient):
    """The running server that a command asks; what is in the way is one clear line.

    Args:
        server: its socket, or a folder that it watches; None for the folder we are in.
        is_quiet: whether nothing is said of other servers that watch the same.

    Raises:
        NoServer: none runs there.
    """

    def __init__(self, server: Path | None, *, is_quiet: bool = False) -> None:
        place = server if server is not None else Path.cwd()
        try:
            found = find_servers(place.expanduser(), is_given=server is not None)
        except OSError as error:
            raise NoServer(str(error)) from error
        if not found:
            from dagstack_dev.app.local_api import can_serve  # noqa: PLC0415 - only where it is said

            if not can_serve():
                raise NoServer("`watch` does not answer without: pip install 'dagstack-dev[api]'")
            raise NoServer(
                f"no server runs for {place}; start one with: dagstack-dev watch plugins/"
                " (or name its folder with --server)"
            )
        for other in () if is_quiet else found[1:]:
            words = f"asks the newest server, pid {found[0].pid}; pid {other.pid} watches the same"
            click.echo(f"dagstack-dev: {words}, and is asked by --server {other.socket}", err=True)
        super().__init__(found[0].socket)

    @contextmanager
    def answer(self, *request: Any) -> Iterator[HTTPResponse]:
        """Give what the server answers; see `ApiClient.answer`.

        Raises:
            NoServer: it does not answer.
            click.ClickException: it has answered with a problem.
        """
        try:
            with super().answer(*request) as answer:
                yield answer
        except ApiError as error:
            argument, example = map(error.problem.get, ("argument", "example"))
            write = f"; write, for example: {shlex.quote(f'{argument}={example}')}"
            hint = write if example is not None else ""
            raise click.ClickException(printable(f"{error}{hint}")) from error
        except ServerGone as error:
            raise NoServer(f"the server does not answer any more: {error}") from error

    def ref(self, text: str) -> str:
        """Return the plugin called `text`, which may be a name alone where only one has it.

        Raises:
            click.ClickException: several have, or none.
        """
        if "/" in text:
            return text
        known = [each["plugin"] for each in self.get("status")["plugins"]]
        try:
            return ref_called(text, known)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
