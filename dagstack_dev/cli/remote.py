"""What all commands have in common that ask a running server."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dagstack_dev.api.client import KEEP_ALIVE_SECONDS, ApiClient, ApiError, ServerGone
from dagstack_dev.api.socket import find_servers
from dagstack_dev.cli.output import printable
from dagstack_dev.core.refs import ref_called

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_SERVER_EXIT_CODE: Final = 4
"""How a command ends that asks a running server where none runs."""


PATIENCE_SECONDS: Final = 15.0
"""How much longer an answer may take than was asked for: a stopped process never answers."""


class NoServer(click.ClickException):
    """No server runs that the command could ask."""

    exit_code = NO_SERVER_EXIT_CODE


class Remote:
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
        self._client = ApiClient(found[0].socket)

    def get(self, *parts: str, **query: Any) -> Any:
        """Return the answer of the server; see `ApiClient.get`.

        Raises:
            NoServer: it does not answer.
            click.ClickException: it has answered with a problem.
        """
        return self._asked(lambda: self._client.get(*parts, **query))

    def post(self, *parts: str, **body: Any) -> Any:
        """As `get`, for a request with `body`."""
        timeout = body.get("timeout_seconds", PATIENCE_SECONDS) + PATIENCE_SECONDS
        return self._asked(lambda: self._client.post(*parts, timeout=timeout, **body))

    def stream(self, *parts: str, **query: Any) -> Iterator[tuple[int, Any]]:
        """Yield the events of a stream, until the server ends."""
        patience = KEEP_ALIVE_SECONDS + PATIENCE_SECONDS
        events = self._client.stream(*parts, timeout=patience, **query)
        while (each := self._asked(lambda: next(events, None))) is not None:
            yield each

    @staticmethod
    def _asked(question: Any) -> Any:
        try:
            return question()
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


def print_json(value: Any) -> None:
    """Print `value` as JSON on one line, for a program."""
    click.echo(json.dumps(value, ensure_ascii=False))
