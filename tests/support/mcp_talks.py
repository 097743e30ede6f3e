"""Sessions with MCP servers over HTTP, below everything that knows of plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from dagstack_dev import PluginRef
from dagstack_dev.core.errors.remote import HandshakeFailed
from dagstack_dev.runtimes.mcp.catalogue import Tool
from dagstack_dev.runtimes.mcp.http import HttpEndpoint
from dagstack_dev.runtimes.mcp.http_connection import HttpConnection
from dagstack_dev.runtimes.mcp.http_settings import HttpSettings, trusting_none
from dagstack_dev.runtimes.mcp.server_log import ServerLog
from dagstack_dev.runtimes.mcp.session import Session

REF = PluginRef("data", "remote")


@dataclass
class Talk:
    """A session over a connection of ours."""

    connection: HttpConnection
    session: Session
    tools: tuple[Tool, ...]

    async def call(self, name: str, **arguments: Any) -> Any:
        (tool,) = [each for each in self.tools if each.name == name]
        return (await self.session.call_tool(tool, arguments, 20, None)).value


@asynccontextmanager
async def talking(url: str, **options: Any) -> AsyncIterator[Talk]:
    """Shake hands with the server at `url`, and leave it at the end."""
    async with meeting(url, **options) as (connected, session):
        await session.shake_hands()
        yield Talk(connected, session, await session.list_tools(20))


async def no_new_tools(_session: Session) -> None:
    pytest.fail("the tools have changed")


@asynccontextmanager
async def meeting(
    url: str,
    on_new_tools: Callable[[Session], Awaitable[None]] = no_new_tools,
    *,
    token: str = "",
    **options: Any,
) -> AsyncIterator[tuple[HttpConnection, Session]]:
    """A session that has not begun; `options` are those of `HttpSettings`."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = {"look_every": 3600.0, "call_timeout": 20.0, **options}
    endpoint = HttpEndpoint(HttpSettings(url, headers, trusting_none(), **limits))
    log = ServerLog(structlog.get_logger())
    async with endpoint.connect(REF, log) as connected:
        session = Session(REF, connected, log, "timeout_sec", on_new_tools)
        async with session.listening():
            yield connected, session


async def refusal(url: str, kind: type[Exception] = HandshakeFailed, **options: Any) -> str:
    """The message of the error with which a handshake fails."""
    async with meeting(url, **options) as (_, session):
        with pytest.raises(kind) as caught:
            await session.shake_hands()
    return str(caught.value)
