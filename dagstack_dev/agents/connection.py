"""The way to the dev server of a folder, which may start, end and start again meanwhile."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
from anyio import to_thread

from dagstack_dev.api.client import (
    HELLO_SECONDS,
    KEEP_ALIVE_SECONDS,
    PATIENCE_SECONDS,
    SILENT,
    ApiError,
    ServerGone,
    target,
)
from dagstack_dev.api.socket import find_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dagstack_dev.api.socket import Server

SILENCE_SECONDS: Final = KEEP_ALIVE_SECONDS * 3
"""After how much of it a stream has broken off."""


class NoServer(Exception):
    """No dev server runs that could be asked.

    Args:
        place: the folder that it would watch.
    """

    def __init__(self, place: Path) -> None:
        super().__init__(
            f"no dev server runs for {place}; start one there and leave it running: "
            "dagstack-dev watch plugins/"
        )


class Connection:
    """Asks the dev server that runs now: it is looked for at each request, so any may come and go.

    Of several that watch the same, the newest is asked, as the commands do.

    Args:
        place: a socket, or a folder as `api.socket.find_servers` takes it; None for the current
            folder.
    """

    def __init__(self, place: Path | None = None) -> None:
        self._place = place

    @property
    def folder(self) -> Path:
        """The folder that commands are run in."""
        place = (self._place or Path.cwd()).expanduser().absolute()
        return place if place.is_dir() else place.parent

    async def server(self) -> Server:
        """Return the server that runs now.

        Raises:
            NoServer: there is none.
            OSError: several may be meant, or the folder of the sockets is not safe.
        """
        place = (self._place or Path.cwd()).expanduser()
        find = partial(find_server, place, is_given=self._place is not None)
        found = await to_thread.run_sync(find, abandon_on_cancel=True)
        if found is None:
            raise NoServer(place)
        return found

    async def get(self, *parts: str, **query: Any) -> Any:
        """Return the JSON at `/api/` and `parts`.

        Raises:
            As `ask`.
        """
        return await self.ask("GET", target(parts, query))

    async def ask(
        self,
        method: str,
        address: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float = PATIENCE_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON that a request is answered with.

        Args:
            method: of HTTP.
            address: below the socket.
            body: the fields of the request, if it has any.
            seconds: how long the answer may take.
            headers: of the request.

        Raises:
            ApiError: the server has answered with a problem.
            ServerGone: it does not answer any more.
            NoServer, OSError: see `server`.
        """
        server = await self.server()
        try:
            async with _reached(server, seconds) as client:
                answer = await client.request(method, address, json=body, headers=headers)
            value = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise _gone(server, error) from error
        if answer.is_error:
            raise ApiError(value)
        return value

    @asynccontextmanager
    async def stream(
        self, *parts: str, seconds: float | None = SILENCE_SECONDS, **query: Any
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Return the events of a stream, for the block; from its beginning on, none is missed.

        Args:
            parts: of the address, below `/api/`.
            seconds: after how much silence the server counts as gone; None for never.
            query: which events.

        Raises:
            As `ask`; also what is bound does, when the server has gone.
        """
        server = await self.server()
        try:
            async with (
                _reached(server, seconds) as client,
                client.stream("GET", target(parts, query)) as answer,
            ):
                if answer.is_error:
                    raise ApiError(json.loads(await answer.aread()))
                lines = answer.aiter_lines()
                yield (json.loads(each[6:]) async for each in lines if each.startswith("data: "))
        except httpx2.HTTPError as error:
            raise _gone(server, error) from error


@asynccontextmanager
async def _reached(server: Server, seconds: float | None) -> AsyncIterator[httpx2.AsyncClient]:
    """Return what asks a server that has just answered, and waits for each word for `seconds`.

    Raises:
        httpx2.HTTPError: it does not answer.
    """
    way = httpx2.AsyncHTTPTransport(uds=os.fsdecode(server.socket), verify=False)
    async with httpx2.AsyncClient(
        transport=way, base_url="http://dagstack-dev", timeout=seconds, trust_env=False
    ) as client:
        await client.head("/", timeout=HELLO_SECONDS)  # That there is nothing, it says at once.
        yield client


def _gone(server: Server, error: Exception) -> ServerGone:
    why = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        why = f"{SILENT}: kill -CONT {server.pid}"
    return ServerGone(f"the dev server (pid {server.pid}) does not answer: {why}")
