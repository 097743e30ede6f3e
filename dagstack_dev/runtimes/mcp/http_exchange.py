"""Requests to an MCP server over streamable HTTP, and what it answers.

Each request is a POST, whose response holds the answer or is a stream of events with the answer
among them. One more stream brings what concerns no request.

The SDK has a transport of its own, which knows neither retries nor proxies, ends the session for a
request that fails, and does not tell why.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from mcp.types import METHOD_NOT_FOUND
from pydantic_core import to_json

from dagstack_dev.runtimes.mcp.http_errors import (
    GATEWAY,
    HttpError,
    Severity,
    broken,
    broken_off,
    forgotten,
    is_later,
    moved,
    no_mcp,
    not_reached,
    old_transport,
    refused,
    with_retry_after,
)
from dagstack_dev.runtimes.mcp.wire import (
    LONGEST_MESSAGE,
    TOO_LONG,
    Unreadable,
    is_answer,
    messages_in,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from dagstack_dev.runtimes.mcp.http_proxy import Proxy

NOTICE_SECONDS: Final = 2.0
"""How long the server may take for what it need not answer; all else waits meanwhile."""

RETRY_MS: Final = (1000, 30_000)
"""The shortest and the longest pause that a server may ask for before a stream is opened again."""

MOST_FAILURES: Final = 2
"""How often in a row a stream cannot be opened again until it is given up."""

_MOST_REDIRECTS: Final = 20

SESSION: Final = "mcp-session-id"
VERSION: Final = "mcp-protocol-version"
_EVENTS: Final = "text/event-stream"
_HEADERS: Final = {"accept": f"application/json, {_EVENTS}", "content-type": "application/json"}
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
_NO_SECRET: Final = frozenset({401, 403})
_SESSION_UNKNOWN: Final = frozenset({400, 404})
_NOT_TAKEN: Final = frozenset({400, 404, 405})
"""Statuses by which servers of 2024 refuse what is posted to where their events are read."""

_PING: Final = {"jsonrpc": "2.0", "id": "dagstack-dev-ping", "method": "ping"}
_NONE: Final[Mapping[str, str]] = {}


@dataclass(slots=True)
class Stream:
    """A stream of events, which may end and go on in another response.

    `number` is the request that it answers; None where it answers none. `pause` is in seconds.
    """

    number: int | None = None
    last_id: str = ""
    pause: float = RETRY_MS[0] / 1000


class Exchange:
    """What goes to one server and comes back, in one session.

    Args:
        url: of the server, without credentials.
        client: sends them, if there are any, and all else.
        proxy: through which it is reached, if through any.
        has_secret: whether the client sends credentials.

    Attributes:
        identity: the headers that name the session and the version of the protocol.
        is_ready: whether the handshake is over.
        take: called with what comes and is no answer.
        suspicion: set when it is doubtful that the server is still there.
    """

    def __init__(
        self, url: str, client: httpx2.AsyncClient, proxy: Proxy | None, *, has_secret: bool
    ) -> None:
        self.identity: dict[str, str] = {}
        self.is_ready = False
        self.take: Callable[[dict[str, Any]], object] = lambda _: None
        self.suspicion = anyio.Event()
        self._url = url
        self._client = client
        self._proxy = proxy
        self._has_secret = has_secret

    # Requests and answers

    async def post(self, message: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Post a message, and return the message that answers it; {} for what is not answered.

        Raises:
            HttpError: it is not answered as by an MCP server.
            Unreadable: what answers it is broken JSON.
        """
        try:
            return await self._posted(message, headers)
        except httpx2.TransportError as error:
            raise self._broken(error) from error

    async def _posted(self, message: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        number = message.get("id") if "method" in message else None
        response = await self._sent("POST", headers, message)
        try:
            if message.get("method") == "initialize" and response.is_success:
                name = response.headers.get(SESSION, "")
                self.identity |= {SESSION: name} if name and name.isascii() else {}
            is_stream = _kind(response).startswith(_EVENTS)
            if number is not None and is_stream and response.is_success:
                return await self._streamed(response, number)
            content = await _content_of(response)
        finally:
            await response.aclose()
        try:
            return self._answer_in(response, content, number)
        except HttpError:
            if not self.is_ready and response.status_code in _NOT_TAKEN:
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
        status, kind = response.status_code, _kind(response)
        has_session = SESSION in response.request.headers
        if status == httpx2.codes.NOT_FOUND and has_session:
            raise forgotten(self._url)
        if response.next_request is not None:
            raise moved(str(response.next_request.url))
        found: list[dict[str, Any]] = []
        why: Unreadable | None = None
        try:
            found = messages_in(content, lambda _: number)
        except Unreadable as error:
            why = error
        if not response.is_success:
            is_told = any("error" in each for each in found)
            puts_off = is_later(status) and not self.is_ready
            if status in _NO_SECRET or puts_off or not is_told:
                problem = refused(status, self._url, has_secret=self._has_secret)
                later = response.headers.get("retry-after", "")
                raise self._through_proxy(with_retry_after(problem, later))
            if has_session:
                self.suspicion.set()  # Some servers say no more when they do not know a session.
        elif number is None:
            return {}
        elif why is not None and self.is_ready and kind.startswith("application/json"):
            raise why
        elif not found:
            raise self._through_proxy(no_mcp(kind, self._url))
        answer = self._first_answer(found)
        if answer is None:
            raise broken_off(self._url)
        return answer

    def _first_answer(self, messages: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the first answer among messages, and take what comes before it."""
        for message in messages:
            if is_answer(message):
                return message
            self.take(message)
        return None

    async def _sent(
        self, method: str, headers: Mapping[str, str], message: dict[str, Any] | None = None
    ) -> httpx2.Response:
        """Send a request; redirects on the same server are followed if they keep the method."""
        if VERSION in headers:
            self.identity[VERSION] = headers[VERSION]
        content = None if message is None else to_json(message)
        # The id of an event is any text.
        sent = httpx2.Headers({**_HEADERS, **self.identity, **headers}, encoding="utf-8")
        request = self._client.build_request(method, self._url, headers=sent, content=content)
        response = await self._client.send(request, stream=True)
        for _ in range(_MOST_REDIRECTS):
            following = response.next_request
            if following is None or _target(following) != _target(request):
                break
            await response.aclose()
            response = await self._client.send(following, stream=True)
        return response

    async def ping(self) -> HttpError | None:
        """Return what is the matter with the server, if anything is."""
        try:
            try:
                response = await self._sent("POST", _NONE, _PING)
            except _NEVER_SENT:
                raise
            except httpx2.TransportError:  # As idle connections break.
                response = await self._sent("POST", _NONE, _PING)
            status = response.status_code
            doubts_session = SESSION in self.identity and status in _SESSION_UNKNOWN
            is_unknown = doubts_session and not await _knows_no_ping(response)
            await response.aclose()
        except httpx2.TransportError as error:
            return self._broken(error)
        if is_unknown:
            return forgotten(self._url)
        if status in GATEWAY or status in _NO_SECRET:
            problem = refused(status, self._url, has_secret=self._has_secret)
            lost = replace(problem, severity=Severity.SERVER, is_transient=True)
            return self._through_proxy(lost)
        return None

    async def say_goodbye(self) -> None:
        """Tell the server that the session ends."""
        if SESSION in self.identity:
            with suppress(httpx2.TransportError), anyio.move_on_after(NOTICE_SECONDS):
                await (await self._sent("DELETE", _NONE)).aclose()

    # What is the matter

    def _broken(self, error: httpx2.TransportError) -> HttpError:
        if isinstance(error, _NEVER_SENT):
            return replace(not_reached(error, self._url, self._proxy), is_unsent=True)
        return self._through_proxy(broken(error, self._url))

    def _through_proxy(self, error: HttpError) -> HttpError:
        if self._proxy is None:
            return error
        return replace(error, reason=f"{error.reason} (by the proxy of {self._proxy.source})")

    async def _check_for_2024(self) -> None:
        """Raise what it is to a server that speaks HTTP+SSE and takes nothing that is posted."""
        with suppress(httpx2.RequestError), anyio.move_on_after(NOTICE_SECONDS):
            if await self.opened(Stream()) is not None:
                raise old_transport(self._url)

    # Streams of events

    async def _streamed(self, response: httpx2.Response, number: int) -> dict[str, Any]:
        """Return the answer that a stream brings, which is opened again if it ends before."""
        stream, failures = Stream(number), 0
        answer = await self.heard(response, stream)
        while answer is None:
            if not stream.last_id or failures == MOST_FAILURES:
                raise broken_off(self._url)
            await anyio.sleep(stream.pause)
            again = await self.opened(stream)
            failures = failures + 1 if again is None else 0
            answer = None if again is None else await self.heard(again, stream)
        return answer

    async def opened(self, stream: Stream) -> httpx2.Response | None:
        """Ask for a stream, from where it has ended; None where the server has none to offer."""
        headers = {"accept": _EVENTS, "cache-control": "no-store"}
        try:
            last = {"last-event-id": stream.last_id} if stream.last_id else {}
            response = await self._sent("GET", headers | last)
        except httpx2.TransportError:
            self.suspicion.set()
            return None
        if response.is_success and _kind(response).startswith(_EVENTS):
            return response
        await response.aclose()
        return None

    async def heard(self, response: httpx2.Response, stream: Stream) -> dict[str, Any] | None:
        """Take what a stream brings until it ends, or return the answer that it is to bring."""
        body = httpx2.Response(
            httpx2.codes.OK,
            headers={"content-type": _EVENTS},  # Events are UTF-8, whatever else is said of them.
            content=_whole(response),
            request=response.request,
        )
        source: Any = httpx2.EventSource(body, max_event_size=LONGEST_MESSAGE)
        try:
            async with aclosing(source.__aiter__()) as events:
                async for event in events:
                    stream.last_id = event.id or stream.last_id
                    if event.retry is not None:
                        shortest, longest = RETRY_MS
                        stream.pause = min(max(event.retry, shortest), longest) / 1000
                    answer = self._first_answer(_messages(event, stream.number))
                    if answer is not None:
                        return answer
        except httpx2.SSEError:
            if stream.number is not None:
                raise Unreadable(TOO_LONG) from None
        except (httpx2.TransportError, httpx2.DecodingError):
            pass  # It has ended, as far as it can be read.
        finally:
            await response.aclose()
        return None


def _kind(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).lower()


def _target(request: httpx2.Request) -> tuple[object, ...]:
    """Return what a redirect has to keep."""
    url = request.url
    return request.method, url.scheme, url.host, url.port, url.userinfo


async def _content_of(response: httpx2.Response) -> bytes:
    """Return the body of a response.

    Raises:
        Unreadable: it does not come to an end, or is not encoded as it says.
    """
    chunks, size = [], 0
    try:
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > LONGEST_MESSAGE:
                raise Unreadable(TOO_LONG)
    except httpx2.DecodingError as error:
        raise Unreadable(str(error)) from error
    return b"".join(chunks)


async def _knows_no_ping(response: httpx2.Response) -> bool:
    """Return whether a server refuses a ping for its method alone, and so is there."""
    try:
        found = messages_in(await _content_of(response), lambda _: 0)
    except Unreadable:
        return False
    return any("error" in each and each["error"]["code"] == METHOD_NOT_FOUND for each in found)


async def _whole(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the body of a stream without a byte order mark, and with an end to its last event."""
    mark = b"\xef\xbb\xbf"
    async for chunk in response.aiter_bytes():
        yield chunk.removeprefix(mark)
        mark = b""
    yield b"\n\n"


def _messages(event: httpx2.ServerSentEvent, number: int | None) -> list[dict[str, Any]]:
    """Return the messages in an event.

    Raises:
        Unreadable: it is to bring an answer, and is broken JSON.
    """
    if not event.data:
        return []
    try:
        return messages_in(event.data.encode(), lambda _: number)
    except Unreadable:
        if number is None or event.event != "message":
            return []
        raise
