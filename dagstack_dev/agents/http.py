"""The tools over HTTP, in the thread of the API, as long as that answers."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from dagstack_dev.api import problems
from dagstack_dev.api.problems import ProblemFound, ServerEnded

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.types import ASGIApp, Receive, Scope, Send

    from dagstack_dev.agents.connection import Connection

_IDLE_SECONDS: Final = 86_400.0
"""After which a session ends that nothing is asked or heard in; people leave agents overnight."""


class AgentApp:
    """An ASGI app that answers coding agents by MCP; it knows nothing of who may ask.

    The SDK is imported when the first one asks: it takes a second.

    Args:
        socket: the path of the socket of the API.
        options: of `protocol.AgentServer`.
    """

    def __init__(self, socket: str, **options: Any) -> None:
        self._socket = socket
        self._options = options
        self._running: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._answer: ASGIApp = ServerEnded().response()  # What answers now.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if find_spec("mcp") is None:
            missing = "agents need an extra: pip install 'dagstack-dev[mcp]'"
            await ProblemFound(problems.UNAVAILABLE, missing).response()(scope, receive, send)
            return
        if self._running is None:
            self._begun.clear()
            self._running = asyncio.create_task(self._run(), name="dagstack-dev agents")
        await self._begun.wait()
        await self._answer(scope, receive, send)

    async def _run(self) -> None:
        """Answer until the API ends: then its streams do, and all sessions with this."""
        self._answer = ServerEnded().response()
        try:
            connection, manager = await to_thread.run_sync(self._made)
            # That it is silent only says that this process was stopped, say by Ctrl-Z, and goes on.
            ends = connection.stream("events", level="critical", seconds=None)
            async with ends as events, manager.run():
                self._answer = manager.handle_request
                self._begun.set()
                try:
                    async for _ in events:
                        pass
                finally:
                    self._answer = ServerEnded().response()  # It takes nothing more while it ends.
        except Exception as error:  # noqa: BLE001 - as of an SDK that is another than expected
            problem = ProblemFound(problems.DEFECT, f"{type(error).__name__}: {error}")
            self._answer = problem.response()
            self._running = None  # The next request tries again.
        finally:
            self._begun.set()

    def _made(self) -> tuple[Connection, StreamableHTTPSessionManager]:
        from mcp.server.streamable_http_manager import (  # noqa: PLC0415 - an extra, and slow
            StreamableHTTPSessionManager,
        )

        from dagstack_dev.agents.connection import Connection  # noqa: PLC0415 - likewise
        from dagstack_dev.agents.protocol import AgentServer  # noqa: PLC0415 - likewise

        connection = Connection(Path(self._socket))
        server = AgentServer(connection, **self._options).server
        return connection, StreamableHTTPSessionManager(server, session_idle_timeout=_IDLE_SECONDS)
