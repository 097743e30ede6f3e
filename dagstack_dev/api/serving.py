"""Serves the API on sockets, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev._version import __version__
from dagstack_dev.api.patience import have_ended
from dagstack_dev.core.frames import never_suspend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

    from dagstack_dev.api.backend import Backend
    from dagstack_dev.api.board import Board
    from dagstack_dev.api.main_loop import MainLoopLink

END_SECONDS: Final = 1
"""How long answers that are under way may take when the server ends."""


class _Listener(NamedTuple):
    """A socket, and what makes the app that answers there of the app of the API."""

    socket: socket.socket
    around: Callable[[ASGIApp], ASGIApp]


class ApiThread:
    """Answers on listening sockets until it is asked to end.

    What that takes is imported when the first client connects: most servers are asked nothing.

    Args:
        listening: the socket for the API itself; it is closed at the end.
        board: what the server publishes.
        backend: the server.
        main_loop: the way to it.
        on_failure: called in this thread when it cannot go on, with the reason.
    """

    def __init__(
        self,
        listening: socket.socket,
        board: Board,
        backend: Backend,
        main_loop: MainLoopLink,
        on_failure: Callable[[BaseException], object],
    ) -> None:
        self._parts = (board, backend, main_loop)
        self._on_failure = on_failure
        self._listeners = [_Listener(listening, lambda api: api)]
        self._news, self._has_news = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="dagstack-dev api", daemon=True)
        never_suspend(self._thread)  # It says where the others are.
        self._thread.start()

    def listen(self, listening: socket.socket, around: Callable[[ASGIApp], ASGIApp]) -> None:
        """Answer on one more socket; from any thread, before `end`.

        Args:
            listening: the socket; it is closed at the end.
            around: called in this thread with the app of the API, returns the app that answers.
        """
        self._listeners.append(_Listener(listening, around))
        self._news.send(b"+")

    def _run(self) -> None:
        try:
            if self._is_asked():
                asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - a plugin may have broken what imports need
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._on_failure(error)
        finally:
            for each in self._listeners:  # Else clients would wait for answers.
                with suppress(OSError):  # A copy of the process may hold it open, and the port.
                    each.socket.shutdown(socket.SHUT_RDWR)
                each.socket.close()
            self._has_news.close()

    def _is_asked(self) -> bool:
        """Wait; return whether a client has connected, and not the end has come."""
        while True:
            poll = select.poll()
            for each in (self._has_news, *(listener.socket for listener in self._listeners)):
                poll.register(each, select.POLLIN)
            if self._has_news.fileno() not in dict(poll.poll()):
                return True
            if not self._has_news.recv(1):
                return False

    async def _serve(self) -> None:
        import uvicorn  # noqa: PLC0415 - an extra, and slow to import: not in the plugins' thread

        from dagstack_dev.api.answers import Api  # noqa: PLC0415 - likewise
        from dagstack_dev.api.openapi import openapi_document  # noqa: PLC0415 - likewise
        from dagstack_dev.api.routes import make_app  # noqa: PLC0415 - likewise

        ended = asyncio.Event()

        class Server(uvicorn.Server):
            """Looks for its end at no interval: it costs nothing while nothing is asked."""

            async def main_loop(self) -> None:
                await ended.wait()

            async def shutdown(self, sockets: object = None) -> None:  # noqa: ARG002 - they are ours
                for server in self.servers:
                    server.close()
                for connection in [*self.server_state.connections]:
                    connection.shutdown()
                if tasks := [*self.server_state.tasks]:
                    await have_ended(tasks, END_SECONDS)

        class Config(uvicorn.Config):
            """Leaves the loggers alone: they are also those of a server in the app or a plugin."""

            def configure_logging(self) -> None:
                pass

        api = make_app(Api(*self._parts), openapi_document(__version__))
        self._has_news.setblocking(False)  # noqa: FBT003 - the only argument
        with _quiet_thread():
            async with asyncio.TaskGroup() as group:
                serving = 0
                while not ended.is_set():
                    for each in self._listeners[serving:]:
                        config = Config(
                            each.around(api),
                            log_config=None,
                            lifespan="off",
                            loop="asyncio",
                            http="h11",
                            ws="none",
                            date_header=False,
                            server_header=False,
                        )
                        group.create_task(Server(config).serve(sockets=[each.socket.dup()]))
                        serving += 1
                    if not await asyncio.get_running_loop().sock_recv(self._has_news, 1):
                        ended.set()

    def end(self) -> None:
        """Answer no more, as soon as what is under way has ended."""
        self._news.shutdown(socket.SHUT_RDWR)  # A copy of the process may hold it open.
        self._news.close()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join(END_SECONDS * 3)


@contextmanager
def _quiet_thread() -> Iterator[None]:
    """Have uvicorn log only warnings of this thread in the block; of others, all as before."""
    ours = threading.get_ident()

    def is_logged(record: logging.LogRecord) -> bool:
        return threading.get_ident() != ours or record.levelno >= logging.WARNING

    loggers = [logging.getLogger(f"uvicorn.{name}") for name in ("error", "access", "asgi")]
    for each in loggers:
        each.addFilter(is_logged)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(is_logged)
