"""Plugins in processes of their own under the dev server: reloads, roll-backs, deaths."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import ManifestInvalid, State
from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.events import (
    PluginLeaked,
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    TeardownFailed,
)

pytestmark = pytest.mark.usefixtures("imports_forgotten")

PROCESS = 'execution_model = "process_cpu_bound"\n'

CODE = """
import os

VALUE = 1

class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
        ctx.carry["setups"] = ctx.carry.get("setups", 0) + 1
        if VALUE == "bad":
            raise RuntimeError("not with me")

    def value(self):
        return VALUE

    def pid(self):
        return os.getpid()

    def setups(self):
        return self.ctx.carry["setups"]
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


async def test_it_runs_elsewhere_and_ends_with_the_server(tree: PluginTree, apart: Path) -> None:
    async with serving(tree) as live:
        pid = await live.plugin("apart").pid()
        assert pid != os.getpid()
        assert live.module("apart") is None
    assert not is_alive(pid)


async def test_a_reload_replaces_the_process(tree: PluginTree, apart: Path) -> None:
    async with serving(tree) as live:
        plugin = live.plugin("apart")
        before = await plugin.pid()
        edit(apart, "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert await plugin.value() == 2
        assert await plugin.pid() != before
        assert not is_alive(before)
        assert live.status("apart").generation == 2


async def test_what_it_carries_goes_from_one_process_to_the_next(
    tree: PluginTree, apart: Path
) -> None:
    async with serving(tree) as live:
        edit(apart, "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert await live.plugin("apart").setups() == 2
        edit(apart, "VALUE = 2", "VALUE = 'bad'")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert await live.plugin("apart").setups() == 4  # That of the new one counts too.


async def test_a_setup_that_fails_is_rolled_back_to_a_process_of_the_old_code(
    tree: PluginTree, apart: Path
) -> None:
    async with serving(tree) as live:
        edit(apart, "VALUE = 1", "VALUE = 'bad'")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert await live.plugin("apart").value() == 1
        assert live.status("apart").pending
        error = live.status("apart").error
        assert isinstance(error, RuntimeError)
        assert [(each.path, each.function) for each in plugin_frames(error)] == [
            (str(apart), "Plugin.setup")
        ]


async def test_code_that_does_not_compile_is_rejected(tree: PluginTree, apart: Path) -> None:
    async with serving(tree) as live:
        before = await live.plugin("apart").pid()
        edit(apart, "VALUE = 1", "VALUE = (")
        await live.settle()
        assert [each.ref and each.ref.name for each in live.of(PluginRejected)] == ["apart"]
        assert await live.plugin("apart").pid() == before


async def test_a_call_during_a_reload_is_answered_by_the_new_process(
    tree: PluginTree, apart: Path
) -> None:
    answers: list[Any] = []

    async def keep_calling(plugin: Any, stop: anyio.Event) -> None:
        while not stop.is_set():
            answers.append(await plugin.value())

    async with serving(tree) as live, anyio.create_task_group() as group:
        stop = anyio.Event()
        group.start_soon(keep_calling, live.plugin("apart"), stop)
        edit(apart, "VALUE = 1", "VALUE = 2")
        await live.settle()
        stop.set()
    assert set(answers) == {1, 2}
    assert answers == sorted(answers)


async def test_an_edit_of_shared_code_reaches_it(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    code = (
        "from helpers.words import WORD\nclass Plugin:\n    def value(self):\n        return WORD\n"
    )
    tree.plugin("apart", code=code, manifest=PROCESS)
    tree.plugin("near", code=code)
    tree.plugin("stranger")
    async with serving(tree) as live:
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.affected == {"apart", "near"}
        assert await live.plugin("apart").value() == live.plugin("near").value() == "new"


async def test_shared_code_that_was_missing_is_awaited(tree: PluginTree) -> None:
    code = "import words\nclass Plugin:\n    def value(self):\n        return words.WORD\n"
    tree.plugin("apart", code=code, manifest=PROCESS)
    async with serving(tree) as live:
        assert live.state("apart") is State.FAILED
        tree.write("words.py", "WORD = 'here'\n")
        await live.settle()
        assert await live.plugin("apart").value() == "here"


async def test_a_change_of_the_model_moves_it(tree: PluginTree, apart: Path) -> None:
    manifest = apart.parent / "dagstack.toml"
    async with serving(tree) as live:
        plugin = live.plugin("apart")
        edit(manifest, "process_cpu_bound", "sync")
        await live.settle()
        assert plugin.pid() == os.getpid()
        edit(manifest, "sync", "thread_cpu_bound")
        await live.settle()
        assert await plugin.pid() == os.getpid()
        edit(manifest, "thread_cpu_bound", "process_cpu_bound")
        await live.settle()
        assert await plugin.pid() != os.getpid()


IN_THREAD = """
VALUE = 1

class Plugin:
    async def setup(self, ctx):
        if VALUE == 2:
            ctx.extras["begun"].set()
            await ctx.extras["may_end"].wait()

    def value(self):
        return VALUE
"""


async def test_calls_that_wait_and_kept_methods_outlive_a_change_of_the_model(
    tree: PluginTree,
) -> None:
    begun, may_end = anyio.Event(), anyio.Event()
    folder = tree.plugin("it", code=IN_THREAD, manifest='execution_model = "thread_cpu_bound"\n')
    seen: list[object] = []
    async with serving(tree, extras={"begun": begun, "may_end": may_end}) as live:
        kept = live.plugin("it").value

        async def ask() -> None:
            seen.append(await kept())

        edit(folder / "dagstack.toml", "thread_cpu_bound", "sync")
        edit(folder / "plugin.py", "VALUE = 1", "VALUE = 2")
        async with anyio.create_task_group() as group:
            group.start_soon(live.settle)
            await begun.wait()
            group.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            assert not seen
            may_end.set()
        assert seen == [2]
        assert live.plugin("it").value() == await kept() == 2
        edit(folder / "dagstack.toml", "sync", "process_cpu_bound")
        edit(folder / "plugin.py", "VALUE = 2", "VALUE = 3")
        await live.settle()
        assert await kept() == 3


@pytest.mark.usefixtures("idle_at_once")
async def test_nothing_of_an_old_generation_is_left(tree: PluginTree, apart: Path) -> None:
    async with serving(tree) as live:
        plugin = live.plugin("apart")
        for value in (2, 3):
            edit(apart, f"VALUE = {value - 1}", f"VALUE = {value}")
            await live.server.wait_idle()
            assert await plugin.value() == value
        await live.looked_for_leaks()
    assert live.of(PluginLeaked) == []
    assert live.of(TeardownFailed) == []


async def test_a_manifest_is_checked_before_any_process_starts(
    tree: PluginTree, apart: Path
) -> None:
    async with serving(tree) as live:
        edit(apart.parent / "dagstack.toml", "process_cpu_bound", "process")
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, ManifestInvalid)
        assert await live.plugin("apart").value() == 1


async def test_a_breakpoint_in_a_process_says_what_to_do(tree: PluginTree) -> None:
    code = "class Plugin:\n    def setup(self, ctx):\n        breakpoint()\n"
    tree.plugin("stopped", code=code, manifest=PROCESS)
    async with serving(tree) as live:
        assert "no terminal" in str(live.status("stopped").error)
        assert "dagstack-dev docs debugging" in str(live.status("stopped").error)


async def test_a_debugger_in_a_process_stops_the_time_of_its_setup(tree: PluginTree) -> None:
    folder = tree.plugin(
        "stopped",
        code="""
        from .pydevd import do_wait_suspend
        class Plugin:
            def setup(self, ctx):
                do_wait_suspend(6.5)
        """,
        manifest=PROCESS + "startup_timeout_sec = 6\n",
    )
    tree.write(folder / "pydevd.py", "from time import sleep\ndef do_wait_suspend(s): sleep(s)\n")
    async with serving(tree) as live:
        assert live.states == {"stopped": "ready"}
