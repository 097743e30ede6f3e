"""The remote service behind `data/weather`: an MCP server over HTTP, with a life of its own.

    .venv/bin/python playground/mixed/weather_service.py

`scripts/watch --mixed` starts it, too; then it ends when the watching does.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp.server import MCPServer

CELSIUS = {"Berlin": 18.0, "London": 15.5, "Paris": 21.5}


def main() -> None:
    """Serve until stopped."""
    options = _options()
    if options.while_stdin_open:
        os.setpgid(0, 0)  # Ctrl-C is meant for the watching, which still needs us to end well.
    # asyncio sends small packets at once only where it sees that the socket is one of TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        # Listening before anything slow is imported: who connects meanwhile waits, not fails.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", options.port))
        except OSError as error:
            sys.exit(f"weather service: port {options.port} cannot be used: {error.strerror}")
        listener.listen()
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/mcp"
        print(f"weather service: {url}, process {os.getpid()}", file=sys.stderr, flush=True)
        serve(listener, while_stdin_open=options.while_stdin_open)


def serve(listener: socket.socket, *, while_stdin_open: bool) -> None:
    """Answer what connects to `listener`."""
    import uvicorn  # noqa: PLC0415 - slow; see main

    app = build().streamable_http_app()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    def stop_with_stdin() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    if while_stdin_open:
        threading.Thread(target=stop_with_stdin, daemon=True).start()
    server.run(sockets=[listener])


def build() -> MCPServer:
    """The service itself."""
    from mcp.server import MCPServer  # noqa: PLC0415 - slow; see main
    from mcp.types import ToolAnnotations  # noqa: PLC0415

    service = MCPServer("weather", log_level="WARNING")

    @service.tool(annotations=ToolAnnotations(read_only_hint=True))
    def temperature(city: str) -> float:
        """How warm it is in a city, in degrees Celsius."""
        if city not in CELSIUS:
            raise ValueError(f"no thermometer in {city!r}; there are some in {sorted(CELSIUS)}")
        return CELSIUS[city]

    return service


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8766, help="0: any free port")
    parser.add_argument(
        "--while-stdin-open", action="store_true", help="end when standard input does"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
