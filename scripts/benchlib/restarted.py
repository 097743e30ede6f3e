"""An app that loads its plugins once: what a restarting reloader restarts.

As a program, for `watchfiles`: it loads and waits. As a module, for `uvicorn`: `app` is ASGI.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from scripts.benchlib.bare import load_all

PLUGINS = load_all(os.environ["BENCH_TREE"])


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Take part in the server's life and refuse every request."""
    if scope["type"] != "lifespan":
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body", "body": b""})
        return
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    signal.pause()
