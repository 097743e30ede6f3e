"""A plugin that is stuck holds nobody else: its time is bounded, its line is named."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from textwrap import dedent

import anyio
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS
from serving import edit, ref, serving
from trees import PluginTree

from dagstack_dev import SetupTimeout, TeardownTimeout
from dagstack_dev.core.errors.life import Unfinished
from dagstack_dev.core.events import (
    DrainTimedOut,
    PluginBlocking,
    PluginBlockingEnded,
    ReloadCommitted,
    ReloadRolledBack,
    TeardownFailed,
)
from dagstack_dev.host.life.instance import PluginInstance

Run = Callable[[Callable[[], Awaitable[None]]], None]

SHORT = "startup_timeout_sec = 1\nteardown_timeout_sec = 1\n"
THREADED = SHORT + 'execution_model = "thread_cpu_bound"\n'


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's `main` on one of the event loops."""
    return partial(anyio.run, backend=request.param)


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cancelled and does not end is left behind soon: these tests are about just that."""
    monkeypatch.setattr(PluginInstance, "grace_seconds", 0.2)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What stuck threads wait for, so that they end with the test."""
    event = threading.Event()
    yield event
    event.set()


def line_of(path: Path, mark: str = "# here") -> Unfinished:
    """Where the line with `mark` is; `what` is left open."""
    lines = path.read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if mark in line]
    return Unfinished("", str(path), number)


def is_at(unfinished: Unfinished, place: Unfinished) -> bool:
    return (unfinished.path, unfinished.line) == (place.path, place.line)


ASYNC_SETUP = """
import anyio
class Plugin:
    async def setup(self, ctx):
        await wait()
async def wait():
    await anyio.sleep_forever()  # here
"""

THREADED_SETUP = """
class Plugin:
    def setup(self, ctx):
        ctx.extras["release"].wait()  # here
"""


@pytest.mark.parametrize(
    ("code", "manifest", "what"),
    [
        (ASYNC_SETUP, SHORT, "setup()"),
        (THREADED_SETUP, THREADED, "setup() in thread"),
    ],
    ids=["async", "in a thread"],
)
def test_a_setup_that_never_ends_is_given_up_and_rolled_back(
    tree: PluginTree,
    run: Run,
    release: threading.Event,
    code: str,
    manifest: str,
    what: str,
) -> None:
    async def main() -> None:
        tree.plugin("it", manifest=manifest)
        tree.plugin("other")
        async with serving(tree, extras={"release": release}) as live:
            live.forget()
            path = tree.write("it/plugin.py", code)
            rolled_back = await live.fact(ReloadRolledBack)
            (error,) = rolled_back.errors.values()
            assert isinstance(error, SetupTimeout)
            (unfinished,) = error.unfinished
            assert unfinished.what.startswith(what)
            assert is_at(unfinished, line_of(path))
            assert live.instance("it").value() == 1
            tree.plugin("other", value=2)
            await live.settle()
            assert live.plugin("other").value() == 2

    run(main)


def test_a_thread_that_never_ends_gives_its_place_among_the_worker_threads_back(
    tree: PluginTree, run: Run, release: threading.Event
) -> None:
    async def main() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 2  # The watcher has one of them.
        tree.plugin("it", manifest=THREADED, code=THREADED_SETUP)
        async with serving(tree, extras={"release": release}) as live:
            assert live.states == {"it": "failed"}
            tree.plugin("it")
            await live.settle()
            assert live.states == {"it": "ready"}

    run(main)


TEARDOWNS = {
    "asynchronous": """
import anyio
class Plugin:
    async def teardown(self):
        await anyio.sleep_forever()  # here
""",
    "swallowing": """
import anyio
class Plugin:
    def setup(self, ctx):
        self.release = ctx.extras["release"]
    async def teardown(self):
        while not self.release.is_set():
            try:
                await anyio.sleep(0.01)  # here
            except BaseException:
                pass
""",
    "in a thread": """
class Plugin:
    def setup(self, ctx):
        self.release = ctx.extras["release"]
    def teardown(self):
        self.release.wait()  # here
""",
    "a background task": """
import anyio
class Plugin:
    def setup(self, ctx):
        ctx.start_soon(self.follow, ctx.extras["release"])
    async def follow(self, release):
        with anyio.CancelScope(shield=True):
            while not release.is_set():
                await anyio.sleep(0.01)  # here
""",
    "a thread of its own": """
class Plugin:
    def setup(self, ctx):
        ctx.run_thread(self.follow, ctx.extras["release"])
    def follow(self, stop, release):
        release.wait()  # here
""",
    "a manager": """
from contextlib import asynccontextmanager
import anyio
class Plugin:
    async def setup(self, ctx):
        await ctx.enter_async(session())
@asynccontextmanager
async def session():
    yield
    await anyio.sleep_forever()  # here
""",
    "a callback": """
import anyio
class Plugin:
    def setup(self, ctx):
        ctx.callback(anyio.sleep, 0)
        ctx.callback(self.part)
    async def part(self):
        await anyio.sleep_forever()  # here
""",
}


@pytest.mark.parametrize("case", TEARDOWNS)
def test_what_does_not_end_in_a_teardown_is_left_behind_and_the_reload_goes_on(
    tree: PluginTree, release: threading.Event, case: str
) -> None:
    async def main() -> None:
        manifest = THREADED if case == "in a thread" else SHORT
        path = tree.plugin("it", manifest=manifest, code=TEARDOWNS[case]) / "plugin.py"
        place = line_of(path)
        async with serving(tree, extras={"release": release}) as live:
            assert live.states == {"it": "ready"}
            await anyio.wait_all_tasks_blocked()
            live.forget()
            tree.plugin("it", value=2)
            await live.fact(ReloadCommitted)
            (failed,) = live.of(TeardownFailed)
            assert isinstance(failed.error, TeardownTimeout)
            (unfinished,) = failed.error.unfinished
            assert is_at(unfinished, place)
            assert live.plugin("it").value() == 2
            release.set()

    anyio.run(main)


CALLS = {
    "async": """
import anyio
class Plugin:
    async def call(self, release):
        await self.wait(release)
    async def wait(self, release):
        while not release.is_set():
            await anyio.sleep(0.01)  # here
""",
    "sync": """
class Plugin:
    def call(self, release):
        release.wait()  # here
""",
    "stream": """
import anyio
class Plugin:
    async def call(self, release):
        yield 1
        while not release.is_set():
            await anyio.sleep(0.01)  # here
""",
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_in_flight_that_never_ends_is_left_behind_and_the_reload_goes_on(
    tree: PluginTree, run: Run, release: threading.Event, case: str
) -> None:
    async def main() -> None:
        path = tree.plugin("it", code=CALLS[case]) / "plugin.py"
        place = line_of(path)
        async with (
            serving(tree, drain_seconds=0.5) as live,
            anyio.create_task_group() as callers,
        ):

            async def read() -> None:
                async for _ in live.plugin("it").call(release):
                    pass

            if case == "async":
                callers.start_soon(live.plugin("it").call, release)
            elif case == "stream":
                callers.start_soon(read)
            else:
                callers.start_soon(anyio.to_thread.run_sync, live.plugin("it").call, release)
            with anyio.fail_after(GUARD_SECONDS):
                while not live.server.registry.table.entries[("demo", "it")].gate.calls.in_flight:  # type: ignore[index]
                    await anyio.sleep(0.001)
            live.forget()
            tree.plugin("it", value=2)
            await live.fact(ReloadCommitted)
            (timed_out,) = live.of(DrainTimedOut)
            assert timed_out.places == (f"{place.path}:{place.line}",)
            assert live.plugin("it").value() == 2
            release.set()

    run(main)


async def test_a_setup_that_blocks_the_loop_is_named_with_its_line(
    tree: PluginTree, release: threading.Event
) -> None:
    code = dedent("""
        class Plugin:
            def setup(self, ctx):
                ctx.extras["release"].wait(60)  # here
        """)
    path = tree.plugin("it") / "plugin.py"
    async with serving(tree, extras={"release": release}) as live:
        blocked: list[PluginBlocking] = []

        def note(fact: object) -> None:
            if isinstance(fact, PluginBlocking):
                blocked.append(fact)
                release.set()

        live.server.registry.observe(note)
        path.write_text(code, encoding="utf-8")
        await live.settle()
        (fact,) = blocked
        assert (fact.path, fact.line) == (str(path), line_of(path).line)
        assert live.states == {"it": "ready"}


async def test_plain_functions_that_undo_are_watched_too(
    tree: PluginTree, release: threading.Event
) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            ctx.callback(self.part, ctx.extras["release"])
        def part(self, release):
            release.wait(60)  # here
    """
    path = tree.plugin("it", code=code) / "plugin.py"
    line = line_of(path).line
    async with serving(tree, extras={"release": release}) as live:
        blocked: list[PluginBlocking] = []

        def note(fact: object) -> None:
            if isinstance(fact, PluginBlocking):
                blocked.append(fact)
                release.set()

        live.server.registry.observe(note)
        edit(path, "def part", "def  part")
        await live.settle()
        (fact,) = blocked
        assert (fact.path, fact.line) == (str(path), line)
        assert "part" in fact.method


@pytest.mark.parametrize("where", ["a call", "a task", "shared code"])
async def test_what_blocks_the_loop_later_is_named_until_the_loop_goes_on(
    tree: PluginTree, release: threading.Event, where: str
) -> None:
    block = "def block(release):\n    release.wait(60)  # here\n"
    own = "" if where == "shared code" else block
    shared = tree.write("helpers.py", block if where == "shared code" else "")
    code = f"""
from asyncio import get_running_loop
from helpers import *
{own}
class Plugin:
    def begin(self, release):
        {"block(release)" if where == "a call" else "get_running_loop().call_soon(block, release)"}
"""
    path = tree.plugin("it", code=code) / "plugin.py"
    async with serving(tree, extras={"release": release}) as live:
        blocked: list[PluginBlocking] = []

        def note(fact: object) -> None:
            if isinstance(fact, PluginBlocking):
                blocked.append(fact)
                release.set()

        live.server.registry.observe(note)
        live.plugin("it").begin(release)
        ended = await live.fact(PluginBlockingEnded)
        (fact,) = blocked
        place = line_of(shared if where == "shared code" else path)
        assert (fact.path, fact.line, fact.method) == (place.path, place.line, "block")
        assert fact.ref == ended.ref == (None if where == "shared code" else ref("it"))
        assert ended.method == "block"
        assert ended.seconds >= fact.seconds
