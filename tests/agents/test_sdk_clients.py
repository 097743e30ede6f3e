"""What an agent does, by the official SDKs of MCP: their clients check answers by the schemas."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from asking import QUIET_START
from command_runs import GUARD_SECONDS, Watching
from mcp_clients import CLIENTS, Door, Refused, call, connected, door, refusal, tools
from mcp_servers import is_running
from trees import PluginTree

Start = Callable[[], Watching]

every_client = pytest.mark.parametrize("client", CLIENTS)

BROKEN_SETUP = """
class Plugin:
    def setup(self, ctx):
        raise RuntimeError("no database")
"""
HANGING = """
import asyncio, pathlib

class Plugin:
    async def setup(self, ctx):
        pathlib.Path("hangs").touch()
        await asyncio.Event().wait()
"""


@pytest.fixture
def start(tree: PluginTree, watch: Callable[..., Watching]) -> Start:
    """Start a server over `tree`, which has `demo/greeter` and what depends on it."""
    tree.plugin("greeter", value="hello")
    tree.plugin("user", depends_on=["greeter"])

    def start() -> Watching:
        run = watch("plugins", "--log-format", "json", environment=QUIET_START)
        run.event("watch.started")
        return run

    return start


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    with anyio.fail_after(GUARD_SECONDS):
        while not holds():
            await anyio.sleep(0.01)


def running(receipt: Any) -> dict[str, int]:
    """What goes on although something else is on disk."""
    return {name: number for each in receipt["wrong"] for name, number in each["running"].items()}


@every_client
async def test_an_edit_a_rejected_one_a_rolled_back_one_and_the_mend(
    client: str, start: Start, tree: PluginTree, tmp_path: Path
) -> None:
    start()
    async with connected(client, door(tmp_path)) as agent:
        assert "wait_for_reload" in agent.instructions
        listed = await tools(agent)
        assert {"status", "wait_for_reload"} <= {*listed}
        assert all(each["description"] for each in listed.values())
        before = await call(agent, "status")
        assert (before["is_current"], before["total"]) == (True, 2)

        tree.plugin("greeter", value="good evening")
        edited = await call(agent, "wait_for_reload")
        assert edited["is_current"]
        assert [each["changed"] for each in edited["reloads"]] == [["demo/greeter"]]

        tree.plugin("greeter", code="def (")
        rejected = await call(agent, "wait_for_reload")
        assert [each["error"]["type"] for each in rejected["wrong"]] == ["SyntaxError"]
        assert running(rejected) == {"demo/greeter": 2}

        tree.plugin("greeter", code=BROKEN_SETUP)
        rolled_back = await call(agent, "wait_for_reload")
        assert [each["outcome"] for each in rolled_back["reloads"]] == ["rolled_back"]
        assert [each["error"]["message"] for each in rolled_back["wrong"]] == ["no database"]
        assert running(rolled_back) == {"demo/greeter": 2}

        tree.plugin("greeter", value="mended")
        assert (await call(agent, "wait_for_reload"))["is_current"]


@every_client
async def test_a_session_outlives_servers_that_come_and_are_killed(
    client: str, start: Start, tree: PluginTree, tmp_path: Path
) -> None:
    async with connected(client, door(tmp_path)) as agent:
        names = {*(await tools(agent))}
        assert "no dev server runs" in await refusal(agent, "status")

        first = start()
        assert (await call(agent, "status"))["server"]["pid"] == first.process.pid
        said: list[str] = []

        async def wait() -> None:
            said.append(await refusal(agent, "wait_for_reload"))

        def heard() -> None:
            first.event("agent.asked", tool="wait_for_reload")

        tree.plugin("user", code=HANGING)
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await to_thread.run_sync(heard)
            await until((tmp_path / "hangs").exists)
            first.process.kill()
        first.process.wait(GUARD_SECONDS)
        assert said[0].startswith(f"the dev server (pid {first.process.pid}) does not answer")
        assert "no dev server runs" in await refusal(agent, "wait_for_reload")

        tree.plugin("user")
        second = start()
        assert (await call(agent, "wait_for_reload"))["is_current"]
        assert (await call(agent, "status"))["server"]["pid"] == second.process.pid
        assert {*(await tools(agent))} == names


NOTING = """
import os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@every_client
async def test_nothing_is_left_of_it_when_the_client_closes(
    client: str, start: Start, tmp_path: Path
) -> None:
    start()
    ours, pid = door(tmp_path), tmp_path / "pid"
    command = (sys.executable, "-c", NOTING, str(pid), *ours.command)
    async with connected(client, Door(command, ours.cwd, ours.log)) as agent:
        await call(agent, "status")
        assert is_running(int(pid.read_text()))
    await until(lambda: not is_running(int(pid.read_text())))
    assert ours.log.read_text() == ""


@every_client
async def test_one_that_may_only_read_has_no_tool_that_changes_anything(
    client: str, start: Start, tmp_path: Path
) -> None:
    start()
    async with connected(client, door(tmp_path)) as agent:
        all_tools = await tools(agent)
    async with connected(client, door(tmp_path, "--read-only")) as agent:
        left = await tools(agent)
        changing = {*all_tools} - {*left}
        assert changing == {"reload", "call", "run_tests"}
        assert all(each["annotations"]["readOnlyHint"] for each in left.values())
        for tool in changing:
            with pytest.raises(Refused, match=f"there is no tool '{tool}'"):
                await agent.ask("call_tool", name=tool, arguments={})
        assert (await call(agent, "wait_for_reload"))["is_current"]
