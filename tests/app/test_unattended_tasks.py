"""Tasks that plugins make by hand and keep, and that fail."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest
from command_runs import GUARD_SECONDS
from serving import Live, serving
from trees import PluginTree

from dagstack_dev import TaskFailed
from dagstack_dev.core.blame import blame

KEEPING = """
import asyncio
class Plugin:
    async def setup(self, ctx):
        {start}
    async def poll(self):
        await asyncio.sleep(0)
        raise LookupError("no feed")  # here
    async def waiting(self):
        try:
            await asyncio.sleep(3600)
        finally:
            self.task = None
"""

SPAWNED = "self.task = asyncio.create_task(self.poll(), name='polling')"


WAYS = {
    "one": SPAWNED,
    "two": "self.tasks = [asyncio.ensure_future(self.poll())]",
    "three": "self.task = asyncio.get_running_loop().create_task(self.poll())",
    "four": "ctx.extras['kept'] = asyncio.create_task(self.poll())",
}


async def told(live: Live, count: int) -> list[TaskFailed]:
    """The facts, when there are as many."""
    with anyio.fail_after(GUARD_SECONDS):
        while len(live.of(TaskFailed)) < count:
            await anyio.sleep(0.01)
    return live.of(TaskFailed)


async def test_a_task_that_a_plugin_keeps_and_that_fails_is_reported_with_its_line(
    tree: PluginTree,
) -> None:
    for name, start in WAYS.items():
        tree.plugin(name, code=KEEPING.format(start=start))
    async with serving(tree) as live:
        facts = await told(live, len(WAYS))
        assert {fact.ref.name for fact in facts} == WAYS.keys()
        for fact in facts:
            path = tree.root / fact.ref.name / "plugin.py"
            cause = blame(fact.error)
            assert (cause.message, cause.path) == ("no feed", str(path))
            assert cause.line is not None
            assert path.read_text().splitlines()[cause.line - 1].endswith("# here")
            assert "ctx.start_soon would make this a failure of the plugin" in fact.message
        assert set(live.states.values()) == {"ready"}


async def test_it_is_reported_once_and_a_task_of_the_app_is_not(tree: PluginTree) -> None:
    tree.plugin("it", code=KEEPING.format(start=SPAWNED))
    async with serving(tree) as live:
        await told(live, 1)
        kept = asyncio.create_task(_fail())
        await asyncio.wait([kept])
        tree.plugin("late", code=KEEPING.format(start=SPAWNED.replace("polling", "late")))
        assert [fact.task for fact in await told(live, 2)] == ["polling", "late"]
        with pytest.raises(LookupError):
            await kept


async def test_what_is_reported_is_not_reported_by_asyncio_again(tree: PluginTree) -> None:
    by_asyncio: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: by_asyncio.append(what))
    tree.plugin("it", code=KEEPING.format(start=SPAWNED))
    async with serving(tree) as live:
        await told(live, 1)
        live.forget()
        tree.plugin("it")
        await live.server.wait_idle()
        gc.collect()
    assert by_asyncio == []


async def _fail() -> None:
    raise LookupError("of the app")


ATTENDED = {
    "gathered": "await asyncio.gather(self.poll(), return_exceptions=True)",
    "asked": "task = self.task = asyncio.create_task(self.poll()); "
    "await asyncio.wait([task]); task.exception()",
    "cancelled": "self.task = asyncio.create_task(self.waiting()); await asyncio.sleep(0); "
    "self.task.cancel()",
}


async def test_tasks_that_were_attended_to_or_cancelled_are_not_reported(tree: PluginTree) -> None:
    for name, start in ATTENDED.items():
        tree.plugin(name, code=KEEPING.format(start=start))
    tree.plugin("last", code=KEEPING.format(start=SPAWNED), depends_on=ATTENDED)
    async with serving(tree) as live:
        facts = await told(live, 1)  # By then, the others would have been told.
        assert [fact.ref.name for fact in facts] == ["last"]
