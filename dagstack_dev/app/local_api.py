"""A dev server's API and page: their sockets, what is published, and the thread that answers."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio

from dagstack_dev._version import __version__
from dagstack_dev.api.backend import About, Backend
from dagstack_dev.api.board import Board
from dagstack_dev.api.main_loop import MainLoopLink
from dagstack_dev.api.serving import ApiThread
from dagstack_dev.api.socket import ServerSocket
from dagstack_dev.app.events import from_anywhere
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.events import WatchProblem
from dagstack_dev.page.access import Access
from dagstack_dev.page.serving import listen, page_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.types import ASGIApp

    from dagstack_dev.api.backend import Server
    from dagstack_dev.api.socket import Server as RunningServer
    from dagstack_dev.app.publication import Publication


def can_serve() -> bool:
    """Return whether the extra `api` is installed."""
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn"))


class LocalApi:
    """Has a `DevServer` answer the commands `status`, `reload`, `call` and the like.

        DevServer("plugins/", api=LocalApi())

    Args:
        path: where its socket is to lie; by default where these commands find it.
        page: whether to serve the dev page from the start.
        page_port: the port of the page; by default one that stays the same for the same folders.
        read_only: whether coding agents, who are served beside the page, may change nothing.
        expose: the plugins whose own tools they are offered, too: `kind/name`, `tool/*` or `all`.
        on_stop: called when a client asks for the end; by default the server stops.
        on_open: called with a path and a line that a client wants to be shown, in another thread;
            it raises an `OSError` where that cannot be.

    Attributes:
        board: what is published; what an app logs it may publish there, too.
        page: what lets a browser into the dev page; None while none is served.

    Raises:
        RuntimeError: the extra `api` is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        page: bool = False,
        page_port: int | None = None,
        read_only: bool = False,
        expose: Sequence[str] = (),
        on_stop: Callable[[], object] | None = None,
        on_open: Callable[[str, int], object] | None = None,
    ) -> None:
        if not can_serve():
            raise RuntimeError("the API needs an extra: pip install 'dagstack-dev[api]'")
        self._path = path
        self._has_page = page
        self._page_port = page_port
        self._agents = {"read_only": read_only, "expose": [*expose]}
        self._on_stop = on_stop
        self._on_open = on_open
        self._serving: tuple[ServerSocket, ApiThread] | None = None
        self.board = Board()
        self.page: Access | None = None

    def serve_page(self) -> Access:
        """Serve the dev page, if it is not served yet; in the event loop of the server.

        Returns:
            What lets a browser in.

        Raises:
            OSError: the port is taken.
            RuntimeError: the server does not run.
        """
        if self._serving is None:
            raise RuntimeError("the page is served while the server runs")
        if self.page is None:
            socket, thread = self._serving
            listening = listen(socket.roots, self._page_port)
            access = Access(listening.getsockname()[1], socket.page)
            access.write_file()
            thread.listen(listening, partial(self._page_app, access, socket.path))
            self.page = access
        return self.page

    def _page_app(self, access: Access, socket: str, api: ASGIApp) -> ASGIApp:
        from dagstack_dev.agents.http import AgentApp  # noqa: PLC0415 - an extra, and slow

        return page_app(access, AgentApp(socket, **self._agents), api)

    def open(self, path: str, line: int) -> None:
        """Show a place to the owner of the server; of any thread.

        Raises:
            OSError: it cannot be shown.
        """
        if self._on_open is None:
            raise OSError("this app opens no files; it would, by LocalApi(on_open=function)")
        self._on_open(path, line)

    @contextmanager
    def served(
        self,
        server: Server,
        publication: Publication,
        roots: Sequence[str],
        selection: Mapping[str, Any],
        last: AsyncExitStack,
    ) -> Iterator[Sequence[RunningServer]]:
        """Answer in the block; what is bound are the other servers that run.

        Args:
            server: it runs in this event loop.
            publication: keeps the board up to date.
            roots: the absolute folders that it watches.
            selection: see `api.socket.Server`.
            last: runs when all plugins are torn down; answers that are under way may take until
                then.

        Raises (on entering):
            OSError: the socket cannot be made, or its folder is not safe.
            RuntimeError: it has answered for another server.
        """
        if self.board.events.has_ended:
            raise RuntimeError("a LocalApi answers for one server; make a new one for the next")
        table = server.registry.table
        socket = ServerSocket(roots, self._path, selection)
        held = last.enter_context(ExitStack())
        listening = held.enter_context(socket)
        place = socket.path
        about = About(__version__, os.getpid(), place, time.time(), tuple(roots))
        call_soon = from_anywhere(lambda function, *args: function(*args))
        link = MainLoopLink(call_soon, table)
        on_stop = self._on_stop or server.end_soon
        backend = Backend(server, about, publication, self, on_stop)

        def report(error: BaseException) -> None:
            message = f"commands cannot reach this server: {in_words(error)}"
            call_soon(table.publish, WatchProblem(message=message))

        # It gets a socket of its own: it may only come to listen when `held` has closed the other.
        thread = ApiThread(listening.dup(), self.board, backend, link, report)
        last.push_async_callback(anyio.to_thread.run_sync, thread.join)
        look_away = table.observe(publication)
        self._serving = socket, thread
        if self._has_page:
            try:
                self.serve_page()
            except OSError as error:
                table.publish(WatchProblem(message=f"the page cannot be served: {error}"))
        try:
            yield socket.others
        finally:
            self._serving = self.page = None
            look_away()
            link.end()
            self.board.end()
            held.close()  # While it still listens: another server may come to this place then.
            thread.end()
