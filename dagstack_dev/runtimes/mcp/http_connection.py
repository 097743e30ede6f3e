"""One live connection to an MCP server over HTTP.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client

from dagstack_dev.core.errors.remote import HandshakeFailed
from dagstack_dev.runtimes.mcp.endpoint import Connection
from dagstack_dev.runtimes.mcp.http_client import ServerClient
from dagstack_dev.runtimes.mcp.http_proxy import proxy_for
from dagstack_dev.runtimes.mcp.http_trouble import broken_off, public

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable, Mapping

    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool

_REPEATABLE: Final = ("readOnlyHint", "idempotentHint")

QUESTION_SECONDS: Final = 5.0
"""How long a call that got no answer waits for why."""


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
    """What is needed to talk to the server; nothing is sent before the session does.

    See `http.HttpEndpoint` for the arguments.

    Raises:
        HandshakeFailed: the environment names a proxy that can be none.
    """
    proxy = proxy_for(url)
    try:
        public(proxy.url if proxy is not None else url)
        client = ServerClient(url, headers=headers, tls=tls, proxy=proxy)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        source = proxy.source if proxy is not None else "the environment"
        reason = f"the proxy of {source} cannot be used ({error}); correct it, or use NO_PROXY"
        raise HandshakeFailed(ref, reason) from error
    # The limit is ours, and the same for all transports.
    transport = streamable_http_client(url, http_client=client, max_sse_event_size=None)
    async with client, transport as streams:
        yield HttpConnection(ref, url, client, streams, (look_every, call_timeout))


class HttpConnection(Connection):
    """See `endpoint.Connection`: a remote server is not ours, and what it writes its host keeps."""

    def __init__(
        self,
        ref: PluginRef,
        url: str,
        client: ServerClient,
        streams: Any,
        seconds: tuple[float, float],
    ) -> None:
        self.streams = streams
        self._ref = ref
        self._url = url
        self._client = client
        self._look_every, self._call_timeout = seconds

    def note_tools(self, tools: Iterable[Tool]) -> None:
        """The handshake is over, and these are the server's tools."""
        self._client.note_tools(
            tool.name for tool in tools if any(tool.annotations.get(hint) for hint in _REPEATABLE)
        )

    async def watch(self) -> None:
        """Look after the server: whenever something is odd, and now and then anyhow.

        Raises:
            ServerLost: it is gone, or does not know us any more.
        """
        await self._client.begun.wait()  # Before that, the handshake fails by itself.
        while True:
            with anyio.move_on_after(self._look_every):
                await self._client.suspicion()
            trouble = await self._client.examine(self._call_timeout)
            if trouble is not None:
                raise trouble.error(self._ref)

    async def why_lost(self) -> PluginRegistryError:
        """Why a call or the handshake got no answer."""
        trouble = await self._client.examine(QUESTION_SECONDS)
        return (trouble or broken_off(self._url)).error(self._ref)
