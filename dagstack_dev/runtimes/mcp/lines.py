"""From chunks of bytes to lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPE_CLOSED: Final = (
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    anyio.EndOfStream,
    OSError,
)
"""What a pipe raises that has been closed, by us or at its other end."""


class LineSplitter:
    """Collects chunks, and gives back the lines that are complete.

    Args:
        longest: bytes after which a line counts as complete even without an end; None for never.
    """

    def __init__(self, longest: int | None = 1 << 16) -> None:
        self._longest = longest
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends."""
        head, newline, tail = chunk.partition(b"\n")
        while newline:
            yield b"".join([*self._begun, head])
            self._begun, self._size = [], 0
            head, newline, tail = tail.partition(b"\n")
        if head:
            self._begun.append(head)
            self._size += len(head)
        if self._longest is not None and self._size > self._longest:
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        """What has no end, if there is anything."""
        if self._begun:
            yield b"".join(self._begun)
        self._begun, self._size = [], 0
