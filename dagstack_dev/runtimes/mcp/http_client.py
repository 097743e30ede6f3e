"""The HTTP client below an MCP session: it tries again, and says what is the matter.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from mcp.types import CONNECTION_CLOSED, INTERNAL_ERROR

from dagstack_dev.runtimes.mcp.dialect import may_repeat, with_object
from dagstack_dev.runtimes.mcp.http_trouble import (
    GATEWAY,
    Extent,
    Trouble,
    broken,
    forgotten,
    no_mcp,
    not_reached,
    refused,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

PAUSES: Final = (0.5, 1.0)
"""Seconds before a request is sent for the second and the third time (contract, section 13)."""

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to accept a connection."""

GOODBYE_SECONDS: Final = 2.0
"""How long the server may take to hear that a session ends."""

SESSION: Final = "mcp-session-id"
_VERSION: Final = "mcp-protocol-version"
_IDENTITY: Final = (SESSION, _VERSION)
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
_PING: Final = {"jsonrpc": "2.0", "id": "dagstack-dev-ping", "method": "ping"}


class ServerClient(httpx2.AsyncClient):
    """Carries one session's messages to its server.

    A request that fails is answered with a JSON-RPC error in the server's place. Exceptions would
    end the SDK's task group, and with it every other call.

    Args:
        url: of the server, without credentials.
        headers: sent with every request.
        has_secret: whether they hold credentials.
        tls: how certificates are checked.

    Attributes:
        begun: set when the handshake is over.
        trouble: why there is no talking to the server any more; None while there is.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str], has_secret: bool, tls: ssl.SSLContext
    ) -> None:
        # Only the connection is hurried: a stream may be silent for hours, and for how long an
        # answer is waited for, the session knows.
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        super().__init__(headers=dict(headers), timeout=timeout, verify=tls)
        self.trouble: Trouble | None = None
        self._url = url
        self._has_secret = has_secret
        self.begun = anyio.Event()
        self._repeatable: frozenset[str] = frozenset()
        self._session: dict[str, str] = {}
        self._suspicion = anyio.Event()

    def note_tools(self, repeatable: Iterable[str]) -> None:
        """The handshake is over; these tools may be called twice where once was wanted."""
        self._repeatable = frozenset(repeatable)
        self.begun.set()

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send one request of the SDK's transport, again where that is safe and may help."""
        if request.method == "POST":
            return await self._post(request, options)
        if request.method == "DELETE":
            return await self._say_goodbye(request, options)
        try:
            response = await super().send(request, **options)
        except httpx2.TransportError:
            self.suspect()
            raise  # The SDK opens its stream again by itself.
        response.stream = _Watched(_stream_of(response), self.suspect)
        return response

    async def _post(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        self._session = {key: request.headers[key] for key in _IDENTITY if key in request.headers}
        pauses = iter(PAUSES if self.begun.is_set() else ())  # A start is tried again as a whole.
        while True:
            try:
                response = await super().send(request, **options)
                if not _kind(response).startswith("text/event-stream"):
                    await response.aread()
            except httpx2.TransportError as error:
                never_sent = isinstance(error, _NEVER_SENT)
                trouble = (not_reached if never_sent else broken)(error, self._url)
                may_repeat = never_sent or self._is_repeatable(request)
            else:
                found = self._trouble_in(response, request)
                if found is None:
                    return _readable(response)
                trouble = found
                may_repeat = response.status_code in GATEWAY and self._is_repeatable(request)
            if self.trouble is not None or not may_repeat or (pause := next(pauses, None)) is None:
                return self._instead_of_answer(request, trouble)
            await anyio.sleep(pause)

    def _trouble_in(self, response: httpx2.Response, request: httpx2.Request) -> Trouble | None:
        status = response.status_code
        if status == httpx2.codes.NOT_FOUND and SESSION in request.headers:
            return forgotten(self._url)
        if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            return refused(status, self._url, has_secret=self._has_secret)
        if status >= httpx2.codes.BAD_REQUEST:
            if not _is_rpc(response, "error"):
                return refused(status, self._url, has_secret=self._has_secret)
            if SESSION in request.headers:
                self.suspect()  # Some servers say no more when they do not know a session.
            return None
        kind = _kind(response)
        if kind.startswith("text/event-stream") or not response.is_success:
            return None
        # What JSON there is after the handshake, the SDK judges as it reads it.
        if kind.startswith("application/json") and (self.begun.is_set() or _is_rpc(response)):
            return None
        return no_mcp(kind, self._url) if _expects_answer(request) else None

    def _instead_of_answer(self, request: httpx2.Request, trouble: Trouble) -> httpx2.Response:
        """What the SDK gets to read when there is no answer of an MCP server."""
        if trouble.extent is Extent.SERVER or not self.begun.is_set():
            self.trouble = self.trouble or trouble
        self.suspect()
        message = _message(request)
        if "method" not in message or "id" not in message:
            return httpx2.Response(httpx2.codes.ACCEPTED, request=request)
        error: dict[str, object] = {"code": INTERNAL_ERROR, "message": trouble.reason}
        if self.trouble is not None or trouble.extent is Extent.CONNECTION:
            error = {"code": CONNECTION_CLOSED, "message": "Connection closed"}
        answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
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
                response = await super().send(request, **options)
                await response.aread()
                return response
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
        except _NEVER_SENT as error:
            return not_reached(error, self._url)
        except httpx2.TransportError as error:
            return broken(error, self._url)
        status = response.status_code
        if SESSION in self._session and status in _SESSION_UNKNOWN:
            return forgotten(self._url)
        if status in GATEWAY or status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            reason = refused(status, self._url, has_secret=self._has_secret).reason
            return Trouble(reason, Extent.SERVER, is_passing=True)
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


class _Watched(httpx2.AsyncByteStream):
    """The body of a response; tells when it has ended."""

    def __init__(self, body: httpx2.AsyncByteStream, on_end: Callable[[], None]) -> None:
        self._body = body
        self._on_end = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                yield chunk
        finally:
            self._on_end()

    async def aclose(self) -> None:
        await self._body.aclose()


def _stream_of(response: httpx2.Response) -> httpx2.AsyncByteStream:
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an async client's
    return response.stream


def _kind(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).lower()


def _readable(response: httpx2.Response) -> httpx2.Response:
    """`response` as the SDK can read it; in a session of MCP, it is that already."""
    if _VERSION in response.request.headers or not _kind(response).startswith("application/json"):
        return response
    content = with_object(response.content)
    if content is None:
        return response
    headers = {"content-type": "application/json"}
    status, request = response.status_code, response.request
    return httpx2.Response(status, headers=headers, content=content, request=request)


def _is_rpc(response: httpx2.Response, *keys: str) -> bool:
    """Whether the body of a response that has been read is a JSON-RPC message with `keys`."""
    try:
        body = json.loads(response.content)
    except ValueError:
        return False
    return isinstance(body, dict) and {"jsonrpc", *keys} <= body.keys()


def _message(request: httpx2.Request) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(request.read())
    return message


def _expects_answer(request: httpx2.Request) -> bool:
    message = _message(request)
    return "id" in message and "method" in message
