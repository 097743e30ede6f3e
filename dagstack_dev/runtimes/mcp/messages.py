"""JSON-RPC messages over a server's pipes, one a line, as the SDK wants to read and write them.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from dagstack_dev.runtimes.mcp.dialect import with_object
from dagstack_dev.runtimes.mcp.lines import PIPE_CLOSED, LineSplitter

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import ByteReceiveStream

    from dagstack_dev.runtimes.mcp.process import ServerProcess
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


LONGEST_MESSAGE: Final = 1 << 28
"""Bytes of a message at most: a line without end would take all memory."""

MOST_STRAYS: Final = 20
"""How many lines that are no messages are logged, until there is a message again."""


class MessageReader:
    """A stream of the messages that a server writes; a line that is none is logged.

    It reads the pipe itself: a task in between would cost each answer a turn of the loop.

    Args:
        stdout: the pipe.
        lost: set when nothing more will come.
        log: told of strange lines.
    """

    def __init__(self, stdout: ByteReceiveStream, lost: anyio.Event, log: ServerLog) -> None:
        self._stdout = stdout
        self._lost = lost
        self._log = log
        self._lines = LineSplitter(LONGEST_MESSAGE)
        self._waiting: deque[bytes] = deque()
        self._strays = 0

    async def receive(self) -> SessionMessage | Exception:
        """The next message.

        Raises:
            EndOfStream: the server has closed the pipe, or is gone.
        """
        while True:
            while self._waiting:
                message = self._parsed(self._waiting.popleft())
                if message is not None:
                    self._strays = 0
                    return message
            if self._strays:  # A pipe that is always full would leave the loop no turn.
                await anyio.lowlevel.checkpoint()
            try:
                self._waiting.extend(self._lines.feed(await self._stdout.receive()))
            except PIPE_CLOSED:
                self._waiting.extend(self._lines.rest())
                if not self._waiting:
                    self._lost.set()
                    raise anyio.EndOfStream from None

    def _parsed(self, line: bytes) -> SessionMessage | None:
        line = line.strip()
        if not line:
            return None
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError:
            readable = with_object(line)
        if readable is not None:
            return self._parsed(readable)
        self._strays += 1
        if self._strays <= MOST_STRAYS:
            self._log.stray_output(line.decode(errors="replace"))
        if self._strays == MOST_STRAYS:
            self._log.more_stray_output()
        return None

    async def aclose(self) -> None:
        """Nothing: the pipe is the process's."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


async def write_messages(
    messages: MemoryObjectReceiveStream[SessionMessage], process: ServerProcess
) -> None:
    """Write each message to the server, until there are no more or it does not read any more.

    In a task of its own, so that no caller who gives up leaves half a message in the pipe.
    """
    async with messages:
        try:
            async for message in messages:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")
        except PIPE_CLOSED:
            process.lost.set()
