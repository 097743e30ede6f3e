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
        longest: bytes after which a line counts as complete even without an end.
    """

    def __init__(self, longest: int = 1 << 16) -> None:
        self._longest = longest
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends."""
        *complete, begun = chunk.split(b"\n")
        for line in complete:
            yield b"".join([*self._begun, line])
            self._begun, self._size = [], 0
        if begun:
            self._begun.append(begun)
            self._size += len(begun)
        if self._size > self._longest:
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        """What has no end, if there is anything."""
        if self._begun:
            yield b"".join(self._begun)
        self._begun, self._size = [], 0
