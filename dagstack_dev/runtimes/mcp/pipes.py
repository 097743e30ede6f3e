"""JSON-RPC messages over a server's pipes, one a line."""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from dagstack_dev.runtimes.mcp.wire import (
    LONGEST_MESSAGE,
    TOO_LONG,
    Unreadable,
    as_json,
    is_answer,
    messages_in,
    number_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import ByteReceiveStream, ByteSendStream

    from dagstack_dev.runtimes.mcp.server_log import ServerLog

PIPE_CLOSED: Final = (
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    anyio.EndOfStream,
    OSError,
)
"""What a pipe raises that has been closed, by us or at its other end."""

MOST_STRAYS: Final = 20
"""How many lines that are no messages are logged, until there is a message again."""

_ID: Final = re.compile(rb'"id"\s*:\s*"?(\d+)')

_ENDS: Final = 400
"""Bytes at both ends of an answer that cannot be read, in which its id is looked for."""


@dataclass(slots=True)
class _Waiting:
    """A request that the server has yet to answer."""

    arrived: anyio.Event = field(default_factory=anyio.Event)
    answer: dict[str, Any] | Unreadable | None = None


class Pipes:
    """The part of a connection that goes over pipes; see `endpoint.Connection`.

    Args:
        stdin, stdout: of the server.
        log: where strange lines go.
        longest_message: bytes of a line at most.

    Attributes:
        lost: set when the server has closed one of them, or is gone.
    """

    def __init__(
        self,
        stdin: ByteSendStream,
        stdout: ByteReceiveStream,
        log: ServerLog,
        longest_message: int = LONGEST_MESSAGE,
    ) -> None:
        self.lost = anyio.Event()
        self._stdin = stdin
        self._stdout = stdout
        self._log = log
        self._longest = longest_message
        self._open: dict[int, _Waiting] = {}
        self._highest = 0
        self._strays = 0
        # What a request may take counts from when it is sent, so that must not have to wait.
        self._unsent: deque[bytes] = deque()
        self._is_unsent = anyio.Event()

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; see `Connection.ask`."""
        number = self._highest = message["id"]
        line = self._queue(message)
        waiting = self._open[number] = _Waiting()
        try:
            await waiting.arrived.wait()
        finally:
            del self._open[number]
            if line in self._unsent:  # A server that reads nothing for a while is not to make it.
                self._unsent.remove(line)
        if not isinstance(waiting.answer, dict):
            raise waiting.answer or Unreadable("there is none")
        return waiting.answer

    async def notify(self, message: dict[str, Any]) -> None:
        """Send what need not be answered."""
        self._queue(message)

    def _queue(self, message: dict[str, Any]) -> bytes:
        """Have a message written, and return its line."""
        line = as_json(message) + b"\n"
        self._unsent.append(line)
        self._is_unsent.set()
        return line

    async def listen(self, take: Callable[[dict[str, Any]], object]) -> None:
        """Send and receive, until the server closes the pipe; `take` is given what is no answer."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write)
            await self._read(take)
            tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        """Write all messages, in a task: a caller that gives up leaves no half message there."""
        try:
            while True:
                await self._is_unsent.wait()
                self._is_unsent = anyio.Event()
                while self._unsent:
                    await self._stdin.send(self._unsent.popleft())
        except PIPE_CLOSED:
            self.lost.set()

    async def _read(self, take: Callable[[dict[str, Any]], object]) -> None:
        lines = LineSplitter(self._longest, drops_rest=True)
        is_open = True
        while is_open:
            try:
                complete = lines.feed(await self._stdout.receive())
            except PIPE_CLOSED:
                complete, is_open = lines.rest(), False
            for line in complete:
                for message in self._messages(line.strip()):
                    self._strays = 0
                    if is_answer(message):
                        self._resolve(message["id"], message)
                    else:
                        take(message)
            await anyio.lowlevel.checkpoint()  # A pipe that is always full leaves others a turn.
        self.lost.set()

    def _resolve(self, number: int, answer: dict[str, Any] | Unreadable) -> None:
        waiting = self._open.get(number)
        if waiting is not None and waiting.answer is None:
            waiting.answer = answer
            waiting.arrived.set()

    def _owner(self, given: object) -> int | None:
        """Return the request that an answer with the id `given` is for.

        One with an id that none of ours has had is for the only one that is waited for, if so.
        """
        number = number_of(given)
        if number is not None and 0 < number <= self._highest:
            return number
        return next(iter(self._open)) if len(self._open) == 1 else None

    def _messages(self, line: bytes) -> list[dict[str, Any]]:
        """Return the messages in a line; what is not part of one is logged."""
        if not line:
            return []
        why = "it holds neither a result nor an error"
        if len(line) > self._longest:
            why = TOO_LONG
        else:
            try:
                if found := messages_in(line, self._owner):
                    return found
            except Unreadable as error:
                why = str(error.args[0])
            # Something may have been printed before it, without an end of the line.
            begin = line.find(b'{"')
            with suppress(Unreadable):
                if begin > 0 and (found := messages_in(line[begin:], self._owner)):
                    self._stray(line[:begin])
                    return found
        number = self._answered_by(line)
        if number is None:
            self._stray(line)
        else:
            self._resolve(number, Unreadable(why))
        return []

    def _answered_by(self, line: bytes) -> int | None:
        """Return the request that is answered by a line which cannot be read."""
        ends = line[:_ENDS] + line[_ENDS:][-_ENDS:]
        if not line.startswith(b"{") or b'"jsonrpc"' not in ends:
            return None
        given = _ID.search(ends)
        return self._owner(int(given[1]) if given else None)

    def _stray(self, line: bytes) -> None:
        self._strays += 1
        if self._strays <= MOST_STRAYS:
            said = line.decode(errors="replace")
            hint = "standard output belongs to the protocol, print to standard error instead"
            self._log.say(f"not JSON-RPC ({hint}): {said}", "warning")
        if self._strays == MOST_STRAYS:
            self._log.say("further lines that are not JSON-RPC are not logged", "warning")


class LineSplitter:
    """Collects chunks, and gives back the lines that are complete.

    Args:
        longest: bytes after which a line counts as complete even without an end.
        drops_rest: whether what follows of such a line is dropped, and is no line of its own.
    """

    def __init__(self, longest: int = 1 << 16, *, drops_rest: bool = False) -> None:
        self._longest = longest
        self._drops_rest = drops_rest
        self._is_dropping = False
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the lines that `chunk` completes, without their ends."""
        *complete, begun = chunk.split(b"\n")
        for line in complete:
            if not self._is_dropping:
                yield b"".join([*self._begun, line])
            self._begun, self._size, self._is_dropping = [], 0, False
        if begun and not self._is_dropping:
            self._begun.append(begun)
            self._size += len(begun)
        if self._size > self._longest:
            yield from self.rest()
            self._is_dropping = self._drops_rest

    def rest(self) -> Iterator[bytes]:
        """Return what has no end, if there is anything."""
        if self._begun:
            yield b"".join(self._begun)
        self._begun, self._size = [], 0
