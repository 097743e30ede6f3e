"""MCP servers in this process that answer a call with given bytes, over pipes and over HTTP."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import structlog
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp_talks import REF, no_new_tools, talking

from dagstack_dev import PluginRegistryError
from dagstack_dev.core.errors.remote import ServerExited
from dagstack_dev.runtimes.mcp.catalogue import Tool
from dagstack_dev.runtimes.mcp.pipes import Pipes
from dagstack_dev.runtimes.mcp.server_log import ServerLog
from dagstack_dev.runtimes.mcp.session import Session

Call = Callable[[], Any]

ODD = {"name": "odd", "inputSchema": {"type": "object"}}


def usual(message: dict[str, Any], *, tools: object = (ODD,), **more: Any) -> bytes:
    """What a server answers besides calls; empty where there is nothing to answer."""
    result: object = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        },
        "tools/list": {"tools": tools},
        **more,
    }.get(message["method"])
    if "id" not in message:
        return b""
    answer = (
        {"error": {"code": -32601, "message": "none"}} if result is None else {"result": result}
    )
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode()


class Process(Pipes):
    """Stands for a process and the connection over its pipes.

    Args:
        answer: what to write for a message; None closes the pipe.
        options: of the connection.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], bytes | None], **options: Any) -> None:
        self._answer = answer
        self._said, self._heard = anyio.create_memory_object_stream[bytes](math.inf)
        stdin: Any = self
        stdout: Any = self._heard
        super().__init__(stdin, stdout, ServerLog(structlog.get_logger()), **options)

    async def send(self, data: bytes) -> None:
        said = self._answer(json.loads(data))
        if said is None:
            self._said.close()
        elif said:
            self._said.send_nowait(said + b"\n")

    def close(self) -> None:
        self._said.close()
        self._heard.close()

    def note_tools(self, tools: object) -> None:
        pass

    def last_words(self) -> tuple[str, ...]:
        return ()

    async def why_lost(self) -> ServerExited:
        return ServerExited(REF, "it has gone", returncode=1)


@asynccontextmanager
async def over_pipes(
    answer: Callable[[dict[str, Any]], bytes | None], **options: Any
) -> AsyncIterator[Session]:
    """A session that has shaken hands with a server whose pipes are memory."""
    process: Any = Process(answer, **options)
    log = ServerLog(structlog.get_logger())
    session = Session(REF, process, log, "timeout_sec", no_new_tools)
    async with session.listening():
        await session.shake_hands()
        yield session
    process.close()


@asynccontextmanager
async def served(respond: Callable[[str, bytes], Awaitable[bytes]]) -> AsyncIterator[str]:
    """The URL of a server that answers each head and body so, and hangs up.

    What is open at the end of the block ends with it.
    """

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError, anyio.IncompleteRead):  # The client is gone.
                received = BufferedByteReceiveStream(stream)
                head = (await received.receive_until(b"\r\n\r\n", 2**16)).decode()
                length = re.search(r"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
                body = await received.receive_exactly(int(length[1])) if length else b""
                await stream.send(await respond(head, body))

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as connections,
    ):
        connections.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        connections.cancel_scope.cancel()


@asynccontextmanager
async def over_http(
    respond: Callable[[dict[str, Any]], bytes], resume: Callable[[str], bytes] | None = None
) -> AsyncIterator[str]:
    """The URL of a server that answers each message so, with head and body; empty: hangs up.

    `resume` makes of the head of a request for events what they are.
    """

    async def answer(head: str, body: bytes) -> bytes:
        if head.startswith("POST"):
            return respond(json.loads(body))
        if resume is not None and head.startswith("GET"):
            return resume(head.lower())
        return plain("405 Method Not Allowed")

    async with served(answer) as url:
        yield url


def plain(status: str, body: bytes = b"", kind: str = "text/plain", *more: str) -> bytes:
    """One response that ends with its connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def as_json(body: bytes) -> bytes:
    return plain("200 OK", body, "application/json")


def as_events(body: bytes) -> bytes:
    return plain("200 OK", b"event: message\ndata: " + body + b"\n\n", "text/event-stream")


def http_usual(message: dict[str, Any], **more: Any) -> bytes:
    """What a server answers over HTTP besides calls."""
    said = usual(message, **more)
    return as_json(said) if said else plain("202 Accepted")


async def outcome(session: Session, tool: Tool) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return (await session.call_tool(tool, {}, 20, None)).value
    except PluginRegistryError as error:
        return error


def result_of(outcome: Any) -> Any:
    """Return it or raise it, outside of every task group."""
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def piped(call: bytes | None, tool: Tool, **options: Any) -> Any:
    """The outcome of one call that is answered with a line; ID stands for the request's id."""

    def answer(message: dict[str, Any]) -> bytes | None:
        if message["method"] != "tools/call":
            return usual(message)
        return None if call is None else call.replace(b"ID", str(message["id"]).encode())

    async with over_pipes(answer, **options) as session:
        found = await outcome(session, tool)
    return result_of(found)


async def posted(call: bytes, tool: Tool, form: Callable[[bytes], bytes], **options: Any) -> Any:
    """The outcome of one call that is answered with a body."""

    def respond(message: dict[str, Any]) -> bytes:
        if message["method"] != "tools/call":
            return http_usual(message)
        return form(call.replace(b"ID", str(message["id"]).encode()))

    async with over_http(respond) as url, talking(url, **options) as talk:
        found = await outcome(talk.session, tool)
    return result_of(found)
