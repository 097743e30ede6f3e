"""What a call of an MCP server through a proxy costs over the SDK's own client."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import structlog

from dagstack_dev import PluginContext, PluginRegistry
from scripts.benchlib.report import Table, say

CALLS: Final = 50
AT_ONCE: Final = 10

SERVER: Final = """
import socket
import sys

import uvicorn
from mcp.server import MCPServer


def serve(asgi):
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # Else asyncio delays packets.
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(asgi, log_level="error")).run(sockets=[listener])


app = MCPServer("called", log_level="ERROR")


@app.tool()
def add(a: int, b: int) -> int:
    return a + b


app.run("stdio") if len(sys.argv) == 1 else serve(app.streamable_http_app())
"""

MANIFEST: Final = f"""
[plugin]
name = "called"
kind = "bench"
core_version = ">=0.1"
runtime = "mcp_stdio"
command = ["{sys.executable}", "server.py"]
"""

REMOTE: Final = """
[plugin]
name = "remote"
kind = "bench"
core_version = ">=0.1"
runtime = "mcp_http"
url = "{url}"
"""

Call = Callable[[], Awaitable[object]]


def measure(rounds: int) -> Table:
    """The table of calls over stdio and over HTTP."""
    say("mcp")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    table = Table(
        "Call of an MCP server, in us",
        ("over", "calls", "client", "elapsed", "own CPU"),
        note=f"medians of {rounds} rounds of {CALLS} calls each, in turn",
    )
    with tempfile.TemporaryDirectory() as root:
        program = Path(root, "called", "server.py")
        _write(program, SERVER)
        _write(program.with_name("dagstack.toml"), MANIFEST)
        command = [sys.executable, str(program), "http"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None  # noqa: S101 - a pipe was asked for
            url = f"http://127.0.0.1:{int(service.stdout.readline())}/mcp"
            _write(Path(root, "remote", "dagstack.toml"), REMOTE.format(url=url))
            try:
                asyncio.run(_fill(table, root, url, rounds))
            finally:
                service.kill()
    return table


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


async def _fill(table: Table, root: str, url: str, rounds: int) -> None:
    from mcp import StdioServerParameters  # noqa: PLC0415 - an extra

    server = StdioServerParameters(command=sys.executable, args=[f"{root}/called/server.py"])
    registry = PluginRegistry().discover(root)
    context = PluginContext(config={}, logger=structlog.get_logger(), registry=registry)
    await registry.setup_all(context)
    for over, name, bare in (("stdio", "called", server), ("HTTP", "remote", url)):
        await _compare(table, over, bare, registry.get_plugin("bench", name), rounds)
    await registry.teardown_all()


async def _compare(table: Table, over: str, server: Any, proxy: Any, rounds: int) -> None:
    from mcp import Client  # noqa: PLC0415 - an extra

    async with Client(server, mode="legacy") as client:
        bare: Call = lambda: client.call_tool("add", {"a": 1, "b": 2})  # noqa: E731 - two of a kind
        ours: Call = lambda: proxy.add(a=1, b=2)  # noqa: E731 - two of a kind
        for name, width in (("one after another", 1), (f"{AT_ONCE} at once", AT_ONCE)):
            measured = await _in_turn((bare, ours), rounds, width)
            for who, (elapsed, cpu) in zip(("the SDK's", "proxy"), measured, strict=True):
                row = {"over": over, "calls": name, "client": who}
                table.add({**row, "elapsed": elapsed, "own CPU": cpu})


async def _in_turn(calls: tuple[Call, ...], rounds: int, width: int) -> list[tuple[float, float]]:
    """The median times of one call of each, in us; measured in turn, so that all see the same.

    The second one is the processor's, of this process alone: what the client itself costs.
    """
    times: list[list[tuple[float, float]]] = [[] for _ in calls]
    for index in range(rounds + 1):
        for call, taken in zip(calls, times, strict=True):
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(CALLS // width):
                await asyncio.gather(*(call() for _ in range(width)))
            if index:  # The first round compiles schemas.
                elapsed = time.perf_counter() - began
                taken.append((elapsed / CALLS * 1e6, (time.process_time() - cpu) / CALLS * 1e6))
    return [
        (statistics.median(wall for wall, _ in taken), statistics.median(cpu for _, cpu in taken))
        for taken in times
    ]
