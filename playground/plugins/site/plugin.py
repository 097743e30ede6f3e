"""Serves the library over HTTP, on the loopback interface only."""

from __future__ import annotations

import errno
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from .messages import BadRequestError, Response, read_request
from .pages import Pages
from .services import Services

if TYPE_CHECKING:
    from anyio.abc import SocketStream
    from anyio.streams.stapled import MultiListener

    from dagstack_dev import PluginContext

HOST = "127.0.0.1"
DEFAULT_PORT = 8765
REQUEST_TIMEOUT_SEC = 10


class Site:
    """A listening socket, and a task per connection; both end with the plugin."""

    _ctx: PluginContext
    _pages: Pages

    async def setup(self, ctx: PluginContext) -> None:
        services = Services.of(ctx)
        self._ctx = ctx
        self._pages = Pages(services)
        starts = int(await services.settings.get("site_starts", "0")) + 1
        await services.settings.set("site_starts", str(starts))

        listener = await self._listen(int(ctx.config.get("port", DEFAULT_PORT)))
        await ctx.enter_async(listener)
        ctx.start_soon(listener.serve, self._handle)
        port = listener.extra(SocketAttribute.local_port)
        ctx.logger.info("listening", url=f"http://{HOST}:{port}/", starts=starts)

    async def _listen(self, port: int) -> MultiListener[SocketStream]:
        try:
            return await anyio.create_tcp_listener(local_host=HOST, local_port=port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        self._ctx.logger.warning("port_busy", port=port)
        return await anyio.create_tcp_listener(local_host=HOST)

    async def _handle(self, stream: SocketStream) -> None:
        gone = (anyio.BrokenResourceError, anyio.IncompleteRead)
        with suppress(*gone), anyio.move_on_after(REQUEST_TIMEOUT_SEC):
            async with stream:
                await stream.send(await self._respond(stream))

    async def _respond(self, stream: SocketStream) -> bytes:
        try:
            request = await read_request(stream)
        except BadRequestError:
            return Response("", HTTPStatus.BAD_REQUEST).encode()
        try:
            response = await self._pages.answer(request)
        except Exception:
            self._ctx.logger.exception("request_failed", path=request.path)
            response = Response("", HTTPStatus.INTERNAL_SERVER_ERROR)
        return response.encode(with_body=request.method != "HEAD")
