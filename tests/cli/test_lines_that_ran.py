"""What is shown of code is what ran, though the file says something else by now."""

from __future__ import annotations

import asyncio

import pytest
from rich.console import Console
from serving import serving
from trees import PluginTree

from dagstack_dev.cli.excerpts import explain
from dagstack_dev.cli.log_lines import LineFormatter, LogFormat
from dagstack_dev.core.events import TeardownFailed
from dagstack_dev.host.life.instance import PluginInstance

SHORT = "teardown_timeout_sec = 1\n"
NEW = "# something else\n" * 9 + "class Plugin:\n    pass\n"

STUCK = """
import asyncio
class Plugin:
    async def teardown(self):
        await asyncio.sleep(99)  # the old line
"""

OWNED = """
import asyncio, contextlib
class Plugin:
    async def setup(self, ctx):
        await ctx.enter_async(self.slow())
    @contextlib.asynccontextmanager
    async def slow(self):
        yield
        await asyncio.sleep(99)  # the old line
"""

CALLED = """
class Plugin:
    async def work(self, event):
        await event.wait()
        raise OSError("late")  # the old line
"""


def shown(error: BaseException) -> str:
    return "\n".join(line.plain for line in explain(error))


def logged(error: BaseException) -> str:
    event = {"event": "e", "level": "info", "logger": "x", "exc_info": error}
    return LineFormatter(LogFormat.JSON, Console()).line(event)


@pytest.mark.parametrize("code", [STUCK, OWNED], ids=["teardown", "owned"])
async def test_what_a_teardown_hangs_at_is_shown_as_it_ran(
    tree: PluginTree, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PluginInstance, "grace_seconds", 0.1)
    tree.plugin("one", code=code, manifest=SHORT)
    async with serving(tree) as live:
        tree.plugin("one", code=NEW, manifest=SHORT)
        failed = await live.fact(TeardownFailed)
        assert "# the old line" in shown(failed.error)
        assert "something else" not in shown(failed.error)


async def test_what_a_call_of_an_old_generation_raises_is_shown_as_it_ran(
    tree: PluginTree,
) -> None:
    tree.plugin("one", code=CALLED)
    async with serving(tree, drain_seconds=0.01) as live:
        event = asyncio.Event()
        call = asyncio.create_task(live.plugin("one").work(event))
        await asyncio.sleep(0)
        for _ in range(2):
            tree.plugin("one", code=NEW)
            await live.settle()
            tree.plugin("one", code=NEW + "# and again\n")
            await live.settle()
        event.set()
        with pytest.raises(OSError, match="late") as caught:
            await call
        for text in (shown(caught.value), logged(caught.value)):
            assert "# the old line" in text
            assert "something else" not in text


async def test_what_shared_code_of_an_old_generation_raises_is_shown_as_it_ran(
    tree: PluginTree,
) -> None:
    path = tree.write("helper.py", "def fail():\n    raise OSError('no')  # the old line\n")
    tree.plugin("one", code="from helper import fail\nclass Plugin:\n    said = [fail]\n")
    async with serving(tree) as live:
        fail = live.instance("one").said[0]
        path.write_text("# something else\n" * 9 + "def fail(): ...\n", encoding="utf-8")
        await live.settle()
        with pytest.raises(OSError, match="no") as caught:
            fail()
        for text in (shown(caught.value), logged(caught.value)):
            assert "# the old line" in text
            assert "something else" not in text
