"""The agents' server outlives the dev server: none there, there, gone, there again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import QUIET_START
from command_runs import GUARD_SECONDS, Watching
from mcp_clients import call, connected, door, refusal, tools
from trees import PluginTree

HOW = "start one there and leave it running: dagstack-dev watch plugins/"


@pytest.fixture
def start(tree: PluginTree, watch: Callable[..., Watching]) -> Callable[[], Watching]:
    tree.plugin("greeter", value="hello")

    def start() -> Watching:
        run = watch("plugins", "--log-format", "json", environment=QUIET_START)
        run.event("watch.started")
        return run

    return start


async def test_it_says_that_no_server_runs_and_finds_any_that_is_started_later(
    start: Callable[[], Watching], tree: PluginTree, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    needed: dict[str, dict[str, Any]] = {
        "reload": {"plugins": ["x/y"]},
        "call": {"plugin": "x/y", "method": "z"},
    }
    async with (
        connected("python-legacy", door(tmp_path)) as agent,
        connected("python", door(elsewhere, "--server", tree.root)) as other,
    ):
        for tool in {*await tools(agent)} - {"check", "docs", "run_tests", "why"}:
            problem = await refusal(agent, tool, **needed.get(tool, {}))
            assert problem == f"no dev server runs for {tmp_path}; {HOW}"
        first = start()
        for each in (agent, other):
            assert (await call(each, "status"))["server"]["pid"] == first.process.pid
        first.end()
        assert HOW in await refusal(agent, "status")
        second = start()
        assert (await call(agent, "wait_for_reload"))["is_current"]
        third = start()
        assert (await call(agent, "status"))["server"]["pid"] == third.process.pid
        third.process.kill()
        third.process.wait(GUARD_SECONDS)
        assert (await call(agent, "status"))["server"]["pid"] == second.process.pid


async def test_a_stopped_server_is_reported_however_long_its_answer_might_take(
    start: Callable[[], Watching], tmp_path: Path
) -> None:
    async with connected("python-legacy", door(tmp_path, "--expose", "all")) as agent:
        run = start()
        assert "demo__greeter__value" in await tools(agent)
        run.process.send_signal(signal.SIGSTOP)
        try:
            for tool in ("status", "demo__greeter__value"):  # A call of a plugin may take minutes.
                problem = await refusal(agent, tool)
                assert problem.endswith(
                    f"may be stopped, as by Ctrl-Z: kill -CONT {run.process.pid}"
                )
        finally:
            run.process.send_signal(signal.SIGCONT)
        assert (await call(agent, "status"))["is_current"]
