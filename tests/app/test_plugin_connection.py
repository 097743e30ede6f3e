"""What a plugin's process sends to the app comes whole, whatever interrupts it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev.app.plugin_connection import Connection
from dagstack_dev.runtimes.process.transfer import Decoder, Kind, Message


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    theirs, ours = socket.socketpair()
    connection = Connection(theirs.detach())
    with ours:
        yield connection, ours
    connection._socket.close()


def test_who_is_interrupted_in_the_midst_of_sending_may_send_meanwhile(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, app = ends
    main, handled = threading.main_thread().ident, threading.Event()
    assert main is not None
    received: list[Message] = []

    def log(number: int, frame: FrameType | None) -> None:
        connection.log(b"in between")
        handled.set()

    def read() -> None:
        decoder = Decoder()
        received.extend(decoder.feed(app.recv(1)))  # So much does not fit, so it is being sent.
        signal.pthread_kill(main, signal.SIGUSR1)
        handled.wait(GUARD_SECONDS)
        while len(received) < 2 and (data := app.recv(1 << 16)):
            received.extend(decoder.feed(data))

    before = signal.signal(signal.SIGUSR1, log)
    reader = threading.Thread(target=read)
    try:
        reader.start()
        connection.send(Kind.RESULT, b"x" * 10_000_000)
        assert handled.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)
        reader.join(GUARD_SECONDS)
    assert [(each.kind, len(each.payload)) for each in received] == [
        (Kind.RESULT, 10_000_000),
        (Kind.LOG, len(b"in between")),
    ]
