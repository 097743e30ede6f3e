"""One live connection to an MCP server over streamable HTTP.

The SDK has a transport of its own, which knows neither retries nor proxies, ends the session for a
request that fails, and does not tell why. Each request is a POST, whose response holds the answer
or is a stream of events with the answer among them. One more stream tells what concerns no request.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic_core import to_json

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.remote import HandshakeFailed
from dagstack_dev.runtimes.mcp.dialect import may_repeat
from dagstack_dev.runtimes.mcp.endpoint import Connection
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
    public,
    put_off,
    refused,
)
from dagstack_dev.runtimes.mcp.http_proxy import proxy_for
from dagstack_dev.runtimes.mcp.wire import (
    LONGEST_MESSAGE,
    TOO_LONG,
    NoAnswer,
    Unreadable,
    is_answer,
    messages_in,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool
    from dagstack_dev.runtimes.mcp.http_proxy import Proxy

PAUSES: Final = (0.5, 1.0)
"""Seconds before a request is sent for the second and the third time (contract, section 13)."""

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to accept a connection."""

NOTICE_SECONDS: Final = 2.0
"""How long the server may take for what it need not answer; all else waits meanwhile."""

QUESTION_SECONDS: Final = 5.0
"""How long a call that got no answer waits for why."""

RETRY_MS: Final = (1000, 30_000)
"""The shortest and the longest pause that a server may ask for before a stream is opened again."""

_MOST_FAILURES: Final = 2
"""How often in a row a stream cannot be opened again until it is given up."""

_MOST_REDIRECTS: Final = 20

_SESSION: Final = "mcp-session-id"
_VERSION: Final = "mcp-protocol-version"
_EVENTS: Final = "text/event-stream"
_HEADERS: Final = {"accept": f"application/json, {_EVENTS}", "content-type": "application/json"}
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
_NO_SECRET: Final = frozenset({401, 403})
_SESSION_UNKNOWN: Final = frozenset({400, 404})
_NOT_TAKEN: Final = frozenset({400, 404, 405})
"""Statuses by which servers of 2024 refuse what is posted to where their events are read."""

_REPEATABLE: Final = ("readOnlyHint", "idempotentHint")
_PING: Final = {"jsonrpc": "2.0", "id": "dagstack-dev-ping", "method": "ping"}
_NONE: Final[Mapping[str, str]] = {}


@dataclass(slots=True)
class _Stream:
    """A stream of events, which may end and go on in another response.

    `number` is the request that it answers; None where it answers none. `pause` is in seconds.
    """

    number: int | None = None
    last_id: str = ""
    pause: float = RETRY_MS[0] / 1000


@asynccontextmanager
async def connection(
    ref: PluginRef,
    url: str,
    headers: Mapping[str, str],
    tls: ssl.SSLContext,
    *,
    look_every: float,
    call_timeout: float,
) -> AsyncIterator[HttpConnection]:
    """Make what is needed to talk to the server; nothing is sent before the session does.

    See `http.HttpEndpoint` for the arguments.

    Raises:
        HandshakeFailed: the environment names a proxy that can be none.
    """
    proxy = proxy_for(url)
    # Only the connection is hurried: a stream may be silent for hours, and for how long an answer
    # is waited for, the session knows.
    timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
    through = proxy.url if proxy is not None else None
    try:
        public(through or url)
        client = httpx2.AsyncClient(
            headers=dict(headers), timeout=timeout, verify=tls, proxy=through, trust_env=False
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        source = proxy.source if proxy is not None else "the environment"
        reason = f"the proxy of {source} cannot be used ({error}); correct it, or use NO_PROXY"
        raise HandshakeFailed(ref, reason) from error
    async with client:
        connected = HttpConnection(ref, url, client, proxy, look_every, call_timeout)
        connected.has_secret = bool(headers)
        try:
            yield connected
        finally:
            await connected.say_goodbye()


class HttpConnection(Connection):
    """See `endpoint.Connection`: a remote server is not ours, and what it writes its host keeps.

    Args:
        ref: the plugin, for errors.
        url: of the server, without credentials.
        client: sends them, if there are any, and all else.
        proxy: through which it is reached, if through any.
        look_every: seconds between two looks whether the server is still there.
        call_timeout: seconds that it may take to say so.

    Attributes:
        has_secret: whether the client sends credentials.
    """

    has_secret = False

    def __init__(
        self,
        ref: PluginRef,
        url: str,
        client: httpx2.AsyncClient,
        proxy: Proxy | None,
        look_every: float,
        call_timeout: float,
    ) -> None:
        self._ref = ref
        self._url = url
        self._client = client
        self._proxy = proxy
        self._look_every = look_every
        self._call_timeout = call_timeout
        self._identity: dict[str, str] = {}
        self._repeatable: frozenset[str] = frozenset()
        self._lost: HttpError | None = None
        self._has_begun = anyio.Event()
        self._is_ready = anyio.Event()
        self._is_suspect = anyio.Event()
        self._take: Callable[[dict[str, Any]], object] = lambda _: None

    # Requests and answers

    async def ask(self, message: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer to a request, sent again where that is safe and may help."""
        pauses = iter(PAUSES if self._is_ready.is_set() else ())  # A start is repeated as a whole.
        while True:
            try:
                return await self._posted(message, headers)
            except httpx2.TransportError as error:
                problem = self._broken(error)
                may_repeat = isinstance(error, _NEVER_SENT) or self._is_repeatable(message)
            except HttpError as error:
                problem = error
                may_repeat = error.status in GATEWAY and self._is_repeatable(message)
            if self._lost is not None or not may_repeat or (pause := next(pauses, None)) is None:
                raise await self._noted(problem)
            await anyio.sleep(pause)

    async def tell(self, message: dict[str, Any], headers: Mapping[str, str]) -> None:
        """Send what need not be answered."""
        method = message.get("method")
        is_modern = self._identity.get(_VERSION) in MODERN_PROTOCOL_VERSIONS
        if method == "notifications/cancelled" and is_modern:
            return  # By now the response has been left, which says it.
        with suppress(NoAnswer, PluginRegistryError), anyio.move_on_after(NOTICE_SECONDS):
            await self.ask(message, headers)
        if method == "notifications/initialized":
            self._has_begun.set()

    async def _noted(self, problem: HttpError) -> Exception:
        """Note that a request has failed, and return what is raised for it."""
        if problem.severity is Severity.SERVER or not self._is_ready.is_set():
            self._lost = self._lost or problem
        self._is_suspect.set()
        if self._lost is None and problem.severity is Severity.ANSWER:
            return problem
        return await self.why_lost()

    async def _posted(self, message: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Post a message, and return the message that answers it; {} for what is not answered."""
        number = message.get("id") if "method" in message else None
        response = await self._sent("POST", headers, message)
        try:
            if message.get("method") == "initialize" and response.is_success:
                name = response.headers.get(_SESSION, "")
                self._identity |= {_SESSION: name} if name and name.isascii() else {}
            is_stream = _kind(response).startswith(_EVENTS)
            if number is not None and is_stream and response.is_success:
                return await self._streamed(response, number)
            content = await _content_of(response)
        finally:
            await response.aclose()
        try:
            return self._answer_in(response, content, number)
        except HttpError:
            if not self._is_ready.is_set() and response.status_code in _NOT_TAKEN:
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
        has_session = _SESSION in response.request.headers
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
            puts_off = is_later(status) and not self._is_ready.is_set()
            if status in _NO_SECRET or puts_off or not is_told:
                problem = refused(status, self._url, has_secret=self.has_secret)
                later = response.headers.get("retry-after", "")
                raise self._through_proxy(put_off(problem, later))
            if has_session:
                self._is_suspect.set()  # Some servers say no more when they do not know a session.
        elif number is None:
            return {}
        elif why is not None and self._is_ready.is_set() and kind.startswith("application/json"):
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
            self._take(message)
        return None

    async def _sent(
        self, method: str, headers: Mapping[str, str], message: dict[str, Any] | None = None
    ) -> httpx2.Response:
        """Send a request; redirects on the same server are followed if they keep the method."""
        if _VERSION in headers:
            self._identity[_VERSION] = headers[_VERSION]
        content = None if message is None else to_json(message)
        request = self._client.build_request(
            method, self._url, headers={**_HEADERS, **self._identity, **headers}, content=content
        )
        response = await self._client.send(request, stream=True)
        for _ in range(_MOST_REDIRECTS):
            following = response.next_request
            if following is None or _target(following) != _target(request):
                break
            await response.aclose()
            response = await self._client.send(following, stream=True)
        return response

    def _is_repeatable(self, message: dict[str, Any]) -> bool:
        """Return whether a request that may have arrived can be sent once more."""
        if message.get("method") != "tools/call":
            return may_repeat(message.get("method", ""))
        return message.get("params", {}).get("name") in self._repeatable

    # What is the matter

    def _broken(self, error: httpx2.TransportError) -> HttpError:
        if isinstance(error, _NEVER_SENT):
            return not_reached(error, self._url, self._proxy)
        return self._through_proxy(broken(error, self._url))

    def _through_proxy(self, error: HttpError) -> HttpError:
        if self._proxy is None:
            return error
        return replace(error, reason=f"{error.reason} (by the proxy of {self._proxy.source})")

    async def _check_for_2024(self) -> None:
        """Raise what it is to a server that speaks HTTP+SSE and takes nothing that is posted."""
        with suppress(httpx2.RequestError), anyio.move_on_after(NOTICE_SECONDS):
            if await self._opened(_Stream()) is not None:
                raise old_transport(self._url)

    # Streams of events

    async def listen(self, take: Callable[[dict[str, Any]], object]) -> None:
        """Hear what the server says by itself: in the responses to requests, and in a stream."""
        self._take = take
        await self._has_begun.wait()
        stream, failures = _Stream(), 0
        while _SESSION in self._identity and failures < _MOST_FAILURES:
            response = await self._opened(stream)
            failures = failures + 1 if response is None else 0
            if response is not None:
                await self._heard(response, stream)
                self._is_suspect.set()
            await anyio.sleep(stream.pause)
        await anyio.sleep_forever()

    async def _streamed(self, response: httpx2.Response, number: int) -> dict[str, Any]:
        """Return the answer that a stream brings, which is opened again if it ends before."""
        stream, failures = _Stream(number), 0
        answer = await self._heard(response, stream)
        while answer is None:
            if not stream.last_id or failures == _MOST_FAILURES:
                raise broken_off(self._url)
            await anyio.sleep(stream.pause)
            again = await self._opened(stream)
            failures = failures + 1 if again is None else 0
            answer = None if again is None else await self._heard(again, stream)
        return answer

    async def _opened(self, stream: _Stream) -> httpx2.Response | None:
        """Ask for a stream, from where it has ended; None where the server has none to offer."""
        headers = {"accept": _EVENTS, "cache-control": "no-store"}
        try:
            last = {"last-event-id": stream.last_id} if stream.last_id else {}
            response = await self._sent("GET", headers | last)
        except httpx2.TransportError:
            self._is_suspect.set()
            return None
        if response.is_success and _kind(response).startswith(_EVENTS):
            return response
        await response.aclose()
        return None

    async def _heard(self, response: httpx2.Response, stream: _Stream) -> dict[str, Any] | None:
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

    # Whether it is still there

    def note_tools(self, tools: Iterable[Tool]) -> None:
        """Note that the handshake is over, and which tools may be called twice."""
        self._repeatable = frozenset(
            tool.name for tool in tools if any(tool.annotations.get(hint) for hint in _REPEATABLE)
        )
        self._is_ready.set()

    async def watch(self) -> None:
        """Look after the server: whenever something is odd, and now and then anyhow.

        Raises:
            ServerLost: it is gone, or does not know us any more.
        """
        await self._is_ready.wait()  # Before that, the handshake fails by itself.
        while True:
            with anyio.move_on_after(self._look_every):
                await self._is_suspect.wait()
            self._is_suspect = anyio.Event()
            problem = await self.examine(self._call_timeout)
            if problem is not None:
                raise problem.error(self._ref)

    async def why_lost(self) -> PluginRegistryError:
        """Return why a call or the handshake got no answer."""
        problem = await self.examine(QUESTION_SECONDS)
        return (problem or broken_off(self._url)).error(self._ref)

    async def examine(self, seconds: float) -> HttpError | None:
        """Ask the server whether it still knows us, and return what is the matter, if anything is.

        No answer within `seconds` is nothing: it may be busy.
        """
        if self._lost is None and self._is_ready.is_set():
            with anyio.move_on_after(seconds):
                self._lost = await self._ping()
            if self._lost is not None:
                self._is_suspect.set()
        return self._lost

    async def _ping(self) -> HttpError | None:
        try:
            try:
                response = await self._sent("POST", _NONE, _PING)
            except _NEVER_SENT:
                raise
            except httpx2.TransportError:  # As idle connections break.
                response = await self._sent("POST", _NONE, _PING)
            await response.aclose()
        except httpx2.TransportError as error:
            return self._broken(error)
        status = response.status_code
        if _SESSION in self._identity and status in _SESSION_UNKNOWN:
            return forgotten(self._url)
        if status in GATEWAY or status in _NO_SECRET:
            problem = refused(status, self._url, has_secret=self.has_secret)
            lost = replace(problem, severity=Severity.SERVER, is_transient=True)
            return self._through_proxy(lost)
        return None

    async def say_goodbye(self) -> None:
        """Tell the server that the session ends, if it can still be told."""
        if self._lost is None and _SESSION in self._identity:
            with suppress(httpx2.TransportError), anyio.move_on_after(NOTICE_SECONDS):
                await (await self._sent("DELETE", _NONE)).aclose()


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
