"""A stream that ends is told from one that breaks off."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagstack_dev.api.client import ApiClient, ServerGone

NOTHING_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
"""What a server says to a client that asks whether it is there."""

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"c\r\nid: 7\ndata: \r\n5\r\n{}\n\n:\r\n"
END = b"0\r\n\r\n"


@contextmanager
def answering(sockets: Path, answer: bytes) -> Iterator[ApiClient]:
    """What asks something that answers so, and hangs up."""
    path = str(sockets.parent / "once.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            for each in (NOTHING_THERE, answer):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(each)

        thread = threading.Thread(target=serve)
        thread.start()
        yield ApiClient(path)
        thread.join()


def test_a_stream_is_read_to_its_end(sockets: Path) -> None:
    with answering(sockets, HEAD + CHUNKS + END) as client:
        assert [*client.stream("events")] == [(7, {})]


@pytest.mark.parametrize("length", range(len(CHUNKS) + 1))
def test_a_stream_that_breaks_off_anywhere_has_not_ended(sockets: Path, length: int) -> None:
    with answering(sockets, HEAD + CHUNKS[:length]) as client, pytest.raises(ServerGone):
        [*client.stream("events")]
