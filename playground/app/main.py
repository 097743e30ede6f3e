"""A local app with the dev server inside: one process, one event loop.

    python playground/app/main.py

It answers on http://127.0.0.1:8800/ with what the plugins of the playground know. Edit one of
them and load the page again; Ctrl-C ends both.
"""

from __future__ import annotations

import argparse
import logging
import signal
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

import anyio
import structlog
from anyio import to_thread
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from dagstack_dev import (
    DevServer,
    PluginContext,
    PluginRegistry,
    PluginRejected,
    PluginUnavailable,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    Settings,
    WatchStopped,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import SocketStream

    from dagstack_dev import EventStream

HOST = "127.0.0.1"
PLAYGROUND = Path(__file__).resolve().parents[1]
MAX_HEAD_BYTES = 16 * 1024
REQUEST_TIMEOUT_SEC = 10


class Greeter(Protocol):
    async def greet(self) -> str: ...


class Library(Protocol):
    def titles(self) -> dict[str, str]: ...
    def html(self, name: str) -> str: ...


class App:
    """Answers requests with the help of two plugins.

    The proxies are taken once and kept: after a reload the same objects answer with the new code,
    and a call that comes in the middle of one waits for its end.
    """

    def __init__(self, registry: PluginRegistry) -> None:
        self._greeter: Greeter = registry.get_plugin("job", name="greeter")
        self._library: Library = registry.get_plugin("content", name="library")

    async def answer(self, path: str) -> tuple[HTTPStatus, str]:
        # The library's methods are plain functions. In a worker thread they can wait for the end
        # of a reload; on the event loop they would keep the reload from ever ending.
        titles = await to_thread.run_sync(self._library.titles)
        match [unquote(part) for part in path.split("/") if part]:
            case []:
                body = "".join(
                    f'<p><a href="/{quote(name)}">{escape(title)}</a></p>'
                    for name, title in titles.items()
                )
            case [name] if name in titles:
                body = await to_thread.run_sync(self._library.html, name)
            case _:
                return HTTPStatus.NOT_FOUND, "no such document"
        return HTTPStatus.OK, f"<h1>{escape(await self._greeter.greet())}</h1>{body}"

    async def handle(self, stream: SocketStream) -> None:
        """As much of HTTP as the example needs: one GET per connection."""
        gone = (anyio.BrokenResourceError, anyio.DelimiterNotFound, anyio.IncompleteRead)
        try:
            with anyio.fail_after(REQUEST_TIMEOUT_SEC):
                async with stream:
                    buffered = BufferedByteReceiveStream(stream)
                    head = await buffered.receive_until(b"\r\n\r\n", MAX_HEAD_BYTES)
                    status, text = await self._respond(head.decode("latin-1").split(" "))
                    body = text.encode()
                    await stream.send(
                        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                        "Content-Type: text/html; charset=utf-8\r\n"
                        f"Content-Length: {len(body)}\r\n"
                        "Connection: close\r\n\r\n".encode()
                        + body
                    )
        except (*gone, TimeoutError) as error:
            print(f"! request given up: {type(error).__name__}")

    async def _respond(self, words: list[str]) -> tuple[HTTPStatus, str]:
        match words:
            case ["GET", target, *_]:
                path = target.partition("?")[0]
            case _:
                return HTTPStatus.METHOD_NOT_ALLOWED, "only GET"
        try:
            return await self.answer(path)
        except PluginUnavailable as error:  # A plugin failed and there is none to go back to.
            return HTTPStatus.SERVICE_UNAVAILABLE, escape(str(error))
        except Exception as error:  # noqa: BLE001 - a mistake in a plugin is not the end of the app
            return HTTPStatus.INTERNAL_SERVER_ERROR, escape(f"{type(error).__name__}: {error}")


async def show(facts: EventStream) -> None:
    """Print what happens to the plugins until the server has stopped."""
    async for fact in facts:
        match fact:
            case ReloadCommitted():
                print(f"reloaded {_names(fact.affected)} in {fact.duration_ms:.0f} ms", flush=True)
            case PluginRejected():
                print(f"rejected: {fact.error}", flush=True)
            case ReloadRolledBack() | ReloadFailed():
                what = "rolled back" if isinstance(fact, ReloadRolledBack) else "failed"
                for ref, error in fact.errors.items():
                    print(f"{what}: {ref}: {type(error).__name__}: {error}", flush=True)
            case WatchStopped():
                print(f"stopped after {fact.duration_ms:.0f} ms", flush=True)
            case _:
                pass


def _names(refs: Iterable[object]) -> str:
    return ", ".join(map(str, refs))


async def run(plugins: Path, config: Path, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    registry = PluginRegistry()
    context = PluginContext(config={}, logger=structlog.get_logger(), registry=registry)
    settings = Settings(config_file=config)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            anyio.create_task_group() as tasks,
            DevServer(plugins, context=context, settings=settings) as server,
            await anyio.create_tcp_listener(local_host=HOST, local_port=port) as listener,
            anyio.create_task_group() as requests,
        ):
            tasks.start_soon(show, server.events())
            requests.start_soon(listener.serve, App(registry).handle)
            url = f"http://{HOST}:{listener.extra(SocketAttribute.local_port)}/"
            print(f"serving {url} with {len(server.statuses())} plugins", flush=True)
            await anext(signals)
            requests.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="A local app with the dev server inside.")
    parser.add_argument("plugins", nargs="?", type=Path, default=PLAYGROUND / "plugins")
    parser.add_argument("--config", type=Path, default=PLAYGROUND / "config.toml")
    parser.add_argument("--port", type=int, default=8800, help="0: any free port")
    options = parser.parse_args()
    # The console belongs to `show`; of the log, what went wrong is enough.
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    anyio.run(run, options.plugins, options.config, options.port)


if __name__ == "__main__":
    main()
