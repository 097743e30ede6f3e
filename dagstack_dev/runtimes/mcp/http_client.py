"""HTTP requests to one MCP server: what names the session, redirects, and failures in words.

Imported only when a plugin connects: the HTTP library is slow to import.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from dagstack_dev.core.manifest.mcp import SENDABLE
from dagstack_dev.runtimes.mcp.http_errors import (
    HttpError,
    broken,
    not_reached,
    public,
    refused,
)
from dagstack_dev.runtimes.mcp.http_events import EVENTS
from dagstack_dev.runtimes.mcp.wire import MODERN_VERSION, TOO_LONG, Unreadable, as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.runtimes.mcp.http_proxy import Proxy
    from dagstack_dev.runtimes.mcp.http_settings import HttpSettings

_MOST_REDIRECTS: Final = 20
_HEADERS: Final = {"accept": f"application/json, {EVENTS}", "content-type": "application/json"}
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_SESSION: Final = "mcp-session-id"
_VERSION: Final = "mcp-protocol-version"


class HttpClient:
    """Sends requests to one server, in one session.

    Args:
        settings: how the server is reached.
        library: sends the credentials, if there are any, and all else.
        proxy: through which it is reached, if through any.

    Attributes:
        url: of the server.
        session: the name that the server has given the session; empty where it has none.
        version: of the protocol; empty until it is agreed on.
    """

    def __init__(
        self, settings: HttpSettings, library: httpx2.AsyncClient, proxy: Proxy | None
    ) -> None:
        self.url = settings.url
        self.session = ""
        self.version = ""
        self._settings = settings
        self._library = library
        self._proxy = proxy

    @property
    def is_modern(self) -> bool:
        """Whether the session speaks the version that has neither handshake nor sessions."""
        return self.version == MODERN_VERSION

    def note_session(self, response: httpx2.Response) -> None:
        """Note what names the session, in the response that begins it."""
        name = response.headers.get(_SESSION, "")
        self.session = name if name.isascii() else ""

    async def send(
        self,
        method: str,
        message: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Return the response to a request, open.

        Redirects on the same server are followed if they keep the method.

        Args:
            method: of HTTP.
            message: what is posted.
            headers: besides those that every request has.

        Raises:
            HttpError: there is no response.
        """
        content = None if message is None else as_json(message)
        own = {_SESSION: self.session, _VERSION: self.version}
        merged = _HEADERS | {name: value for name, value in own.items() if value}
        routing = _routing(message) if message is not None and self.is_modern else {}
        # The id of an event is any text.
        sent = httpx2.Headers({**merged, **(headers or {}), **routing}, encoding="utf-8")
        url = httpx2.URL(self.url)
        try:
            for _ in range(_MOST_REDIRECTS):
                # The library logs URLs, whose parameters may be secret.
                shown, target = url.copy_with(query=None, fragment=None), {"target": url.raw_path}
                request = self._library.build_request(
                    method, shown, headers=sent, content=content, extensions=target
                )
                response = await self._library.send(request, stream=True)
                following = response.next_request
                if following is None or _target(following) != _target(request):
                    return response
                await response.aclose()
                url = following.url
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        raise self.through_proxy(HttpError(f"the redirects of {public(self.url)} do not end"))

    async def content_of(self, response: httpx2.Response) -> bytes:
        """Return the body of a response.

        Raises:
            HttpError: the connection ends before the body.
            Unreadable: it does not come to an end, or is not encoded as it says.
        """
        chunks, size = [], 0
        try:
            async for chunk in response.aiter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > self._settings.longest_message:
                    raise Unreadable(TOO_LONG)
        except httpx2.DecodingError as error:
            raise Unreadable(str(error)) from error
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        return b"".join(chunks)

    async def open_stream(self, last_id: str) -> httpx2.Response:
        """Return a stream of events.

        Args:
            last_id: of the last event that was heard of it, if any had one.

        Raises:
            HttpError: the server has none to offer, or not just now.
        """
        headers = {"accept": EVENTS, "cache-control": "no-store"}
        response = await self.send(
            "GET", headers=headers | ({"last-event-id": last_id} if last_id else {})
        )
        if is_stream(response):
            return response
        await response.aclose()
        raise self.refused(response.status_code)

    async def say_goodbye(self) -> None:
        """End the session at the server, if it has one."""
        if self.session:
            with suppress(HttpError), anyio.move_on_after(self._settings.notice_seconds):
                await (await self.send("DELETE")).aclose()

    def _broken(self, error: httpx2.TransportError) -> HttpError:
        if isinstance(error, _NEVER_SENT):
            return replace(not_reached(error, self.url, self._proxy), is_unsent=True)
        return self.through_proxy(broken(error, self.url))

    def refused(self, status: int) -> HttpError:
        """Return what it means that a request was answered with an error and no more."""
        has_secret = bool(self._settings.headers)
        return self.through_proxy(refused(status, self.url, has_secret=has_secret))

    def through_proxy(self, error: HttpError) -> HttpError:
        """Return `error`, with the proxy that it may come from, if there is one."""
        if self._proxy is None:
            return error
        return replace(error, reason=f"{error.reason} (by the proxy of {self._proxy.source})")


def kind_of(response: httpx2.Response) -> str:
    """Return what a response says that it holds."""
    return str(response.headers.get("content-type", "")).lower()


def is_stream(response: httpx2.Response) -> bool:
    """Return whether a response is a stream of events."""
    return response.is_success and kind_of(response).startswith(EVENTS)


def _routing(message: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers in which a modern server looks for what is in a message, too."""
    method, params = message.get("method", ""), message.get("params", {})
    name = params.get(_NAMED_BY.get(method))
    if not isinstance(name, str):
        return {"mcp-method": method}
    if SENDABLE.fullmatch(name) is None or name.startswith("=?base64?"):
        name = f"=?base64?{b64encode(name.encode()).decode()}?="
    return {"mcp-method": method, "mcp-name": name}


def _target(request: httpx2.Request) -> tuple[object, ...]:
    """Return what a redirect has to keep."""
    url = request.url
    return request.method, url.scheme, url.host, url.port, url.userinfo
