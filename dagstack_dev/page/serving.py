"""The dev page on a port of this machine: its listening socket, and the app that answers there."""

from __future__ import annotations

import socket
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from dagstack_dev.page.access import Access

WEB: Final = Path(__file__).parent / "web"
"""All files that the page consists of."""

LOOPBACK: Final = "127.0.0.1"

_FIRST_PORT: Final = 20_000
_PORTS: Final = 10_000
"""Below those that systems give to clients."""

_TRIES: Final = 10


def listen(roots: Sequence[str], port: int | None = None) -> socket.socket:
    """Return a socket for the page that listens on this machine alone.

    Args:
        roots: the absolute folders that the server watches. They say which port it is, so that a
            tab finds the next server over them at the same address.
        port: this one instead.

    Raises:
        OSError: the port is taken.
    """
    if port is not None:
        return socket.create_server((LOOPBACK, port))
    for each in _ports(roots):
        with suppress(OSError):
            return socket.create_server((LOOPBACK, each))
    return socket.create_server((LOOPBACK, 0))


def _ports(roots: Sequence[str]) -> Iterator[int]:
    """Yield the ports of a project, the one that is tried first first."""
    first = zlib.crc32("\0".join(roots).encode("utf-8", "surrogateescape"))
    for number in range(_TRIES):
        yield _FIRST_PORT + (first + number) % _PORTS


def page_app(access: Access, agents: ASGIApp, api: ASGIApp) -> ASGIApp:
    """Return the app that answers with the page, below `/api/` with `api`, and agents.

    Args:
        access: what lets a browser in.
        agents: the app that answers coding agents.
        api: the app of the API.
    """
    from starlette.applications import Starlette  # noqa: PLC0415 - slow to import
    from starlette.responses import FileResponse  # noqa: PLC0415 - likewise
    from starlette.routing import Mount, Route  # noqa: PLC0415 - likewise
    from starlette.staticfiles import StaticFiles  # noqa: PLC0415 - likewise

    from dagstack_dev.page.guard import Guard  # noqa: PLC0415 - likewise

    async def index(_: Request) -> FileResponse:
        return FileResponse(WEB / "index.html")

    # Some installers make each file a link to one of their own.
    files = StaticFiles(directory=WEB, follow_symlink=True)
    return Guard(access, api, agents, Starlette(routes=[Route("/", index), Mount("/", files)]))
