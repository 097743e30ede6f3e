"""How processes of plugins end: by themselves, by force, and with the app."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from command_runs import GUARD_SECONDS
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import PluginUnavailable, ProcessDied, State, TeardownTimeout
from dagstack_dev.core.events import (
    DrainTimedOut,
    PluginLeaked,
    ReloadCommitted,
    TeardownFailed,
    Transition,
)
from dagstack_dev.runtimes.process import remote

PROCESS = 'execution_model = "process_cpu_bound"\n'

CODE = """
import os

class Plugin:
    def value(self):
        return 1

    def pid(self):
        return os.getpid()

    def die(self):
        os._exit(3)
"""


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.fixture
def apart(tree: PluginTree) -> Path:
    """One plugin in a process of its own; its code."""
    return tree.plugin("apart", code=CODE, manifest=PROCESS) / "plugin.py"


async def test_a_process_that_dies_fails_its_calls_and_comes_back(
    tree: PluginTree, apart: Path
) -> None:
    async with serving(tree, retry_seconds=0.01) as live:
        plugin = live.plugin("apart")
        before = await plugin.pid()
        with pytest.raises(ProcessDied, match="exited with code 3"):
            await plugin.die()
        failed = await live.fact(Transition, lambda fact: fact.to_state is State.FAILED)
        assert isinstance(failed.error, ProcessDied)
        await live.fact(
            Transition,
            lambda fact: (
                fact.to_state is State.READY and live.facts.index(fact) > live.facts.index(failed)
            ),
        )
        assert await plugin.pid() != before


FORKS = """
import ctypes, os, signal

class Plugin:
    def setup(self, ctx):
        if not {fork}():
            signal.pause()

    def value(self):
        return 1

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
async def test_a_process_that_dies_is_noticed_though_a_child_of_it_lives_on(
    tree: PluginTree, fork: str
) -> None:
    tree.plugin("apart", code=FORKS.format(fork=fork), manifest=PROCESS)
    async with serving(tree, retry_seconds=0) as live:
        plugin = live.plugin("apart")
        assert await plugin.value() == 1
        with pytest.raises(ProcessDied, match="was killed by SIGKILL"):
            await plugin.die()
        await live.fact(Transition, lambda fact: fact.to_state is State.FAILED)


CALLS_AND_DIES_WITH_IT = """
class Plugin:
    def setup(self, ctx):
        self.apart = ctx.registry.get_plugin("demo", name="apart")
        self.extras = ctx.extras
        ctx.start_soon(self.work)

    async def work(self):
        if "reloaded" not in self.extras:
            self.extras["reloaded"] = True
            await self.apart.die()
"""


@pytest.mark.usefixtures("idle_at_once")
async def test_a_death_leaves_nothing_of_its_callers_and_of_itself(
    tree: PluginTree, apart: Path
) -> None:
    tree.plugin("user", code=CALLS_AND_DIES_WITH_IT, depends_on=["apart"])
    async with serving(tree, retry_seconds=0.01) as live:
        await live.fact(ReloadCommitted)
        seen: list[PluginLeaked] = []
        live.server.registry.observe(
            lambda fact: seen.append(fact) if isinstance(fact, PluginLeaked) else None
        )
        live.forget()  # For facts hold errors, and these what has failed.
        await live.looked_for_leaks()
        assert live.states == {"apart": "ready", "user": "ready"}
        assert seen == []


async def test_a_process_that_is_killed_is_noticed_at_once(tree: PluginTree, apart: Path) -> None:
    tree.plugin("user", depends_on=["apart"])
    async with serving(tree, retry_seconds=0) as live:
        os.kill(await live.plugin("apart").pid(), signal.SIGKILL)
        await live.fact(
            Transition, lambda fact: fact.ref.name == "apart" and fact.to_state is State.FAILED
        )
        error = live.status("apart").error
        assert str(error) == "demo/apart: its process was killed by SIGKILL"
        assert not hasattr(error, "__notes__")  # It needs none: no task of the plugin raised it.
        with pytest.raises(PluginUnavailable):
            await live.plugin("apart").value()


STUCK = """
import subprocess
import sys
import time

VALUE = 1

class Plugin:
    def setup(self, ctx):
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        self.helper = subprocess.Popen(command)
        self.logger = ctx.logger

    def pids(self):
        import os
        return os.getpid(), self.helper.pid

    def hang(self):
        self.logger.info("hanging")
        while True:
            time.sleep(0.01)

    def value(self):
        return VALUE
"""


async def hanging(events: list[structlog.typing.EventDict]) -> None:
    """Wait until the process has begun with `hang`."""
    while not any(each["event"] == "hanging" for each in events):
        await anyio.sleep(0.001)


async def gone(*pids: int) -> None:
    """Wait until these processes have ended; init may take its time to collect them."""
    with anyio.fail_after(GUARD_SECONDS):
        while any(is_alive(pid) and not is_zombie(pid) for pid in pids):
            await anyio.sleep(0.01)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return False


async def test_a_method_that_hangs_is_ended_with_its_process_and_what_that_has_started(
    tree: PluginTree, captured_events: list[structlog.typing.EventDict]
) -> None:
    manifest = PROCESS + "teardown_timeout_sec = 1\n"
    code = tree.plugin("stuck", code=STUCK, manifest=manifest) / "plugin.py"
    caught: list[BaseException] = []

    async def call(plugin: Any) -> None:
        try:
            await plugin.hang()
        except PluginUnavailable as error:
            caught.append(error)

    async with serving(tree, drain_seconds=0.05) as live, anyio.create_task_group() as group:
        plugin = live.plugin("stuck")
        pids = await plugin.pids()
        group.start_soon(call, plugin)
        await hanging(captured_events)
        edit(code, "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert await plugin.value() == 2
        await gone(*pids)
        [overdue] = live.of(TeardownFailed)
        assert isinstance(overdue.error, TeardownTimeout)
        assert overdue.error.path is None  # No line of ours, and none of our libraries.
        assert "held up by teardown(), which waits for hang();" in str(overdue.error)
        assert [fact.places for fact in live.of(DrainTimedOut)] == [()]
    assert ["torn down before the call had ended" in str(each) for each in caught] == [True]


BUSY_BESIDES = """
import asyncio, time

class Plugin:
    async def wait(self):
        await asyncio.sleep(600)

    def teardown(self):
        time.sleep(600)
"""


async def test_a_teardown_that_hangs_by_itself_waits_for_no_call(tree: PluginTree) -> None:
    manifest = PROCESS + "teardown_timeout_sec = 1\n"
    tree.plugin("stuck", code=BUSY_BESIDES, manifest=manifest)

    async def call(plugin: Any) -> None:
        with pytest.raises(PluginUnavailable):
            await plugin.wait()

    async with serving(tree, drain_seconds=0.05) as live, anyio.create_task_group() as group:
        group.start_soon(call, live.plugin("stuck"))
        await anyio.wait_all_tasks_blocked()
        await live.server.reload(("demo", "stuck"))
        [overdue] = live.of(TeardownFailed)
        assert "held up by teardown();" in str(overdue.error)


HANGS_IN_IT = """
class Plugin:
    def setup(self, ctx):
        self.stuck = ctx.registry.get_plugin("demo", name="stuck")
        ctx.start_soon(self.work)

    async def work(self):
        await self.stuck.hang()
"""


async def test_a_plugin_that_hangs_in_it_can_be_torn_down_without_it(
    tree: PluginTree,
    monkeypatch: pytest.MonkeyPatch,
    captured_events: list[structlog.typing.EventDict],
) -> None:
    monkeypatch.setattr(remote, "ABANDON_SECONDS", 0.05)
    manifest = "teardown_timeout_sec = 1\n"
    code = tree.plugin("stuck", code=STUCK, manifest=PROCESS + manifest) / "plugin.py"
    tree.plugin("user", code=HANGS_IN_IT, depends_on=["stuck"], manifest=manifest)
    async with serving(tree, drain_seconds=0.05) as live:
        await hanging(captured_events)
        edit(code, "time.sleep(0.01)", "break")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert [fact.ref.name for fact in live.of(TeardownFailed)] == ["stuck"]


HOST = """
import os, signal, sys
import anyio, structlog
from dagstack_dev import PluginContext, PluginRegistry

async def main():
    registry = PluginRegistry(observer=lambda fact: None).discover(sys.argv[1])
    ctx = PluginContext(config={}, logger=structlog.get_logger(), registry=registry)
    await registry.setup_all(ctx)
    print(*await registry.get_plugin("demo", "stuck").pids(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


async def test_the_process_ends_when_the_app_is_killed(tree: PluginTree) -> None:
    tree.plugin("stuck", code=STUCK, manifest=PROCESS)
    command = [sys.executable, "-c", HOST, str(tree.root)]
    done = await anyio.run_process(command, check=False, stderr=None)
    assert done.returncode == -signal.SIGKILL
    await gone(*map(int, done.stdout.split()))
