"""Limits stand still while a debugger has stopped the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import anyio
import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import PluginUnavailable, State
from dagstack_dev.core.events import (
    DrainTimedOut,
    PluginBlocking,
    PluginDegraded,
    ReloadStarted,
    TeardownFailed,
)
from dagstack_dev.host.loop import limits

LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120 - as the names of files are

AT_A_PROMPT = {
    "pdb": (f"{LIBRARY}/bdb.py", "trace_dispatch"),
    "pdb after an exception": (f"{LIBRARY}/pdb.py", "interaction"),
    "ipdb": ("/site-packages/IPython/terminal/debugger.py", "cmdloop"),
    "debugpy": ("/x/debugpy/_vendored/pydevd/pydevd.py", "_do_wait_suspend"),
    "PyCharm": ("/x/pycharm/plugins/python/helpers/pydev/pydevd.py", "do_wait_suspend"),
    "a console": (f"{LIBRARY}/code.py", "interact"),
    "IPython.embed": ("/site-packages/IPython/terminal/embed.py", "mainloop"),
}
RUNNING = {
    "python -m pdb": (f"{LIBRARY}/bdb.py", "run"),
    "a plugin's own": ("/plugins/x/plugin.py", "interaction"),
    "a shell of a plugin's own": (f"{LIBRARY}/cmd.py", "cmdloop"),
    "a plugin's own main loop": ("/plugins/x/gui.py", "mainloop"),
}


def inside(path: str, name: str, function: Callable[[], bool]) -> bool:
    """Call `function` in a function of this name in such a file."""
    space: dict[str, Callable[[Callable[[], bool]], bool]] = {}
    exec(compile(f"def {name}(call):\n    return call()\n", path, "exec"), space)
    return space[name](function)


def this_frame() -> FrameType:
    return sys._getframe()


@pytest.mark.parametrize(("path", "name"), AT_A_PROMPT.values(), ids=AT_A_PROMPT.keys())
def test_a_thread_at_a_prompt_is_known_by_what_it_waits_in(path: str, name: str) -> None:
    assert inside(path, name, lambda: limits.is_at_prompt(this_frame()))


@pytest.mark.parametrize(("path", "name"), RUNNING.values(), ids=RUNNING.keys())
def test_code_that_only_looks_like_it_runs(path: str, name: str) -> None:
    assert not inside(path, name, lambda: limits.is_at_prompt(this_frame()))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is, in its only item."""
    now = [100.0]
    monkeypatch.setattr(limits, "monotonic", lambda: now[0])
    monkeypatch.setattr(limits, "_looks", limits._Looks())
    return now


def test_time_at_a_prompt_does_not_count(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.look()
    assert limits.running_time() == 100
    monkeypatch.setattr(limits, "is_at_prompt", lambda _: True)
    clock[0] += 0.25
    assert limits.look()
    assert limits.running_time() == 100
    clock[0] += 3600
    assert limits.running_time() == 100
    monkeypatch.undo()


def test_time_counts_again_after_a_prompt(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as prompt:
        prompt.setattr(limits, "is_at_prompt", lambda _: True)
        limits.look()
        clock[0] += 60
        limits.look()
    clock[0] += 0.25
    limits.look()
    clock[0] += 0.5
    assert limits.running_time() == 100.5
    limits.look_no_more()
    clock[0] += 60
    assert limits.running_time() == 160.5


def test_time_in_which_not_even_the_watchdog_ran_does_not_count(clock: list[float]) -> None:
    limits.look()
    clock[0] += 0.5
    assert limits.running_time() == 100.5
    clock[0] += 3600
    assert limits.running_time() == 101
    limits.look()
    assert limits.running_time() == 101


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_limit_waits_for_running_time(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [0.0, 0.0, 0.005, 1.0]

    async def main() -> None:
        monkeypatch.setattr(limits, "running_time", lambda: readings.pop(0) if readings else 1.0)
        with limits.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert readings == []
        with limits.move_on_after(0.01) as scope:
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.02)
        assert not scope.cancel_called

    anyio.run(main, backend=backend)


DEBUGGED = """
import io, pdb, time

class Person(io.StringIO):
    def readline(self):
        time.sleep(1.3)
        return "continue\\n"

class Plugin:
    {setup}
        pdb.Pdb(stdin=Person(), stdout=io.StringIO(), nosigint=True).set_trace()
        self.ctx = ctx
"""
LIMITS = "startup_timeout_sec = 1\nteardown_timeout_sec = 1\n"


async def test_no_limit_ends_what_a_debugger_has_stopped(tree: PluginTree) -> None:
    tree.plugin(
        "threaded",
        code=DEBUGGED.format(setup="def setup(self, ctx):"),
        manifest=LIMITS + "execution_model = 'thread_cpu_bound'\n",
    )
    tree.plugin("plain", code=DEBUGGED.format(setup="def setup(self, ctx):"), manifest=LIMITS)
    tree.plugin(
        "waiting",
        code="""
        import anyio
        class Plugin:
            async def setup(self, ctx):
                await anyio.sleep(0.2)
        """,
        manifest=LIMITS,
    )
    late = DEBUGGED.format(setup="def setup(self, ctx): self.ctx = ctx\n    def teardown(self):")
    tree.plugin("ending", code=late.replace("self.ctx = ctx\n", "pass\n"), manifest=LIMITS)
    async with serving(tree) as live:
        assert set(live.states.values()) == {"ready"}
    assert live.of(PluginBlocking) == []
    assert live.of(TeardownFailed) == []
    assert "ending" in live.reached(State.STOPPED)


BUSY = """
class Plugin:
    async def setup(self, ctx):
        self.go_on = ctx.extras["go_on"]
    async def health(self):
        await self.go_on.wait()
    async def work(self):
        await self.go_on.wait()
"""


async def test_drains_calls_and_health_checks_wait_for_a_debugger_too(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = anyio.Event()
    asked = tree.plugin("asked", code=BUSY)
    settings = {"drain_seconds": 0.02, "call_patience": 0.02, "health_timeout_seconds": 0.02}
    settings |= {"health_seconds": 0.01, "health_failures": 1000}
    async with serving(tree, extras={"go_on": go_on}, **settings) as live:
        await live.fact(PluginDegraded)  # Without a debugger it takes too long.
        monkeypatch.setattr(limits, "is_at_prompt", lambda _: True)
        limits.look()
        live.forget()
        async with anyio.create_task_group() as group:
            group.start_soon(live.plugin("asked").work)
            await anyio.wait_all_tasks_blocked()
            edit(asked / "plugin.py", "class", "# edited\nclass")
            await live.fact(ReloadStarted)
            ended = anyio.Event()

            async def call() -> None:
                with suppress(PluginUnavailable):  # Unless the plugin is back before.
                    await live.plugin("asked").work()
                ended.set()

            group.start_soon(call)
            await anyio.sleep(0.2)  # Ten times as long as any of the limits.
            assert not ended.is_set()
            assert live.of(DrainTimedOut) == []
            assert live.of(PluginDegraded) == []
            monkeypatch.undo()
            await live.fact(DrainTimedOut)
            go_on.set()
            await ended.wait()
