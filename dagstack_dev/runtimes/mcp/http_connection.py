"""One live connection to an MCP server over HTTP, looked after.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import anyio
import httpx2

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.remote import HandshakeFailed
from dagstack_dev.core.secrets import remember
from dagstack_dev.runtimes.mcp.dialect import may_repeat
from dagstack_dev.runtimes.mcp.endpoint import Connection
from dagstack_dev.runtimes.mcp.http_client import HttpClient
from dagstack_dev.runtimes.mcp.http_errors import GATEWAY, HttpError, Severity, broken_off
from dagstack_dev.runtimes.mcp.http_events import Stream
from dagstack_dev.runtimes.mcp.http_exchange import Exchange
from dagstack_dev.runtimes.mcp.http_proxy import proxy_for
from dagstack_dev.runtimes.mcp.wire import NoAnswer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool
    from dagstack_dev.runtimes.mcp.http_settings import HttpSettings

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to accept a connection."""

QUESTION_SECONDS: Final = 5.0
"""How long a call that got no answer waits for why."""

MOST_IDLE: Final = 20
"""How many connections are kept for calls to come."""

_REPEATABLE: Final = ("readOnlyHint", "idempotentHint")


@asynccontextmanager
async def connection(
    ref: PluginRef, settings: HttpSettings, tls: ssl.SSLContext
) -> AsyncIterator[HttpConnection]:
    """Make what is needed to talk to the server; nothing is sent before the session does.

    Args:
        ref: the plugin, for errors.
        settings: how the server is reached.
        tls: how certificates are checked.

    Raises:
        HandshakeFailed: the environment names a proxy that can be none.
    """
    proxy = proxy_for(settings.url)
    # Only the connection is hurried: a stream may be silent for hours, and for how long an answer
    # is waited for, the session knows.
    timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
    through = proxy.url if proxy is not None else None
    try:
        parts = urlsplit(through or "")
        remember([unquote(parts.password or parts.username or "")])
        _ = parts.port  # One that is none would else fail when it is connected to.
        library = httpx2.AsyncClient(
            headers=dict(settings.headers),
            timeout=timeout,
            limits=httpx2.Limits(max_keepalive_connections=MOST_IDLE),  # Calls go side by side.
            verify=tls,
            proxy=through,
            trust_env=False,
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        source = proxy.source if proxy is not None else "the environment"
        why = "" if "@" in (through or "") else f" ({error})"  # It may quote a password.
        reason = f"the proxy of {source} cannot be used{why}; correct it, or use NO_PROXY"
        raise HandshakeFailed(ref, reason) from None
    async with library:
        client = HttpClient(settings, library, proxy)
        connected = HttpConnection(ref, settings, client)
        try:
            yield connected
        finally:
            await connected.say_goodbye()


class HttpConnection(Connection):
    """See `endpoint.Connection`: a remote server is not ours, and what it writes its host keeps.

    Args:
        ref: the plugin, for errors.
        settings: how the server is reached.
        client: sends requests to it.
    """

    def __init__(self, ref: PluginRef, settings: HttpSettings, client: HttpClient) -> None:
        self._ref = ref
        self._settings = settings
        self._client = client
        self._exchange = Exchange(settings, client)
        self._repeatable: frozenset[str] = frozenset()
        self._lost: HttpError | None = None
        self._has_begun = anyio.Event()

    # Requests and answers

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request, sent again where that is safe and may help."""
        is_ready = self._exchange.is_ready.is_set()
        pauses = iter(self._settings.pauses if is_ready else ())  # A start is repeated as a whole.
        while True:
            try:
                return await self._exchange.post(message)
            except HttpError as error:
                problem = error
            can_help = problem.severity is Severity.CONNECTION or problem.status in GATEWAY
            is_safe = problem.is_unsent or (can_help and self._is_repeatable(message))
            if self._lost is not None or not is_safe or (pause := next(pauses, None)) is None:
                raise await self._noted(problem, message)
            await anyio.sleep(pause)

    async def notify(self, message: dict[str, Any]) -> None:
        """Send what need not be answered."""
        method = message.get("method")
        if method == "notifications/cancelled" and self._client.is_modern:
            return  # By now the response has been left, which says it.
        seconds = self._settings.notice_seconds
        with suppress(NoAnswer, PluginRegistryError), anyio.move_on_after(seconds):
            await self.ask(message)
        if method == "notifications/initialized":
            self._has_begun.set()

    async def _noted(self, problem: HttpError, message: dict[str, Any]) -> Exception:
        """Note that a message has failed, and return what is raised for it."""
        # A server may refuse what it need not answer, and shake hands all the same.
        is_ready = self._exchange.is_ready.is_set()
        fails_handshake = not is_ready and {"method", "id"} <= message.keys()
        if problem.severity is Severity.SERVER or fails_handshake:
            self._lost = self._lost or problem
        self._exchange.suspicion.set()
        if self._lost is None and problem.severity is Severity.ANSWER:
            return problem
        return await self.why_lost()

    def _is_repeatable(self, message: dict[str, Any]) -> bool:
        """Return whether a request that may have arrived can be sent once more."""
        if message.get("method") != "tools/call":
            return may_repeat(message.get("method", ""))
        return message.get("params", {}).get("name") in self._repeatable

    async def listen(self, take: Callable[[dict[str, Any]], object]) -> None:
        """Hear what the server says by itself: in the responses to requests, and in a stream."""
        self._exchange.take = take
        await self._has_begun.wait()
        stream, failures = Stream(self._settings.stream_pauses), 0
        with suppress(HttpError):  # It has none to offer.
            while self._client.session:
                try:
                    await self._exchange.hear(stream)
                    failures = 0
                except HttpError as error:
                    if not error.is_transient:
                        raise
                    failures = min(failures + 1, 5)
                self._exchange.suspicion.set()
                await anyio.sleep(min(stream.pause * 2**failures, stream.pauses[1]))
        await anyio.sleep_forever()

    # Whether it is still there

    def note_tools(self, tools: Iterable[Tool]) -> None:
        """Note that the handshake is over, and which tools may be called twice."""
        self._repeatable = frozenset(
            tool.name for tool in tools if any(tool.annotations.get(hint) for hint in _REPEATABLE)
        )
        self._exchange.is_ready.set()

    async def watch(self) -> None:
        """Look after the server: whenever something is odd, and now and then anyhow.

        Raises:
            ServerLost: it is gone, or does not know us any more.
        """
        await self._exchange.is_ready.wait()  # Before that, the handshake fails by itself.
        while True:
            with anyio.move_on_after(self._settings.look_every):
                await self._exchange.suspicion.wait()
            self._exchange.suspicion = anyio.Event()
            problem = await self.examine(self._settings.call_timeout)
            if problem is not None:
                raise problem.error(self._ref)

    async def why_lost(self) -> PluginRegistryError:
        """Return why a call or the handshake got no answer."""
        problem = await self.examine(QUESTION_SECONDS)
        return (problem or broken_off(self._settings.url)).error(self._ref)

    async def examine(self, seconds: float) -> HttpError | None:
        """Ask the server whether it still knows us, and return what is the matter, if anything is.

        Args:
            seconds: how long it may take; no answer within these is nothing, it may be busy.
        """
        if self._lost is None and self._exchange.is_ready.is_set():
            with anyio.move_on_after(seconds):
                self._lost = await self._exchange.ping()
            if self._lost is not None:
                self._exchange.suspicion.set()
        return self._lost

    async def say_goodbye(self) -> None:
        """End the session at the server, if that is still there."""
        if self._lost is None:
            await self._client.say_goodbye()
