"""The tools of MCP servers as methods of plugins, over real processes."""

from __future__ import annotations

import inspect
import json
from typing import Any

import anyio
import pytest
from mcp_servers import SDK_SERVER, mcp_plugin
from serving import Live, serving
from trees import PluginTree

from dagstack_dev.core.errors.remote import (
    ToolArgumentsInvalid,
    ToolError,
    ToolResultInvalid,
    ToolTimeout,
)
from dagstack_dev.host.loop.stacks import FORWARDER_FILE

Events = list[dict[str, Any]]


async def heard(events: Events, text: str) -> dict[str, Any]:
    """The first log event that holds `text`, waited for."""
    while True:
        for event in events:
            if text in event["event"]:
                return event
        await anyio.sleep(0.005)


async def test_a_server_of_the_sdk_with_all_that_it_offers(tree: PluginTree) -> None:
    mcp_plugin(tree, "calc", code=SDK_SERVER)
    async with serving(tree) as live:
        calc = live.plugin("calc", "tool")
        assert await calc.add(1, b=3) == 4
        assert await calc.add(a=1) == 3
        assert await calc.names("x") == ["xa", "xb"]
        assert await calc.execute({"one": 1}) == {"one": 1}
        assert await calc.call_tool("tool.calc.execute", {"args": {"two": 2}}) == {"two": 2}
        with pytest.raises(ToolError, match="tool/calc: refuse failed: ValueError: no") as caught:
            await calc.refuse("no")
        assert (caught.value.tool, caught.value.type_name) == ("refuse", "ValueError")
        resources = {each.uri: each.name for each in await calc.list_resources()}
        assert resources == {"calc://pi": "pi", "calc://digits/{number}": "digits"}
        assert await calc.read_resource("calc://pi") == "3.14"
        assert await calc.read_resource("calc://digits/12") == b"12"
        with pytest.raises(ToolError, match="reading calc://nothing failed"):
            await calc.read_resource("calc://nothing")
        (prompt,) = await calc.list_prompts()
        assert (prompt.name, prompt.arguments) == ("explain", {"topic": True})
        (message,) = await calc.get_prompt("explain", topic="pi")
        assert message == {"role": "user", "content": {"type": "text", "text": "Explain pi."}}


async def test_a_method_says_what_the_server_says_of_the_tool(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        assert str(inspect.signature(odd.echo)) == "(text: str, times: int = 1)"
        assert inspect.iscoroutinefunction(odd.echo)
        assert odd.echo.__doc__ == "The tool echo."
        assert odd.tools["echo"].input_schema["required"] == ["text"]
        assert type(odd).__name__ == "Odd"
        with pytest.raises(ToolArgumentsInvalid, match="missing a required argument: 'text'"):
            await odd.echo()


async def test_a_tool_that_there_is_not(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        with pytest.raises(AttributeError, match=r"no tool 'eco'; did you mean 'echo'\?"):
            await odd.eco("x")
        with pytest.raises(ToolError, match=r"no such tool; did you mean 'echo'\?"):
            await odd.call_tool("eco")
        assert not hasattr(odd, "health")


async def test_names_that_can_be_no_method_are_called_by_name(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        assert await odd.call_tool("from", {"class": "x"}) == 'from {"class": "x"}'
        assert await odd.call_tool("setup") == "setup {}"


async def test_errors_of_the_protocol_keep_code_and_data(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        with pytest.raises(ToolError, match=r"QuotaExceeded: no more \(JSON-RPC error") as caught:
            await live.plugin("odd", "tool").fails("no more")
        error = caught.value
        assert (error.code, error.message) == (-32000, "no more")
        assert error.data == {"type": "QuotaExceeded"}


async def test_calls_do_not_wait_for_one_another(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live, anyio.create_task_group() as tasks:
        odd = live.plugin("odd", "tool")
        tasks.start_soon(odd.hang)
        await anyio.lowlevel.checkpoint()
        assert await odd.echo("x", 2) == "xx"
        tasks.cancel_scope.cancel()


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(odd.hang)
            await anyio.lowlevel.checkpoint()
            await odd.value()  # The pipe keeps the order: the server has been called.
            tasks.cancel_scope.cancel()
        while not json.loads(await odd.cancelled()):
            await anyio.sleep(0.005)


async def test_a_call_that_takes_too_long(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd", manifest="mcp_stdio = { timeout_sec = 1 }")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        with pytest.raises(ToolTimeout, match=r"no answer within 0.05 s.*mcp_stdio.timeout_sec"):
            await odd.call_tool("hang", timeout=0.05)
        with pytest.raises(TimeoutError, match="no answer within 1 s"):
            await odd.hang()
        while len(json.loads(await odd.cancelled())) < 2:
            await anyio.sleep(0.005)


async def test_progress_goes_to_the_log_or_to_who_asks(
    tree: PluginTree, captured_events: Events
) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        await odd.steps(2)
        event = await heard(captured_events, "steps: 2 of 2")
        assert event["plugin"] == "tool/odd"
        told: list[tuple[float, float | None]] = []
        done = anyio.Event()

        async def tell(step: float, total: float | None, _: str | None) -> None:
            told.append((step, total))
            if len(told) == 3:
                done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: odd.call_tool("steps", {"count": 3}, progress=tell))
            await done.wait()
        assert sorted(told) == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("level", "ours"),
    [("debug", "debug"), ("notice", "info"), ("warning", "warning"), ("emergency", "critical")],
)
async def test_what_a_server_logs_is_logged(
    tree: PluginTree, captured_events: Events, level: str, ours: str
) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        await live.plugin("odd", "tool").log(level, "low on ink")
        event = await heard(captured_events, "odd: low on ink")
        assert (event["log_level"], event["plugin"]) == (ours, "tool/odd")


async def test_tools_that_come_later_become_methods(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        odd = live.plugin("odd", "tool")
        await odd.learn("sing")
        while not hasattr(odd, "sing"):
            await anyio.sleep(0.005)
        assert await odd.sing("la") == 'sing {"text": "la"}'
        assert odd.sing.__code__.co_filename == FORWARDER_FILE, "calls wait at the gate"
        assert await odd.echo("x") == "x"


async def test_a_result_that_breaks_the_tools_own_word(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        with pytest.raises(
            ToolResultInvalid, match='size does not fit: "small" is not of type "integer"'
        ):
            await live.plugin("odd", "tool").lie()


async def test_dispatchers_may_pass_their_context(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with serving(tree) as live:
        assert await live.plugin("odd", "tool").echo(_context(live), "x", times=3) == "xxx"


def _context(live: Live) -> object:
    context = live.server.registry.runner.context
    assert context is not None
    return context


HASTY = """
import json, sys, threading

lists, held = [], []


def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def listing(number, *names):
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    say(id=number, result={"tools": tools})


def release():
    while held:
        listing(held.pop(), "change", "old")


for line in sys.stdin:
    message = json.loads(line)
    method, number = message["method"], message.get("id")
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "hasty", "version": "1"}}
        say(id=number, result={**result, "capabilities": {"tools": {"listChanged": True}}})
    elif method == "tools/list":
        lists.append(number)
        if "DURING" and len(lists) == 1:
            say(method="notifications/tools/list_changed")
        if len(lists) == 2 and not "DURING":
            held.append(number)
            say(method="notifications/tools/list_changed")
            threading.Timer(0.3, release).start()
        else:
            listing(number, "change", *(["new"] if len(lists) > 1 else []))
            release()
    elif method == "tools/call":
        say(method="notifications/tools/list_changed")
        say(id=number, result={"content": []})
"""


async def test_a_late_listing_does_not_replace_a_newer_one(tree: PluginTree) -> None:
    mcp_plugin(tree, "hasty", code=HASTY.replace("DURING", ""))
    async with serving(tree) as live:
        hasty = live.plugin("hasty", "tool")
        await hasty.change()
        while not hasattr(hasty, "new"):
            await anyio.sleep(0.005)
        with anyio.move_on_after(0.5):
            while hasattr(hasty, "new"):
                await anyio.sleep(0.05)
        assert hasattr(hasty, "new")


async def test_tools_that_are_new_while_they_are_first_listed_are_found(tree: PluginTree) -> None:
    mcp_plugin(tree, "hasty", code=HASTY)
    async with serving(tree) as live:
        hasty = live.plugin("hasty", "tool")
        while not hasattr(hasty, "new"):
            await anyio.sleep(0.005)
