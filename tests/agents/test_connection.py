"""The agents' server outlives the dev server: none there, there, gone, there again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import QUIET_START
from command_runs import CHECKOUT, GUARD_SECONDS, Watching, inherited
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


def test_ctrl_c_ends_it_though_it_waits_for_input(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", "mcp"],
        cwd=tmp_path,
        env=inherited() | CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=GUARD_SECONDS) == (b"", b"")
        assert process.returncode == 0


def test_it_ends_when_its_input_does_and_writes_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagstack_dev", "mcp"],
        cwd=tmp_path,
        env=inherited() | CHECKOUT,
        input="",
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
