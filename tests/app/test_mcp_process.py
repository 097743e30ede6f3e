"""How the process of a server ends, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from command_runs import Watching
from mcp_servers import is_running, mcp_plugin
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.core.events import PluginLeaked, ReloadCommitted, Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.runtimes import process_groups
from dagstack_dev.runtimes.mcp import process


def left(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_running(pid)]


@pytest.mark.parametrize("option", ["--ignore-term", "--slow-eof"])
async def test_a_server_that_does_not_want_to_end_is_made_to(tree: PluginTree, option: str) -> None:
    options = ["--ignore-term", "--slow-eof"] if option == "--ignore-term" else [option]
    mcp_plugin(tree, "server", *options, manifest="teardown_timeout_sec = 2")
    async with serving(tree) as live:
        pid = int(await live.plugin("server", "tool").pid())
    assert left([pid]) == []
    assert live.state("server", "tool") is State.STOPPED


async def test_what_a_server_has_started_goes_with_it(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        pids = [int(await server.pid()), int(await server.child())]
        assert left(pids) == pids
        live.forget()
        edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
        await live.fact(ReloadCommitted)
        assert left(pids) == []


async def test_what_a_server_that_died_has_started_goes_too(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    async with serving(tree, retry_seconds=3600, retry_limit_seconds=3600) as live:
        server = live.plugin("server", "tool")
        child = int(await server.child())
        os.kill(int(await server.pid()), signal.SIGKILL)
        # The child holds the pipes open: only the end of the process itself can be noticed.
        failed = await live.fact(Transition, lambda fact: fact.to_state is State.FAILED)
        assert "was killed by SIGKILL" in str(failed.error)
        assert left([child]) == []


@pytest.mark.usefixtures("idle_at_once")
async def test_a_process_that_is_left_is_reported_as_a_leak(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_TERM_SECONDS", "_KILL_SECONDS"):
        monkeypatch.setattr(process, limit, 0.1)
    folder = mcp_plugin(tree, "server")
    async with serving(tree, leaks="warn") as live:
        pid = int(await live.plugin("server", "tool").pid())
        was_alive = process_groups.is_alive
        monkeypatch.setattr(
            process_groups, "is_alive", lambda group: group == pid or was_alive(group)
        )
        edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
        leak = await live.fact(PluginLeaked)
        assert f"process group {pid} (python server.py) is still alive" in str(leak)


async def test_a_setup_that_is_cancelled_leaves_no_process(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server", "--silent")
    edit(
        folder / "server.py",
        "Server(options).serve()",
        "open('pid', 'w').write(str(os.getpid())); Server(options).serve()",
    )
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            async with serving(tree):
                pass

        tasks.start_soon(run)
        while not (folder / "pid").exists() or not (folder / "pid").read_text():
            await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()
    assert left([int((folder / "pid").read_text())]) == []


BLOCKING = """
import time

class Plugin:
    async def setup(self, ctx):
        server = ctx.registry.get_plugin("tool", "server")
        ctx.logger.info("process", pid=int(await server.pid()), child=int(await server.child()))
        self.logger = ctx.logger

    def teardown(self):
        self.logger.info("blocking")
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass
"""


def test_a_second_ctrl_c_leaves_no_process_and_no_copy_of_its_files(
    tree: PluginTree, watch: Callable[..., Watching], tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    mcp_plugin(tree, "server", "--ignore-term", "--slow-eof")
    tree.plugin("stubborn", code=BLOCKING, depends_on=["server"])
    run = watch("plugins", environment={"TMPDIR": str(temporary)})
    event = run.event("process")
    run.event("watch.started")
    assert [*temporary.glob("dagstack-dev-copy-*")] != []
    run.send(signal.SIGINT)
    run.event("blocking")
    assert run.end(signal.SIGINT) == 130
    while left([event["pid"], event["child"]]):  # What is killed takes a moment to go.
        time.sleep(0.01)
    assert [*temporary.glob("dagstack-dev-copy-*")] == []


def test_a_server_ends_by_itself_when_we_are_killed(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    mcp_plugin(tree, "server")
    tree.plugin(
        "teller",
        code=BLOCKING.replace(", child=int(await server.child())", ""),
        depends_on=["server"],
    )
    run = watch("plugins")
    pid = run.event("process")["pid"]
    run.process.kill()
    run.process.wait()
    fd = os.pidfd_open(pid) if is_running(pid) else None
    if fd is not None:
        with os.fdopen(fd), anyio.from_thread.start_blocking_portal() as portal:
            portal.call(anyio.wait_readable, fd)
    assert left([pid]) == []


def test_the_command_shows_what_a_server_says(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    mcp_plugin(tree, "server", "--crash")
    run = watch("plugins")
    line = run.until(lambda line: "no database" in line and "plugin.failed" not in line)
    assert json.loads(line)["plugin"] == "tool/server"
    failed = run.event("plugin.failed")
    assert "RuntimeError: no database" in failed["error"]["message"]
