"""A running dev server for tests that serves its page, and a client that is no browser."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from answering import Raw
from anyio import to_thread
from command_runs import GUARD_SECONDS
from serving import Live, make_live
from trees import PluginTree

from dagstack_dev.app.local_api import LocalApi
from dagstack_dev.page.access import Access


class Paging:
    """A server inside its block, and its page.

    Attributes:
        live: the server.
        access: what lets a browser in.
    """

    def __init__(self, live: Live, access: Access) -> None:
        self.live = live
        self.access = access

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Raw:
        """Send any request; `headers` may replace Host, too."""
        host = {"Host": f"127.0.0.1:{self.access.port}"}
        connection = self._connection()
        try:
            connection.request(method, target, body, host | dict(headers or {}))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.headers.items()}
            return Raw(answer.status, named, answer.read())
        finally:
            connection.close()

    async def asked(self, *arguments: Any, **options: Any) -> Raw:
        """As `ask`, from the event loop of the server."""
        return await to_thread.run_sync(partial(self.ask, *arguments, **options))

    async def post(self, target: str, /, **body: Any) -> Raw:
        """Have something done, as the page does."""
        headers = self.admitted | {"Origin": self.access.url.rstrip("/")}
        return await self.asked("POST", target, headers, json.dumps(body).encode())

    async def first_line(self, *lines: str) -> str:
        """Send just these lines; the first that is answered."""
        text = "".join(f"{line}\r\n" for line in (*lines, ""))
        return await to_thread.run_sync(self._first_line, text.encode())

    def _first_line(self, data: bytes) -> str:
        with socket.create_connection(("127.0.0.1", self.access.port), GUARD_SECONDS) as client:
            client.sendall(data)
            return client.makefile().readline()

    async def event(self, target: str, headers: Mapping[str, str]) -> str:
        """The first line of a stream."""

        def first() -> str:
            connection = self._connection()
            try:
                connection.request("GET", target, headers=dict(headers))
                return connection.getresponse().readline().decode().rstrip("\n")
            finally:
                connection.close()

        return await to_thread.run_sync(first)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.access.port, GUARD_SECONDS)

    @property
    def cookie(self) -> dict[str, str]:
        """What a browser that was let in sends to all ports of the host."""
        return {"Cookie": f"{self.access.cookie}={self.access.session}"}

    @property
    def admitted(self) -> dict[str, str]:
        """What the page sends that was let in."""
        return self.cookie | {"Origin-Secret": self.access.origin_secret}

    @property
    def bearer(self) -> dict[str, str]:
        """What a program sends that knows the token."""
        return {"Authorization": f"Bearer {self.access.token}"}

    @property
    def agents_bearer(self) -> dict[str, str]:
        """What an agent sends that knows the token for agents."""
        return {"Authorization": f"Bearer {self.access.agents_token}"}


@asynccontextmanager
async def paging(
    tree: PluginTree, *, on_open: Callable[[str, int], object] | None = None, **options: Any
) -> AsyncIterator[Paging]:
    """A server over `tree` that serves its page; other `options` are those of `make_live`."""
    api = LocalApi(page=True, on_open=on_open)
    live = make_live(tree, api=api, **options)
    async with live.server:
        assert api.page is not None
        yield Paging(live, api.page)


def problem(answer: Raw) -> tuple[int, str]:
    """The status and the type of an answer that is a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    return answer.status, answer.json["type"]
