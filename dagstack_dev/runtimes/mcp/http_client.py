"""The HTTP client below an MCP session: it tries again, and says what is the matter.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from mcp.types import CONNECTION_CLOSED, INTERNAL_ERROR

from dagstack_dev.runtimes.mcp.dialect import may_repeat
from dagstack_dev.runtimes.mcp.http_events import Events, events_of
from dagstack_dev.runtimes.mcp.http_trouble import (
    GATEWAY,
    Extent,
    Trouble,
    broken,
    forgotten,
    is_later,
    no_mcp,
    not_reached,
    old_transport,
    put_off,
    refused,
    unreadable,
)
from dagstack_dev.runtimes.mcp.wire import (
    LONGEST_MESSAGE,
    PARSE_ERROR,
    TOO_LONG,
    Unreadable,
    messages_in,
    unreadable_answer,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from dagstack_dev.runtimes.mcp.http_proxy import Proxy

PAUSES: Final = (0.5, 1.0)
"""Seconds before a request is sent for the second and the third time (contract, section 13)."""

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to accept a connection."""

GOODBYE_SECONDS: Final = 2.0
"""How long the server may take to hear that a session ends."""

NOTICE_SECONDS: Final = 2.0
"""How long the server may take to accept what it need not answer; all else waits meanwhile."""

_PROBE_SECONDS: Final = 2.0
"""How long it may take to find out that a server speaks the transport of 2024."""

SESSION: Final = "mcp-session-id"
_EVENTS: Final = "text/event-stream"
_VERSION: Final = "mcp-protocol-version"
_IDENTITY: Final = (SESSION, _VERSION)
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
_NOT_TAKEN: Final = frozenset({400, 404, 405})
"""Statuses by which servers of 2024 refuse what is posted to where their events are read."""

_PING: Final = {"jsonrpc": "2.0", "id": "dagstack-dev-ping", "method": "ping"}


class ServerClient(httpx2.AsyncClient):
    """Carries one session's messages to its server.

    A request that fails is answered with a JSON-RPC error in the server's place. Exceptions would
    end the SDK's task group, and with it every other call.

    Args:
        url: of the server, without credentials.
        headers: sent with every request: our credentials, if any.
        tls: how certificates are checked.
        proxy: through which it is reached, if through any.

    Attributes:
        begun: set when the handshake is over.
        trouble: why there is no talking to the server any more; None while there is.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext,
        proxy: Proxy | None = None,
    ) -> None:
        # Only the connection is hurried: a stream may be silent for hours, and for how long an
        # answer is waited for, the session knows.
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        through = proxy.url if proxy is not None else None
        super().__init__(
            headers=dict(headers), timeout=timeout, verify=tls, proxy=through, trust_env=False
        )
        self.trouble: Trouble | None = None
        self._url = url
        self._proxy = proxy
        self._has_secret = bool(headers)
        self.begun = anyio.Event()
        self._repeatable: frozenset[str] = frozenset()
        self._session: dict[str, str] = {}
        self._suspicion = anyio.Event()
        self._left_at: dict[int | str, str] = {}
        """The last event of a stream that ended before its request was answered."""
        self._given_up: set[int | str | None] = set()

    def note_tools(self, repeatable: Iterable[str]) -> None:
        """The handshake is over; these tools may be called twice where once was wanted."""
        self._repeatable = frozenset(repeatable)
        self.begun.set()

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send one request of the SDK's transport, again where that is safe and may help."""
        if request.method == "POST" and _expects_answer(request):
            return await self._post(request, options)
        if request.method == "POST":
            message = _message(request)
            if message.get("method") == "notifications/cancelled":
                self._given_up.add(message["params"]["requestId"])
            with anyio.move_on_after(NOTICE_SECONDS):
                response = await self._post(request, options)
                if response.has_redirect_location:
                    return response
            return httpx2.Response(httpx2.codes.ACCEPTED, request=request)
        if request.method == "DELETE":
            return await self._say_goodbye(request, options)
        number = self._resumed_by(request)
        if number in self._given_up:  # The SDK goes on asking, though nobody waits any more.
            return httpx2.Response(httpx2.codes.GONE, request=request)
        try:
            response = await super().send(request, **options)
        except httpx2.TransportError:
            self.suspect()
            raise  # The SDK opens its stream again by itself.
        if response.has_redirect_location:
            return await _without_body(response)
        return _streaming(response, request, self._events(response, number))

    def _events(self, response: httpx2.Response, number: int | str | None) -> Events:
        def note_end(events: Events) -> None:
            if number is None:
                self.suspect()
            elif events.is_answered:
                self._left_at.pop(number, None)
            elif events.last_id:
                self._left_at[number] = events.last_id

        return Events(response, number, note_end)

    def _resumed_by(self, request: httpx2.Request) -> int | str | None:
        """The request whose stream of events is to go on; None for that of notifications."""
        last_id = request.headers.get("last-event-id")
        return next((number for number, at in self._left_at.items() if at == last_id), None)

    async def _post(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        self._session = {key: request.headers[key] for key in _IDENTITY if key in request.headers}
        pauses = iter(PAUSES if self.begun.is_set() else ())  # A start is tried again as a whole.
        while True:
            may_repeat = False
            try:
                response = await super().send(request, **options)
                if response.has_redirect_location:
                    return await _without_body(response)
                is_stream = _kind(response).startswith(_EVENTS)
                if is_stream and response.is_success and _expects_answer(request):
                    events = self._events(response, _message(request)["id"])
                    return _streaming(response, request, events)
                found = self._answer_in(response, await _content_of(response), request)
                if isinstance(found, httpx2.Response):
                    return found
                trouble = found
                may_repeat = response.status_code in GATEWAY and self._is_repeatable(request)
                if not self.begun.is_set() and response.status_code in _NOT_TAKEN:
                    trouble = await self._of_2024() or trouble
            except (httpx2.DecodingError, Unreadable) as error:
                trouble = unreadable(error, self._url)
            except httpx2.TransportError as error:
                trouble = self._broken(error)
                may_repeat = isinstance(error, _NEVER_SENT) or self._is_repeatable(request)
            if self.trouble is not None or not may_repeat or (pause := next(pauses, None)) is None:
                return self._instead_of_answer(request, trouble)
            await anyio.sleep(pause)

    def _broken(self, error: httpx2.TransportError) -> Trouble:
        if isinstance(error, _NEVER_SENT):
            return not_reached(error, self._url, self._proxy)
        return self._through_proxy(broken(error, self._url))

    def _through_proxy(self, trouble: Trouble) -> Trouble:
        if self._proxy is None:
            return trouble
        return replace(trouble, reason=f"{trouble.reason} (by the proxy of {self._proxy.source})")

    def _answer_in(
        self, response: httpx2.Response, content: bytes, request: httpx2.Request
    ) -> httpx2.Response | Trouble:
        """What the SDK gets to read of a response, or what is the matter with that."""
        status = response.status_code
        if status == httpx2.codes.NOT_FOUND and SESSION in request.headers:
            return forgotten(self._url)
        message = _message(request)
        number = message.get("id")
        why, found = "", []
        try:
            found = messages_in(content, lambda _: number)
        except Unreadable as error:
            why = str(error)
        if not response.is_success:
            no_secret = {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}
            is_told = any("error" in each for each in found)
            puts_off = is_later(status) and not self.begun.is_set()
            if status in no_secret or puts_off or not is_told:
                trouble = refused(status, self._url, has_secret=self._has_secret)
                later = response.headers.get("retry-after", "")
                return self._through_proxy(put_off(trouble, later))
            if SESSION in request.headers:
                self.suspect()  # Some servers say no more when they do not know a session.
        elif not _expects_answer(request):
            return httpx2.Response(httpx2.codes.ACCEPTED, request=request)
        elif why and self.begun.is_set() and _kind(response).startswith("application/json"):
            found = [unreadable_answer(message["id"], why)]
        elif not found:
            return self._through_proxy(no_mcp(_kind(response), self._url))
        events = b"".join(events_of(found))
        return _streaming(response, request, events)

    async def _of_2024(self) -> Trouble | None:
        """What it is to a server that speaks HTTP+SSE and takes nothing that is posted, if so."""
        headers = {"accept": _EVENTS}
        request = self.build_request("GET", self._url, headers=headers)
        with suppress(httpx2.RequestError), anyio.move_on_after(_PROBE_SECONDS):
            response = await super().send(request, stream=True)
            await response.aclose()
            if response.is_success and _kind(response).startswith(_EVENTS):
                return old_transport(self._url)
        return None

    def _instead_of_answer(self, request: httpx2.Request, trouble: Trouble) -> httpx2.Response:
        """What the SDK gets to read when there is no answer of an MCP server."""
        if trouble.extent is Extent.SERVER or not self.begun.is_set():
            self.trouble = self.trouble or trouble
        self.suspect()
        message = _message(request)
        code = PARSE_ERROR if trouble.is_unreadable else INTERNAL_ERROR
        error: dict[str, object] = {"code": code, "message": trouble.reason}
        if self.trouble is not None or trouble.extent is Extent.CONNECTION:
            error = {"code": CONNECTION_CLOSED, "message": "Connection closed"}
        answer = {"jsonrpc": "2.0", "id": message.get("id"), "error": error}
        return httpx2.Response(httpx2.codes.OK, json=answer, request=request)

    def _is_repeatable(self, request: httpx2.Request) -> bool:
        """Whether a request that may have arrived can be sent once more."""
        message = _message(request)
        if message.get("method") != "tools/call":
            return may_repeat(message.get("method", ""))
        return message.get("params", {}).get("name") in self._repeatable

    async def _say_goodbye(
        self, request: httpx2.Request, options: dict[str, Any]
    ) -> httpx2.Response:
        """Tell the server that the session ends, if it can still be told; nobody needs to know."""
        if self.trouble is None:
            with suppress(httpx2.TransportError), anyio.move_on_after(GOODBYE_SECONDS):
                await (await super().send(request, **options)).aclose()
        return httpx2.Response(httpx2.codes.NO_CONTENT, request=request)

    # Whether it is still there

    def suspect(self) -> None:
        """Something makes it doubtful that the server is still there: wake who watches."""
        self._suspicion.set()

    async def suspicion(self) -> None:
        """Wait until there is something to look at. For one who waits at a time."""
        await self._suspicion.wait()
        self._suspicion = anyio.Event()

    async def examine(self, seconds: float) -> Trouble | None:
        """Ask the server whether it still knows us; what is the matter, if anything is.

        No answer within `seconds` is no trouble: it may be busy.
        """
        if self.trouble is None and self.begun.is_set():
            with anyio.move_on_after(seconds):
                self.trouble = await self._ping()
            if self.trouble is not None:
                self.suspect()
        return self.trouble

    async def _ping(self) -> Trouble | None:
        accept = "application/json, text/event-stream"
        headers = {"accept": accept, "content-type": "application/json", **self._session}
        request = self.build_request("POST", self._url, json=_PING, headers=headers)
        try:
            response = await self._response_to(request)
        except httpx2.TransportError as error:
            return self._broken(error)
        status = response.status_code
        if SESSION in self._session and status in _SESSION_UNKNOWN:
            return forgotten(self._url)
        if status in GATEWAY or status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            reason = refused(status, self._url, has_secret=self._has_secret).reason
            return self._through_proxy(Trouble(reason, Extent.SERVER, is_passing=True))
        return None

    async def _response_to(self, request: httpx2.Request) -> httpx2.Response:
        """Its head; asked for once more where the connection broke, as idle ones may."""
        try:
            response = await super().send(request, stream=True)
        except _NEVER_SENT:
            raise
        except httpx2.TransportError:
            response = await super().send(request, stream=True)
        await response.aclose()
        return response


_SESSION_UNKNOWN: Final = frozenset({httpx2.codes.BAD_REQUEST, httpx2.codes.NOT_FOUND})


async def _content_of(response: httpx2.Response) -> bytes:
    """The body of a response.

    Raises:
        Unreadable: it does not come to an end.
    """
    chunks, size = [], 0
    try:
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > LONGEST_MESSAGE:
                raise Unreadable(TOO_LONG)
    finally:
        await response.aclose()
    return b"".join(chunks)


async def _without_body(response: httpx2.Response) -> httpx2.Response:
    """A redirect, for the SDK to follow or not."""
    await response.aclose()
    headers = {"location": response.headers["location"]}
    bare = httpx2.Response(response.status_code, headers=headers, request=response.request)
    bare.next_request = response.next_request
    return bare


def _streaming(
    response: httpx2.Response, request: httpx2.Request, body: Events | bytes
) -> httpx2.Response:
    """`response` with other events in its place."""
    # An id that the SDK cannot send back would end its task group.
    session = response.headers.get(SESSION, "")
    headers = {SESSION: session} if session.isascii() and session else {}
    kind = _kind(response)
    # Events are UTF-8, and read as such, whatever else is said of them.
    headers["content-type"] = _EVENTS if kind.startswith(_EVENTS) else kind
    if isinstance(body, bytes):
        headers["content-type"] = _EVENTS
        return httpx2.Response(httpx2.codes.OK, headers=headers, content=body, request=request)
    return httpx2.Response(response.status_code, headers=headers, stream=body, request=request)


def _kind(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).lower()


def _message(request: httpx2.Request) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(request.read())
    return message


def _expects_answer(request: httpx2.Request) -> bool:
    message = _message(request)
    return "id" in message and "method" in message
