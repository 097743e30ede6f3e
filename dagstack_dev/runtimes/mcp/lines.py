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
        drops_rest: whether what follows of such a line is dropped, and is no line of its own.
    """

    def __init__(self, longest: int = 1 << 16, *, drops_rest: bool = False) -> None:
        self._longest = longest
        self._drops_rest = drops_rest
        self._is_dropping = False
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends."""
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
        """What has no end, if there is anything."""
        if self._begun:
            yield b"".join(self._begun)
        self._begun, self._size = [], 0
