"""JSON-RPC with an MCP server over streamable HTTP, and what its responses mean.

Each request is a POST, whose response holds the answer or is a stream of events with the answer
among them. One more stream brings what concerns no request.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from dagstack_dev.runtimes.mcp.http_client import is_stream, kind_of
from dagstack_dev.runtimes.mcp.http_errors import (
    GATEWAY,
    HttpError,
    Severity,
    broken_off,
    forgotten,
    is_later,
    moved,
    no_mcp,
    old_transport,
    with_retry_after,
)
from dagstack_dev.runtimes.mcp.http_events import Stream
from dagstack_dev.runtimes.mcp.wire import (
    HANDSHAKE_VERSIONS,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    Unreadable,
    is_answer,
    messages_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.runtimes.mcp.http_client import HttpClient
    from dagstack_dev.runtimes.mcp.http_settings import HttpSettings

MOST_FAILURES: Final = 2
"""How often in a row a stream with an answer cannot be opened again until it is given up."""

_NO_SECRET: Final = frozenset({401, 403})
_SESSION_UNKNOWN: Final = frozenset({400, 404})
_NOT_TAKEN: Final = frozenset({400, 404, 405})
"""Statuses by which servers of 2024 refuse what is posted to where their events are read."""

_PING: Final = {"jsonrpc": "2.0", "id": "dagstack-dev-ping", "method": "ping"}


class Exchange:
    """What is asked of one server and what it answers, in one session.

    Args:
        settings: how the server is reached.
        client: sends the requests.

    Attributes:
        is_ready: set when the handshake is over.
        take: called with what comes and is no answer.
        suspicion: set when it is doubtful that the server is still there.
    """

    def __init__(self, settings: HttpSettings, client: HttpClient) -> None:
        self.is_ready = anyio.Event()
        self.take: Callable[[dict[str, Any]], object] = lambda _: None
        self.suspicion = anyio.Event()
        self._settings = settings
        self._client = client

    async def post(self, message: dict[str, Any]) -> dict[str, Any]:
        """Post a message, and return the message that answers it; {} for what is not answered.

        Raises:
            HttpError: it is not answered as by an MCP server.
            Unreadable: what answers it is broken JSON.
        """
        if message.get("method") == "server/discover":
            self._client.version = MODERN_VERSION
        response = await self._client.send("POST", message)
        if message.get("method") != "initialize":
            return await self._answer(response, message)
        if response.is_success:
            self._client.note_session(response)
        answer = await self._answer(response, message)
        result = answer.get("result")
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        if version in HANDSHAKE_VERSIONS:
            self._client.version = version
        return answer

    async def _answer(self, response: httpx2.Response, message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("id") if "method" in message else None
        try:
            if number is not None and is_stream(response):
                return await self._streamed(response, number)
            content = await self._client.content_of(response)
        finally:
            await response.aclose()
        try:
            return self._answer_in(response, content, number)
        except HttpError:
            if not self.is_ready.is_set() and response.status_code in _NOT_TAKEN:
                await self._check_for_2024()
            raise

    def _answer_in(
        self, response: httpx2.Response, content: bytes, number: int | None
    ) -> dict[str, Any]:
        """Return the answer in the body of a response.

        Raises:
            HttpError: it is none of an MCP server.
            Unreadable: it is broken JSON.
        """
        status, kind, url = response.status_code, kind_of(response), self._client.url
        is_ready, has_session = self.is_ready.is_set(), bool(self._client.session)
        if status == httpx2.codes.NOT_FOUND and has_session:
            raise forgotten(url)
        if response.next_request is not None:
            raise moved(str(response.next_request.url))
        found: list[dict[str, Any]] = []
        why: Unreadable | None = None
        try:
            found = messages_in(content, lambda _: number)
        except Unreadable as error:
            why = error
        if not response.is_success:
            says_why = any("error" in each for each in found)
            puts_off = is_later(status) and not is_ready
            if status in _NO_SECRET or puts_off or not says_why:
                later = response.headers.get("retry-after", "")
                raise with_retry_after(self._client.refused(status), later)
            if has_session:
                self.suspicion.set()  # Some servers say no more when they do not know a session.
        elif number is None:
            return {}
        elif why is not None and is_ready and kind.startswith("application/json"):
            raise why
        elif not found:
            raise self._client.through_proxy(no_mcp(kind, url))
        for message in found:
            if is_answer(message):
                return message
            self.take(message)
        raise broken_off(url)

    async def _check_for_2024(self) -> None:
        """Raise what it is to a server that speaks HTTP+SSE and takes nothing that is posted."""
        is_old = False
        with suppress(HttpError), anyio.move_on_after(self._settings.notice_seconds):
            await (await self._client.open_stream("")).aclose()
            is_old = True
        if is_old:
            raise old_transport(self._client.url)

    # Streams of events

    async def _streamed(self, response: httpx2.Response, number: int) -> dict[str, Any]:
        """Return the answer that a stream brings, which is opened again if it ends before."""
        stream, failures = Stream(self._settings.stream_pauses, number), 0
        answer = await self._heard(response, stream)
        while answer is None:
            if not stream.last_id or failures == MOST_FAILURES:
                raise broken_off(self._client.url)
            await anyio.sleep(stream.pause)
            try:
                answer = await self.hear(stream)
                failures = 0
            except HttpError:
                failures += 1
        return answer

    async def hear(self, stream: Stream) -> dict[str, Any] | None:
        """Open a stream from where it has ended, and take what it brings until it ends again.

        Returns the answer that it is to bring, as soon as that is there.

        Raises:
            HttpError: the server has none to offer, or not just now.
        """
        return await self._heard(await self._client.open_stream(stream.last_id), stream)

    async def _heard(self, response: httpx2.Response, stream: Stream) -> dict[str, Any] | None:
        longest = self._settings.longest_message
        try:
            async with aclosing(stream.messages_in(response, longest)) as messages:
                async for message in messages:
                    if is_answer(message):
                        return message
                    self.take(message)
        finally:
            await response.aclose()
        return None

    # Whether the server is still there

    async def ping(self) -> HttpError | None:
        """Return what is the matter with the server, if anything is."""
        try:
            try:
                return await self._pinged()
            except HttpError as error:
                if error.is_unsent:
                    raise
                return await self._pinged()  # As idle connections break.
        except HttpError as error:
            return error

    async def _pinged(self) -> HttpError | None:
        response = await self._client.send("POST", _PING)
        status = response.status_code
        try:
            doubts_session = bool(self._client.session) and status in _SESSION_UNKNOWN
            if doubts_session and not await self._knows_no_ping(response):
                return forgotten(self._client.url)
        finally:
            await response.aclose()
        if status in GATEWAY or status in _NO_SECRET:
            problem = self._client.refused(status)
            return replace(problem, severity=Severity.SERVER, is_transient=True)
        return None

    async def _knows_no_ping(self, response: httpx2.Response) -> bool:
        """Return whether a server refuses a ping for its method alone, and so is there."""
        try:
            found = messages_in(await self._client.content_of(response), lambda _: 0)
        except Unreadable:
            return False
        return any("error" in each and each["error"]["code"] == METHOD_NOT_FOUND for each in found)
