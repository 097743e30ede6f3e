"""A running dev server for tests that answers on a socket, and what can be asked of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread
from command_runs import GUARD_SECONDS
from serving import Live, make_live
from trees import PluginTree

from dagstack_dev.api.client import ApiClient, _Connection
from dagstack_dev.api.socket import find_server
from dagstack_dev.app.local_api import LocalApi


class Raw(NamedTuple):
    """An answer as it comes over the socket."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def ask(
    socket: str,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Raw:
    """Send any request."""
    connection = _Connection(socket, GUARD_SECONDS)
    try:
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        return Raw(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    finally:
        connection.close()


def lines(socket: str, target: str, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The lines of a stream, as they come."""
    connection = _Connection(socket, GUARD_SECONDS)
    try:
        connection.request("GET", target, headers=dict(headers or {}))
        for line in connection.getresponse():
            yield line.decode().rstrip("\n")
    finally:
        connection.close()


class Answering:
    """A server inside its block, and its socket.

    Attributes:
        live: the server.
        api: its API.
        socket: where it answers.
    """

    def __init__(self, live: Live, api: LocalApi, socket: str) -> None:
        self.live = live
        self.api = api
        self.socket = socket
        self._client = ApiClient(socket)

    async def get(self, *parts: str, **query: Any) -> Any:
        return await to_thread.run_sync(partial(self._client.get, *parts, **query))

    async def post(self, *parts: str, **body: Any) -> Any:
        return await to_thread.run_sync(partial(self._client.post, *parts, **body))

    async def ask(self, *arguments: Any, **options: Any) -> Raw:
        return await to_thread.run_sync(partial(ask, self.socket, *arguments, **options))

    async def at_rest(self) -> Any:
        """The status of the moment when all that is on disk has been dealt with.

        Any later one may be of a moment when an event of that very edit is looked at.
        """
        return await self.post("reload")

    async def wait(self) -> dict[str, Any]:
        """The plugins by name, when all that is on disk has been dealt with."""
        status = await self.at_rest()
        return {each["plugin"].partition("/")[2]: each for each in status["plugins"]}


@asynccontextmanager
async def answering(tree: PluginTree, **options: Any) -> AsyncIterator[Answering]:
    """A server over `tree` that answers; `options` are those of `make_live`."""
    api = LocalApi(on_open=lambda _path, _line: None)
    live = make_live(tree, api=api, **options)
    async with live.server:
        server = await to_thread.run_sync(find_server, Path(tree.root))
        assert server is not None
        yield Answering(live, api, server.socket)
    assert not live.disagreements, live.disagreements
