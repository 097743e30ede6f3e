"""Servers that die, stay silent or say something else than MCP, and what a person is told."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest
from mcp_servers import is_running, mcp_plugin
from serving import edit, ref, serving
from trees import PluginTree

from dagstack_dev.core.errors.remote import (
    HandshakeFailed,
    HandshakeTimeout,
    ServerExited,
    ServerLost,
)
from dagstack_dev.core.events import Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.runtimes.mcp.server_log import LONGEST_LINE

Events = list[dict[str, Any]]

NO_RETRIES: dict[str, Any] = {"retry_seconds": 3600, "retry_limit_seconds": 3600}


def failed(fact: Transition) -> bool:
    return fact.to_state is State.FAILED


async def heard(events: Events, text: str) -> dict[str, Any]:
    while True:
        for event in events:
            if text in event["event"]:
                return event
        await anyio.sleep(0.005)


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exited with code 3"), (0, "exited with code 0"), (-11, "was killed by SIGSEGV")],
)
async def test_a_server_that_dies_takes_its_plugin_and_those_above_down(
    tree: PluginTree, code: int, words: str
) -> None:
    mcp_plugin(tree, "server")
    tree.plugin("above", depends_on=["server"])
    async with serving(tree, **NO_RETRIES) as live:
        with pytest.raises(ServerExited, match=words) as caught:
            await live.plugin("server", "tool").die(code)
        assert caught.value.returncode == code
        assert caught.value.last_words == ("about to die",)
        fact = await live.fact(Transition, failed)
        assert isinstance(fact.error, ServerExited)
        assert f"the process of its server {words}" in str(fact.error)
        assert "about to die" in str(fact.error)
        await live.fact(Transition, lambda fact: fact.to_state is State.BLOCKED)
        assert live.states == {"server": "failed", "above": "blocked"}


async def test_a_server_that_died_is_started_again(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree, retry_seconds=0.01) as live:
        server = live.plugin("server", "tool")
        live.forget()
        with pytest.raises(ServerLost):
            await server.die(1)
        await live.fact(Transition, lambda fact: fact.to_state is State.READY)
        assert await server.value() == "1"


async def test_a_server_that_closes_its_output_is_lost_though_it_runs(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree, **NO_RETRIES) as live:
        server = live.plugin("server", "tool")
        pid = int(await server.pid())
        with pytest.raises(ServerLost, match="has closed its input or output"):
            await server.close()
        await live.fact(Transition, failed)
    assert not is_running(pid)


async def test_a_traceback_at_the_start_is_shown(tree: PluginTree) -> None:
    mcp_plugin(tree, "server", "--crash")
    async with serving(tree, **NO_RETRIES) as live:
        error = live.status("server", "tool").error
        assert isinstance(error, ServerExited)
        assert "exited with code 1; the end of its standard error:" in str(error)
        assert "RuntimeError: no database" in error.last_words


async def test_a_server_that_ends_at_once(tree: PluginTree) -> None:
    mcp_plugin(tree, "server", "--exit", "0")
    async with serving(tree, **NO_RETRIES) as live:
        error = live.status("server", "tool").error
        assert str(error) == "tool/server: the process of its server exited with code 0"


async def test_a_server_that_never_answers(tree: PluginTree) -> None:
    mcp_plugin(tree, "server", "--silent", manifest="startup_timeout_sec = 1")
    async with serving(tree, **NO_RETRIES) as live:
        error = live.status("server", "tool").error
        assert isinstance(error, HandshakeTimeout)
        assert "did not answer the MCP handshake within 1 s" in str(error)


async def test_a_server_of_an_unknown_version(tree: PluginTree) -> None:
    mcp_plugin(tree, "server", "--old", "1999-01-01")
    async with serving(tree, **NO_RETRIES) as live:
        error = live.status("server", "tool").error
        assert isinstance(error, HandshakeFailed)
        assert "Unsupported protocol version from the server: 1999-01-01" in str(error)


async def test_a_program_that_speaks_something_else(
    tree: PluginTree, captured_events: Events
) -> None:
    code = """
    print("Usage: server PORT", flush=True)
    input()
    print('{"jsonrpc": "2.0", "id": 1, "result": {"hello": "you"}}', flush=True)
    input()
    """
    mcp_plugin(tree, "server", code=code)
    async with serving(tree, **NO_RETRIES) as live:
        error = live.status("server", "tool").error
        assert isinstance(error, HandshakeFailed)
        assert "the MCP handshake failed: " in str(error)
        event = await heard(captured_events, "Usage: server PORT")
        assert event["log_level"] == "warning"
        assert "standard output belongs to the protocol" in event["event"]


async def test_what_is_printed_among_messages_does_no_harm(
    tree: PluginTree, captured_events: Events
) -> None:
    mcp_plugin(tree, "server", "--babble")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        await server.print("debugging...")
        assert (await heard(captured_events, "debugging..."))["plugin"] == "tool/server"
        await server.garble()
        await heard(captured_events, "\ufffd\ufffd")
        await heard(captured_events, "caf\ufffd")
        await server.print("dump " + "x" * LONGEST_LINE)
        event = (await heard(captured_events, "dump "))["event"]
        assert "print to standard error instead" in event
        assert re.search(r"dump x+\.\.\. \(\d+ characters\)$", event)
        assert await server.value() == "1"


async def test_standard_error_is_logged_line_by_line(
    tree: PluginTree, captured_events: Events
) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        await server.complain("one\n\ntwo")
        first, second = await heard(captured_events, "one"), await heard(captured_events, "two")
        assert (first["event"], second["event"]) == ("one", "two")
        assert (first["log_level"], first["plugin"]) == ("info", "tool/server")


async def test_a_flood_of_standard_error_stops_nothing(
    tree: PluginTree, captured_events: Events
) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        await server.flood(2000)
        last = await heard(captured_events, "1999 xxx")
        assert last["event"].endswith("... (5005 characters)")
        assert await server.value() == "1"


async def test_a_call_that_outlives_the_drain_learns_why_it_ends(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    errors: list[Exception] = []
    async with serving(tree, drain_seconds=0.05) as live, anyio.create_task_group() as tasks:
        server = live.plugin("server", "tool")

        async def call() -> None:
            try:
                await server.hang()
            except ServerLost as error:
                errors.append(error)

        tasks.start_soon(call)
        await anyio.lowlevel.checkpoint()
        await live.server.reload(ref("server", "tool"))
    assert [str(error) for error in errors] == ["tool/server: its server has been stopped"]


async def test_a_script_that_is_ignored_is_warned_of(
    tree: PluginTree, captured_events: Events
) -> None:
    folder = mcp_plugin(tree, "server")
    mcp_plugin(tree, "other")
    (folder / ".tox").mkdir()
    (folder / "server.py").rename(folder / ".tox/server.py")
    edit(folder / "dagstack.toml", "server.py", ".tox/server.py")
    async with serving(tree) as live:
        assert live.states == {"server": "ready", "other": "ready"}
    warned = [each["plugin"] for each in captured_events if "not noticed" in each["event"]]
    assert warned == ["tool/server"]


async def test_other_plugins_do_not_mind(tree: PluginTree) -> None:
    mcp_plugin(tree, "broken", "--exit", "1")
    mcp_plugin(tree, "server")
    async with serving(tree, **NO_RETRIES) as live:
        assert live.states == {"broken": "failed", "server": "ready"}
