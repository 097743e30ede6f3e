"""JSON-RPC messages over a server's pipes, one a line, as the SDK wants to read and write them.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp.types import (
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)

from dagstack_dev.runtimes.mcp.lines import PIPE_CLOSED, LineSplitter
from dagstack_dev.runtimes.mcp.wire import (
    LONGEST_MESSAGE,
    TOO_LONG,
    Unreadable,
    is_answer,
    messages_in,
    number_of,
    unreadable_answer,
)

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream

    from dagstack_dev.runtimes.mcp.process import ServerProcess
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


MOST_STRAYS: Final = 20
"""How many lines that are no messages are logged, until there is a message again."""


_ID: Final = re.compile(rb'"id"\s*:\s*"?(\d+)')

_CANCELLED: Final = "notifications/cancelled"

_ENDS: Final = 400
"""Bytes at both ends of an answer that cannot be read, in which its id is looked for."""


class OpenRequests:
    """The numbers of the requests that a server has yet to answer."""

    def __init__(self) -> None:
        self._open: set[int | str | None] = set()
        self._texts: set[str] = set()
        self._highest = 0

    def note(self, message: JSONRPCMessage) -> None:
        """This is sent: a request, say, or that one is no longer waited for."""
        if isinstance(message, JSONRPCRequest):
            if isinstance(message.id, str):
                self._texts.add(message.id)  # It stays open for as long as the connection does.
                return
            self._open.add(message.id)
            self._highest = max(self._highest, message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == _CANCELLED:
            self._open.discard((message.params or {}).get("requestId"))

    def note_answer(self, number: int | str) -> None:
        """This one has been answered."""
        self._open.discard(number)

    def owner(self, given: object) -> int | str | None:
        """The request that an answer with the id `given` is for.

        One with an id that none of ours has had is for the only one that is waited for, if so.
        """
        number = number_of(given)
        if number is not None and 0 < number <= self._highest:
            return number
        if isinstance(given, str) and given in self._texts:
            return given
        return next(iter(self._open)) if len(self._open) == 1 else None


class MessageReader(ObjectReceiveStream[SessionMessage | Exception]):
    """A stream of the messages that a server writes; a line that is none is logged.

    It reads the pipe itself: a task in between would cost each answer a turn of the loop.

    Args:
        stdout: the pipe.
        lost: set when nothing more will come.
        log: told of strange lines.
        requests: what may be answered.
    """

    def __init__(
        self,
        stdout: ByteReceiveStream,
        lost: anyio.Event,
        log: ServerLog,
        requests: OpenRequests,
    ) -> None:
        self._stdout = stdout
        self._lost = lost
        self._log = log
        self._requests = requests
        self._lines = LineSplitter(LONGEST_MESSAGE, drops_rest=True)
        self._waiting: deque[bytes] = deque()
        self._read: deque[dict[str, Any]] = deque()
        self._strays = 0

    async def receive(self) -> SessionMessage | Exception:
        """The next message.

        Raises:
            EndOfStream: the server has closed the pipe, or is gone.
        """
        while True:
            while not self._read and self._waiting:
                self._read.extend(self._messages(self._waiting.popleft().strip()))
            if self._read:
                self._strays = 0
                message = self._read.popleft()
                if is_answer(message):
                    self._requests.note_answer(message["id"])
                return SessionMessage(jsonrpc_message_adapter.validate_python(message))
            if self._strays:  # A pipe that is always full would leave the loop no turn.
                await anyio.lowlevel.checkpoint()
            try:
                self._waiting.extend(self._lines.feed(await self._stdout.receive()))
            except PIPE_CLOSED:
                self._waiting.extend(self._lines.rest())
                if not self._waiting:
                    self._lost.set()
                    raise anyio.EndOfStream from None

    def _messages(self, line: bytes) -> list[dict[str, Any]]:
        """The messages in a line; what is not part of one is logged."""
        if not line:
            return []
        owner, why = self._requests.owner, "it holds neither a result nor an error"
        if len(line) > LONGEST_MESSAGE:
            why = TOO_LONG
        else:
            try:
                if found := messages_in(line, owner):
                    return found
            except Unreadable as error:
                why = str(error)
            # Something may have been printed before it, without an end of the line.
            begin = line.find(b'{"')
            with suppress(Unreadable):
                if begin > 0 and (found := messages_in(line[begin:], owner)):
                    self._stray(line[:begin])
                    return found
        number = self._answered_by(line)
        if number is not None:
            return [unreadable_answer(number, why)]
        self._stray(line)
        return []

    def _answered_by(self, line: bytes) -> int | str | None:
        """The request that is answered by a line which cannot be read."""
        ends = line[:_ENDS] + line[_ENDS:][-_ENDS:]
        if not line.startswith(b"{") or b'"jsonrpc"' not in ends:
            return None
        given = _ID.search(ends)
        return self._requests.owner(int(given[1]) if given else None)

    def _stray(self, line: bytes) -> None:
        self._strays += 1
        if self._strays <= MOST_STRAYS:
            said = line.decode(errors="replace")
            hint = "standard output belongs to the protocol, print to standard error instead"
            self._log.say(f"not JSON-RPC ({hint}): {said}", "warning")
        if self._strays == MOST_STRAYS:
            self._log.say("further lines that are not JSON-RPC are not logged", "warning")

    async def aclose(self) -> None:
        """Nothing: the pipe is the process's."""


async def write_messages(
    messages: MemoryObjectReceiveStream[SessionMessage],
    process: ServerProcess,
    requests: OpenRequests,
) -> None:
    """Write each message to the server, until there are no more or it does not read any more.

    In a task of its own, so that no caller who gives up leaves half a message in the pipe.
    """
    async with messages:
        try:
            async for message in messages:
                requests.note(message.message)
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")
        except PIPE_CLOSED:
            process.lost.set()
