"""An ASGI application under a load generator while its plugins are reloaded.

Run as a module it is the application itself: `python -m scripts.benchlib.http_load PLUGINS`.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from scripts.benchlib.load_tree import KIND, Developer
from scripts.benchlib.report import Table, percentile, say

ROOT: Final = Path(__file__).resolve().parents[2]
WAYS: Final = [["agent", "cache", "store"], ["bus", "listener", "bus"], ["plain"]]
GENERATORS: Final = ("wrk", "oha", "hey")
CONNECTIONS: Final = 32

Message = MutableMapping[str, Any]


@dataclass
class Figures:
    """What a generator saw.

    Attributes:
        generator: its name.
        requests: how many were answered.
        failed: answers other than 200, connections that were reset, and requests that timed out.
        waits: of each request, in ms, where the generator reports them.
        said: the generator's own words, where it measures itself.
    """

    generator: str
    requests: int = 0
    failed: int = 0
    waits: list[float] = field(default_factory=list)
    said: str = ""


class Application:
    """Answers each request with the versions of the plugins that it went through."""

    def __init__(self, plugins: str) -> None:
        self._plugins = plugins
        self._requests = 0

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """As ASGI asks: the server lives as long as the application does."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self._requests += 1
        first, *others = WAYS[self._requests % len(WAYS)]
        seen = await self._registry.get_plugin(KIND, first).through(others)
        body = json.dumps(seen).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(
        self,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        from dagstack_dev import DevServer  # noqa: PLC0415 - the client's side needs none

        await receive()
        facts: Counter[str] = Counter()
        async with DevServer(self._plugins) as server:
            self._registry = server.registry
            server.registry.observe(lambda fact: facts.update([type(fact).__name__]))
            await send({"type": "lifespan.startup.complete"})
            await receive()
        print(json.dumps(facts), flush=True)
        await send({"type": "lifespan.shutdown.complete"})


def measure(seconds: float) -> Table:
    """The table of requests."""
    with tempfile.TemporaryDirectory() as folder:
        plugins = Path(folder, "plugins")
        developer = Developer(plugins, seed=1)
        process, port = _serve(plugins)
        try:
            figures, edits = asyncio.run(_load(f"http://127.0.0.1:{port}/", developer, seconds))
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=30)
        facts = json.loads(said)
    table = Table(
        "Requests while plugins are reloaded, waits in ms",
        ("what", "figure"),
        note=f"{CONNECTIONS} connections, kept alive, for {seconds:g} s; by {figures.generator}",
    )
    for what, figure in {
        "requests per second": round(figures.requests / seconds),
        "requests": figures.requests,
        "requests that failed": figures.failed,
        "edits": edits,
        "reloads committed": facts.get("ReloadCommitted", 0),
        "reloads rolled back": facts.get("ReloadRolledBack", 0),
        "drains that took too long": facts.get("DrainTimedOut", 0),
    }.items():
        table.add({"what": what, "figure": figure})
    if figures.waits:
        for name, share in (("p50", 50), ("p99", 99), ("longest", 100)):
            table.add({"what": name, "figure": percentile(figures.waits, share)})
    if figures.said:
        say(figures.said)
    return table


def _serve(plugins: Path) -> tuple[subprocess.Popen[str], int]:
    """Start the application in its own process; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.benchlib.http_load", str(plugins)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    return process, int(process.stdout.readline())


async def _load(url: str, developer: Developer, seconds: float) -> tuple[Figures, int]:
    """Load the application and edit its plugins for `seconds`; the number of edits."""
    say("requests under load")
    ends = time.monotonic() + seconds
    edits = 0
    found = next((name for name in GENERATORS if shutil.which(name)), None)
    load = asyncio.create_task(_by_tool(found, url, seconds) if found else by_client(url, ends))
    while time.monotonic() < ends - 0.5:
        developer.edit()
        edits += 1
        await asyncio.sleep(0.1)
    return await load, edits


async def _by_tool(name: str, url: str, seconds: float) -> Figures:
    """Have a generator that is installed do it, and read what it says."""
    lasts = f"{seconds:g}s"
    arguments = {
        "wrk": ["-t1", f"-c{CONNECTIONS}", f"-d{lasts}", "--timeout", "20s", "--latency", url],
        "oha": ["-c", str(CONNECTIONS), "-z", lasts, "--no-tui", url],
        "hey": ["-c", str(CONNECTIONS), "-z", lasts, "-t", "20", url],
    }[name]
    process = await asyncio.create_subprocess_exec(name, *arguments, stdout=subprocess.PIPE)
    said = (await process.communicate())[0].decode()
    figures = Figures(name, said=said)
    if name == "wrk":
        figures.requests = _number(r"(\d+) requests in", said)
        figures.failed = _number(r"Non-2xx or 3xx responses: (\d+)", said) + sum(
            map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", said))
        )
        return figures
    answers = {
        status: int(count) for status, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", said)
    }
    figures.requests = sum(answers.values())
    errors = said.partition("Error distribution:")[2]
    figures.failed = figures.requests - answers.get("200", 0)
    figures.failed += sum(
        int(count)
        for count, what in re.findall(r"\[(\d+)\]\s+(.*)", errors)
        if "deadline" not in what  # oha counts what it cuts off at the end.
    )
    return figures


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


async def by_client(url: str, ends: float) -> Figures:
    """Ask over connections that are kept alive until `ends`, on the clock of `monotonic`."""
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    figures = Figures("the bench's own client")
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(_ask(host, int(port), ends, figures))
    return figures


async def _ask(host: str, port: int, ends: float, figures: Figures) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    while time.monotonic() < ends:
        began = time.perf_counter()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_number(r"(?i)content-length: (\d+)", head.decode()))
        except (OSError, asyncio.IncompleteReadError) as error:
            say(f"a connection ended: {error!r}")
            figures.failed += 1
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
            continue
        figures.waits.append((time.perf_counter() - began) * 1000)
        figures.requests += 1
        if not head.startswith(b"HTTP/1.1 200 "):
            figures.failed += 1
            say(body.decode())
    writer.close()


def main() -> None:
    """Serve the application, and say on which port."""
    import structlog  # noqa: PLC0415 - the client's side needs none of this
    import uvicorn  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    config = uvicorn.Config(Application(sys.argv[1]), port=0, log_level="error")

    async def serve() -> None:
        server = uvicorn.Server(config)
        served = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await served

    asyncio.run(serve())


if __name__ == "__main__":
    main()
