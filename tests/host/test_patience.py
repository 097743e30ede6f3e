"""Limits stand still while a debugger has stopped the program."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
from dagstack_dev.core.frames import is_at_prompt
from dagstack_dev.host.loop.limits import RunningClock, move_on_after, process_clock

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
    assert inside(path, name, lambda: is_at_prompt(this_frame()))


@pytest.mark.parametrize(("path", "name"), RUNNING.values(), ids=RUNNING.keys())
def test_code_that_only_looks_like_it_runs(path: str, name: str) -> None:
    assert not inside(path, name, lambda: is_at_prompt(this_frame()))


class Person:
    """Whose clock it is, and who may be at a prompt."""

    def __init__(self) -> None:
        self.now = 100.0
        self.is_at_prompt = False
        self.clock = RunningClock(lambda: self.now, lambda: self.is_at_prompt)


@pytest.fixture
def person() -> Person:
    return Person()


def test_time_at_a_prompt_does_not_count(person: Person) -> None:
    clock = person.clock
    clock.look()
    assert clock.now() == 100
    person.is_at_prompt = True
    person.now += 0.25
    assert clock.look()
    assert clock.now() == 100
    person.now += 3600
    assert clock.now() == 100


def test_time_counts_again_after_a_prompt(person: Person) -> None:
    clock = person.clock
    person.is_at_prompt = True
    clock.look()
    person.now += 60
    clock.look()
    person.is_at_prompt = False
    person.now += 0.25
    clock.look()
    person.now += 0.5
    assert clock.now() == 100.5
    clock.look_no_more()
    person.now += 60
    assert clock.now() == 160.5


def test_time_in_which_not_even_the_watchdog_ran_does_not_count(person: Person) -> None:
    clock = person.clock
    clock.look()
    person.now += 0.5
    assert clock.now() == 100.5
    person.now += 3600
    assert clock.now() == 101
    clock.look()
    assert clock.now() == 101


@contextmanager
def thread_at_a_prompt() -> Iterator[None]:
    """Have a thread wait as one in a debugger does, and the clock know of it."""
    has_begun, goes_on = threading.Event(), threading.Event()

    def wait() -> bool:
        has_begun.set()
        return goes_on.wait()

    thread = threading.Thread(target=inside, args=(*AT_A_PROMPT["pdb"], wait))
    thread.start()
    has_begun.wait()
    process_clock.look()
    try:
        yield
    finally:
        goes_on.set()
        thread.join()
        process_clock.look()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_limit_waits_for_running_time(backend: str) -> None:
    async def main() -> None:
        slept = False
        with ExitStack() as prompt:
            prompt.enter_context(thread_at_a_prompt())  # From here on time stands still.
            with move_on_after(0.01) as over:
                await anyio.lowlevel.checkpoint()
            with move_on_after(0.01) as scope:
                await anyio.sleep(0.1)
                slept = True
                prompt.close()
                await anyio.sleep_forever()
        assert slept
        assert scope.cancelled_caught
        assert not over.cancel_called

    try:
        anyio.run(main, backend=backend)
    finally:
        process_clock.look_no_more()


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


async def test_drains_calls_and_health_checks_wait_for_a_debugger_too(tree: PluginTree) -> None:
    go_on = anyio.Event()
    asked = tree.plugin("asked", code=BUSY)
    settings = {"drain_seconds": 0.02, "call_patience": 0.02, "health_timeout_seconds": 0.02}
    settings |= {"health_seconds": 0.01, "health_failures": 1000}
    async with serving(tree, extras={"go_on": go_on}, **settings) as live:
        await live.fact(PluginDegraded)  # Without a debugger it takes too long.
        async with anyio.create_task_group() as group:
            ended = anyio.Event()

            async def call() -> None:
                with suppress(PluginUnavailable):  # Unless the plugin is back before.
                    await live.plugin("asked").work()
                ended.set()

            with thread_at_a_prompt():
                live.forget()
                group.start_soon(live.plugin("asked").work)
                await anyio.wait_all_tasks_blocked()
                edit(asked / "plugin.py", "class", "# edited\nclass")
                await live.fact(ReloadStarted)
                group.start_soon(call)
                await anyio.sleep(0.2)  # Ten times as long as any of the limits.
                assert not ended.is_set()
                assert live.of(DrainTimedOut) == []
                assert live.of(PluginDegraded) == []
            await live.fact(DrainTimedOut)
            go_on.set()
            await ended.wait()
