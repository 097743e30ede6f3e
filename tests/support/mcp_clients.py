"""Clients with the official SDKs of MCP, in Python and in JavaScript, which tests drive alike."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import httpx2
import pytest
from command_runs import CHECKOUT, GUARD_SECONDS
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_to_notification
from node_packages import needs_javascript_client

JAVASCRIPT = Path(__file__).with_name("javascript") / "client.mjs"

on_one_python = pytest.mark.skipif(
    sys.version_info[:2] != (3, 13), reason="it takes long and is the same on every Python"
)
"""Runs a test on the first of the Pythons that `scripts/test` looks for, and on no other."""

CLIENTS: Final = [
    pytest.param("python", id="python", marks=on_one_python),
    pytest.param("python-legacy", id="python-legacy"),
    pytest.param("javascript", id="javascript", marks=[on_one_python, needs_javascript_client]),
]
"""Kinds of clients: by the newest protocol, and by the one that begins with `initialize`."""

TOOLS_CHANGED: Final = "notifications/tools/list_changed"


class Refused(Exception):
    """The server has answered with a JSON-RPC error."""


@dataclass(frozen=True)
class Door:
    """Where a client connects: a command that it starts, or an address.

    Attributes:
        command: of a process that speaks MCP over its standard input and output.
        cwd: where it runs.
        log: the file that its standard error goes to.
        url: of a server.
        headers: of each request to it.
    """

    command: Sequence[str] = ()
    cwd: Path = Path()
    log: Path = Path(os.devnull)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def door(folder: Path, *options: str | Path) -> Door:
    """`dagstack-dev mcp` with these options, as a host starts it in `folder`."""
    command = (sys.executable, "-m", "dagstack_dev", "mcp", *map(str, options))
    return Door(command, folder, folder / "door.log")


class Agent(Protocol):
    """A connected client. Answers are JSON as in the protocol, whatever the SDK makes of it."""

    instructions: str

    async def ask(self, method: str, **parameters: Any) -> Any:
        """Call a method of the SDK's client, such as `call_tool`.

        Raises:
            Refused: the server has answered with an error of the protocol.
        """

    async def notified(self, method: str) -> None:
        """Wait for a notification that no earlier call of this has waited for."""


async def tools(agent: Agent) -> dict[str, Any]:
    """What `tools/list` has, by name."""
    return {each["name"]: each for each in (await agent.ask("list_tools"))["tools"]}


async def call(agent: Agent, tool: str, /, **arguments: Any) -> Any:
    """Call a tool, which must not fail; the structured content."""
    answer = await agent.ask("call_tool", name=tool, arguments=arguments)
    assert not answer.get("isError"), answer
    return answer["structuredContent"]


async def refusal(agent: Agent, tool: str, /, **arguments: Any) -> str:
    """Call a tool, which must fail; what it says of that."""
    answer = await agent.ask("call_tool", name=tool, arguments=arguments)
    assert answer.get("isError"), answer
    return text(answer)


def text(answer: Any) -> str:
    """All of the text of what a tool has answered."""
    return "\n".join(each["text"] for each in answer["content"] if each["type"] == "text")


@asynccontextmanager
async def connected(kind: str, to: Door) -> AsyncIterator[Agent]:
    """A client of one of the kinds of `CLIENTS`, connected and, at the end, closed."""
    if kind == "javascript":
        async with _javascript(to) as agent:
            yield agent
        return
    async with AsyncExitStack() as stack:
        inbox = _Inbox()
        client = await stack.enter_async_context(
            Client(
                _transport(to, stack),
                mode="legacy" if kind == "python-legacy" else "auto",
                # By the newest protocol, `_listen` hears them, and this would, too.
                message_handler=inbox.take if kind == "python-legacy" else None,
            )
        )
        changing = client.server_capabilities.tools
        if kind == "python" and changing and changing.list_changed:
            await _listen(client, inbox, stack)
        yield _Python(client, inbox)


# --- Python -----------------------------------------------------------------------------------


def _transport(to: Door, stack: AsyncExitStack) -> Any:
    if to.url:
        client = httpx2.AsyncClient(headers=dict(to.headers), timeout=GUARD_SECONDS)
        stack.push_async_callback(client.aclose)
        return streamable_http_client(to.url, http_client=client)
    program, *arguments = to.command
    server = StdioServerParameters(command=program, args=arguments, cwd=to.cwd, env=_environment())
    return stdio_client(server, stack.enter_context(to.log.open("a")))


def _environment() -> dict[str, str]:
    """What a host hands on to a server, beside the few variables that the SDKs do."""
    return CHECKOUT | {"XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", "")}


async def _listen(client: Client, inbox: _Inbox, stack: AsyncExitStack) -> None:
    """By the newest protocol, whatever changes is told to those alone who have asked for it."""
    changes = await stack.enter_async_context(
        client.listen(
            tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True
        )
    )

    async def forward() -> None:
        async for event in changes:
            await inbox.put(event_to_notification(event, {}).method)

    group = await stack.enter_async_context(anyio.create_task_group())
    group.start_soon(forward)
    stack.callback(group.cancel_scope.cancel)


class _Inbox:
    """The notifications that have come."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._arrived = asyncio.Condition()

    async def put(self, method: str) -> None:
        async with self._arrived:
            self._waiting.append(method)
            self._arrived.notify_all()

    async def take(self, message: Any) -> None:
        if method := getattr(message, "method", ""):
            await self.put(method)

    async def get(self, method: str) -> None:
        async with asyncio.timeout(GUARD_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: method in self._waiting)
            self._waiting.remove(method)

    def count(self, method: str) -> int:
        return self._waiting.count(method)


class _Python:
    def __init__(self, client: Client, inbox: _Inbox) -> None:
        self.instructions = client.instructions or ""
        self._client = client
        self._inbox = inbox
        self.notified = inbox.get

    async def ask(self, method: str, **parameters: Any) -> Any:
        try:
            answer = await getattr(self._client, method)(**parameters)
        except MCPError as error:
            raise Refused(str(error)) from error
        return answer.model_dump(mode="json", by_alias=True, exclude_none=True)


# --- JavaScript -------------------------------------------------------------------------------


@asynccontextmanager
async def _javascript(to: Door) -> AsyncIterator[Agent]:
    program, *arguments = to.command or ("",)
    given: dict[str, Any] = {"command": program, "args": arguments, "cwd": str(to.cwd)}
    given |= {"env": _environment()}
    if to.url:
        given = {"url": to.url, "headers": dict(to.headers)}
    with to.log.open("a") as log:
        process = await asyncio.create_subprocess_exec(
            *("node", JAVASCRIPT, json.dumps(given)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=1 << 26,
        )
    agent = _JavaScript(process)
    reading = asyncio.create_task(agent.read())
    try:
        await agent.begin()
        yield agent
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await reading


class _JavaScript:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.instructions = ""
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {0: asyncio.Future()}
        self._inbox = _Inbox()
        self._numbers = count(1)
        self.notified = self._inbox.get

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                await self._inbox.put(message["method"])
        for left in self._answers.values():
            left.set_exception(EOFError("the client has ended"))

    async def begin(self) -> None:
        self.instructions = (await self._answer(0))["instructions"]

    async def ask(self, method: str, **parameters: Any) -> Any:
        first, *rest = method.split("_")
        number = next(self._numbers)
        self._answers[number] = asyncio.Future()
        name = first + "".join(map(str.capitalize, rest))
        request = {"id": number, "method": name, "params": parameters}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return await self._answer(number)

    async def _answer(self, number: int) -> Any:
        async with asyncio.timeout(GUARD_SECONDS):
            message = await self._answers[number]
        if "error" in message:
            raise Refused(message["error"]["message"])
        return message["result"]
