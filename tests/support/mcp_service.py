"""An MCP server over HTTP in a process of its own, for tests to start, disturb, kill and restart.

Requests without the header in `demanded` in its folder, if there is that file, are not authorised.
Each other one takes a line of `answers`, if there is one: a status to answer with instead of what
it would have answered, or `then-503` to answer so after having done what was asked.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

GUARD_SECONDS = 60.0

# Each server is a fork of one process, which has spent the second that it takes to import the SDK.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["mcp.server", "uvicorn"])


@dataclass(frozen=True)
class Options:
    """How it serves.

    Attributes:
        stateless: without sessions.
        json: with plain responses instead of streams.
        modern: without the versions of the protocol that begin with `initialize`.
        tool: the name of one more tool.
        certificate: a file with the certificate and its key.
    """

    stateless: bool = False
    json: bool = False
    modern: bool = False
    tool: str | None = None
    certificate: Path | None = None


PLAIN = Options()


class Service:
    """The server as a child process.

    Args:
        folder: where it keeps what tests look at.
        options: how it serves.
    """

    def __init__(self, folder: Path, options: Options = PLAIN) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = 0
        self.process: BaseProcess | None = None
        self._options = options
        self.start()

    @property
    def url(self) -> str:
        scheme = "http" if self._options.certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/mcp"

    def start(self, options: Options | None = None) -> None:
        """Start it, on the same port as before, and wait until it listens."""
        receiving, sending = _processes.Pipe(duplex=False)
        args = (self.folder, self.port, options or self._options, sending)
        self.process = _processes.Process(target=serve, args=args, daemon=True)
        self.process.start()
        sending.close()
        with receiving:
            self.port = receiving.recv()

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.join(GUARD_SECONDS)
            self.process = None

    def hang(self) -> None:
        """Have it do nothing any more, though its connections stay open."""
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def answer_next(self, *lines: str) -> None:
        """What the next requests are answered with; see above."""
        new = self.folder / "answers.new"
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        new.replace(self.folder / "answers")

    def demand(self, header: str) -> None:
        """Answer only requests that have this header, `name: value`."""
        (self.folder / "demanded").write_text(header, encoding="utf-8")

    def forget(self) -> None:
        """Be as new, but for what the process itself remembers."""
        for file in self.folder.iterdir():
            file.unlink()

    @property
    def calls(self) -> list[str]:
        """The tools that were called, in order."""
        file = self.folder / "calls"
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    @property
    def requests(self) -> list[str]:
        """The methods and paths of all HTTP requests, in order."""
        file = self.folder / "requests"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@contextmanager
def serving_mcp(folder: Path, options: Options = PLAIN) -> Iterator[Service]:
    """A server that does not outlive the block."""
    service = Service(folder, options)
    try:
        yield service
    finally:
        service.kill()


def disturbed(app: App, folder: Path) -> App:
    """`app`, behind something that checks credentials and answers what a test wants."""

    async def answer(send: Send, status: int) -> None:
        start = {"type": "http.response.start", "status": status, "headers": []}
        await send({**start, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"disturbed"})

    async def disturb(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        with (folder / "requests").open("a", encoding="utf-8") as requests:
            requests.write(f"{scope['method']} {scope['path']}\n")
        headers = {f"{name.decode()}: {value.decode()}" for name, value in scope["headers"]}
        demanded = folder / "demanded"
        if demanded.exists() and demanded.read_text(encoding="utf-8") not in headers:
            await answer(send, 401)
            return
        wanted = _next_answer(folder) if scope["method"] == "POST" else ""
        if wanted.startswith("then-"):

            async def swallow(_message: MutableMapping[str, Any]) -> None:
                return

            await app(scope, receive, swallow)
        if wanted:
            await answer(send, int(wanted.removeprefix("then-")))
        else:
            await app(scope, receive, send)

    return disturb


def modern(app: App) -> App:
    """`app`, without the versions of the protocol that begin with `initialize`."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        message = await receive()
        request = json.loads(message["body"])
        if request["method"] != "initialize":
            messages = iter([message])

            async def again() -> MutableMapping[str, Any]:
                return next(messages, None) or await receive()

            await app(scope, again, send)
            return
        data = {"supported": ["2026-07-28"], "requested": request["params"]["protocolVersion"]}
        error = {"code": -32022, "message": "Unsupported protocol version", "data": data}
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse


def _next_answer(folder: Path) -> str:
    file = folder / "answers"
    if not file.exists():
        return ""
    first, _, rest = file.read_text(encoding="utf-8").partition("\n")
    if rest:
        file.write_text(rest, encoding="utf-8")
    else:
        file.unlink()
    return first


def build(folder: Path, extra_tool: str | None) -> Any:
    """The MCP server with its tools."""
    import anyio
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations

    service = MCPServer("service")

    def note(tool: str) -> int:
        with (folder / "calls").open("a", encoding="utf-8") as calls:
            calls.write(f"{tool}\n")
        return len((folder / "calls").read_text(encoding="utf-8").split())

    @service.tool()
    def process() -> int:
        return os.getpid()

    @service.tool()
    def count() -> int:
        return note("count")

    @service.tool(annotations=ToolAnnotations(read_only_hint=True))
    def look() -> int:
        return note("look")

    @service.tool()
    async def slow(seconds: float) -> str:
        note("slow")
        await anyio.sleep(seconds)
        return "done"

    if extra_tool is not None:
        service.tool(name=extra_tool)(lambda: extra_tool)
    return service


def serve(folder: Path, port: int, options: Options, listening: Connection[int, None]) -> None:
    """Be the server; send the port once it listens."""
    import uvicorn

    listener = socket.socket(proto=socket.IPPROTO_TCP)  # Else asyncio delays small packets.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    with listening:
        listening.send(listener.getsockname()[1])
    app = build(folder, options.tool).streamable_http_app(
        stateless_http=options.stateless, json_response=options.json
    )
    config = uvicorn.Config(
        disturbed(modern(app) if options.modern else app, folder),
        log_level="critical",
        ssl_certfile=options.certificate,
    )
    uvicorn.Server(config).run(sockets=[listener])
