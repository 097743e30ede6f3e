"""What the two sides say to each other: a kind, the number of a call, and bytes.

Each message is a fixed header and a payload, which is a pickle. A payload is only ever read by
whoever knows what it should be, so that what cannot be unpickled spoils one call and no more.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER: Final = Struct("!BQQ")


class Kind(IntEnum):
    """What a message is; the first four go to the plugin's process, the others come from it."""

    START = 1
    CALL = 2
    CANCEL = 3
    STOP = 4
    READY = 5
    FAILED = 6
    RESULT = 7
    ERROR = 8
    CRASHED = 9
    STOPPED = 10
    LOG = 11
    IMPORTED = 12
    STOPPING = 13
    HELD = 14


class Message(NamedTuple):
    """One message; `call` is 0 where it is about no call."""

    kind: Kind
    call: int
    payload: bytes


def encode(kind: Kind, payload: bytes = b"", *, call: int = 0) -> bytes:
    """A message as bytes."""
    return HEADER.pack(kind, call, len(payload)) + payload


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with `data`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER.size:
            kind, call, length = HEADER.unpack_from(buffer)
            end = HEADER.size + length
            if len(buffer) < end:
                return
            payload = bytes(memoryview(buffer)[HEADER.size : end])
            del buffer[:end]
            yield Message(Kind(kind), call, payload)
