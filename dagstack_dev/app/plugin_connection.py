"""The connection of a plugin's process to the app."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dagstack_dev.runtimes.process.transfer import Decoder, Kind, Message, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK: Final = 1 << 18


class Connection:
    """The worker's end: sends from any thread, and hands on what comes from a thread of its own.

    The end of it is the end of the app, and of this process and all that it has started.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        os.register_at_fork(after_in_child=self._socket.close)  # It is between us and the app.
        self._turn = threading.RLock()
        self._unsent: deque[bytes] = deque()
        self._is_sending = False
        self._messages = self._receive()

    def first_request(self) -> Any:
        """Return what the process is to run, waited for."""
        return pickle.loads(next(self._messages).payload)  # noqa: S301 - it comes from the app

    def listen(self, take: Callable[[Message], object]) -> None:
        """Call `take` with every message, in a thread."""

        def run() -> None:
            for message in self._messages:
                take(message)

        threading.Thread(target=run, name="dagstack connection", daemon=True).start()

    def send(self, kind: Kind, payload: bytes = b"", *, call: int = 0) -> None:
        """Send one message; that the connection has ended is for the listener to notice.

        A destructor or a signal handler may log something while its own thread is sending. That
        goes when the message under way has gone.

        Args:
            kind: what it is.
            payload: what it holds, pickled.
            call: the number of the call that it is about; 0 for none.
        """
        with self._turn:
            self._unsent.append(encode(kind, payload, call=call))
            if self._is_sending:
                return
            self._is_sending = True
            try:
                while self._unsent:
                    self._socket.sendall(self._unsent.popleft())
            except OSError:
                return
            finally:
                self._is_sending = False

    def log(self, payload: bytes) -> None:
        """Send a log call."""
        self.send(Kind.LOG, payload)

    def _receive(self) -> Iterator[Message]:
        decoder = Decoder()
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except OSError:
                data = b""
            if not data:
                _end_everything()
            yield from decoder.feed(data)


def _end_everything() -> NoReturn:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
