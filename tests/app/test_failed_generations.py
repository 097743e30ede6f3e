"""What has failed lets go of everything: its port is free for whatever comes next."""

from __future__ import annotations

import gc
import math
import socket

import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import State
from dagstack_dev.core.events import ReloadRolledBack, TeardownFailed, Transition
from dagstack_dev.runtimes.leaks import retired

BINDS = """
import asyncio
import gc
import socket

class bind:
    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", {port}))
    def close(self):
        self.socket.close()
    __del__ = close  # As without it, but for a warning.

def fail(subject):
    kept = subject  # A variable of a frame.
    raise LookupError("broken")
"""

HELD = """
class Plugin:
    def setup(self, ctx):
        ctx.extras["kept"].append(self)
        raise LookupError("broken")
"""

SYNC = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
        self.listener = bind()
        fail(self)
    def teardown(self):
        self.listener.close()
"""

LOCAL = """
class Plugin:
    def setup(self, ctx):
        listener = bind()
        fail(listener)
"""

ASYNC = """
class Plugin:
    async def setup(self, ctx):
        await asyncio.sleep(0)
        self.ctx = ctx
        self.listener = bind()
        try:
            fail(self)
        except LookupError as error:
            self.error = error
            raise
    async def teardown(self):
        self.listener.close()
"""

TASK_OF_SETUP = """
class Plugin:
    async def setup(self, ctx):
        self.ctx = ctx
        self.listener = bind()
        ctx.start_soon(self.work)
        await asyncio.sleep(60)
    async def work(self):
        fail(self)
    async def teardown(self):
        self.listener.close()
"""

OWNING = """
from contextlib import asynccontextmanager
class Plugin:
    async def setup(self, ctx):
        self.ctx = ctx
        await ctx.enter_async(self.session())
    @asynccontextmanager
    async def session(self):
        self.listener = bind()
        fail(self)
        yield
    async def teardown(self):
        self.listener.close()
"""

CONSTRUCTOR = """
class Plugin:
    def __init__(self):
        self.myself = self
        self.listener = bind()
        fail(self)
    def teardown(self):
        self.listener.close()
"""

IMPORT = """
listener = bind()
fail(listener)
class Plugin:
    def teardown(self):
        listener.close()
"""

OWN_ERROR = """
class Odd(RuntimeError):
    def __init__(self, listener):
        self.listener = listener
class Plugin:
    def setup(self, ctx):
        self.listener = bind()
        raise Odd(self.listener) from AttributeError("no", name="no", obj=self)
    def teardown(self):
        self.listener.close()
"""

UNFINISHED = """
class Plugin:
    def setup(self, ctx):
        self.listener = bind()
        import unfinished
    def teardown(self):
        self.listener.close()
"""

ALL = {
    "setup": SYNC,
    "variable": LOCAL,
    "async": ASYNC,
    "task": TASK_OF_SETUP,
    "manager": OWNING,
    "constructor": CONSTRUCTOR,
    "import": IMPORT,
    "own error": OWN_ERROR,
    "shared code": UNFINISHED,
}

FAILS = ("fail(self)", "fail(listener)", "raise Odd(self.listener)", "import unfinished")


@pytest.fixture(autouse=True)
def unfinished(tree: PluginTree) -> None:
    """Write shared code that does not compile."""
    tree.write("unfinished/__init__.py", "def (\n")


@pytest.fixture
def port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def broken(body: str, port: int) -> str:
    return BINDS.format(port=port) + body


def mended(body: str, port: int) -> str:
    """The same without what fails."""
    text = broken(body, port)
    for each in FAILS:
        text = text.replace(each, "pass; 0") if each.startswith("raise") else text
        text = text.replace(f"{each}\n", "pass\n")
    return text.replace("pass; 0 from", "0 and").replace("asyncio.sleep(60)", "asyncio.sleep(0)")


@pytest.mark.parametrize("body", ALL.values(), ids=ALL)
async def test_what_has_failed_leaves_its_port_to_the_next_edit(
    tree: PluginTree, port: int, body: str
) -> None:
    tree.plugin("base", code=broken(body, port))
    async with serving(tree) as live:
        assert live.state("base") is State.FAILED
        tree.write("base/plugin.py", broken(body, port) + "# Once more.\n")
        await live.settle()
        assert "in use" not in str(live.status("base").error)
        tree.write("base/plugin.py", mended(body, port))
        await live.settle()
        assert live.status("base").error is None
        assert live.state("base") is State.READY


@pytest.mark.parametrize("body", [each for each in ALL.values() if each != IMPORT])
async def test_what_has_failed_leaves_its_port_to_the_generation_that_comes_back(
    tree: PluginTree, port: int, body: str
) -> None:
    good = mended(body, port)
    if body == LOCAL:  # Binds, and does not fail.
        good = good.replace("pass", "self.listener = listener")
        good += "    def teardown(self):\n        self.listener.close()\n"
    tree.plugin("base", code=good)
    async with serving(tree) as live:
        assert live.state("base") is State.READY
        tree.write("base/plugin.py", broken(body, port))
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert "in use" not in str(live.status("base").error)
        assert live.state("base") is State.READY
        tree.write("base/plugin.py", good + "# Better.\n")
        await live.settle()
        assert live.states == {"base": "ready"}


TASK = """
class Plugin:
    async def setup(self, ctx):
        self.ctx = ctx
        self.listener = bind()
        ctx.start_soon(self.work)
    async def work(self):
        await asyncio.sleep(0.01)
        fail(self)
"""


async def test_what_died_leaves_its_port(tree: PluginTree, port: int) -> None:
    tree.plugin("base", code=broken(TASK, port))
    async with serving(tree, retry_seconds=0) as live:
        await live.fact(Transition, lambda fact: fact.to_state is State.FAILED)
        tree.write("base/plugin.py", mended(TASK, port))
        await live.settle()
        assert live.state("base") is State.READY


TEARDOWN = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
        self.listener = bind()
    def teardown(self):
        fail(self)
"""


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_teardown_that_fails_leaves_its_port(
    tree: PluginTree, port: int, *, is_async: bool
) -> None:
    body = TEARDOWN.replace("def ", "async def ") if is_async else TEARDOWN
    tree.plugin("base", code=broken(body, port))
    async with serving(tree) as live:
        edit(tree.root / "base/plugin.py", "self.ctx = ctx", "pass")
        await live.settle()
        assert len(live.of(TeardownFailed)) == 1
        assert live.status("base").generation == 2
        assert live.state("base") is State.READY


async def test_to_try_again_what_something_holds_takes_no_full_collection(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retired, "_YOUNG_SECONDS", math.inf)  # However long the test takes.
    tree.plugin("held", code=HELD)
    tree.plugin("next")
    kept: list[object] = []
    async with serving(tree, extras={"kept": kept}) as live:
        gc.callbacks.append(note := _Full())
        try:
            for value in range(2, 5):
                tree.plugin("next", value=value)
                await live.settle()
        finally:
            gc.callbacks.remove(note)
    assert (len(kept), note.collections) == (4, 0)


class _Full:
    """Counts full collections."""

    collections = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        self.collections += phase == "start" and info["generation"] == 2
