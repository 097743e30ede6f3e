"""Plugins that call others in their setup without naming them in `depends_on`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio
import pytest
from command_runs import GUARD_SECONDS
from serving import Live, context, edit, serving
from trees import PluginTree

from dagstack_dev import PluginNotSetUp, PluginRegistry, State

NOTES = """
class Plugin:
    KIND = "notes"

    def setup(self, ctx):
        self.db = ["a"]

    def all(self):
        return self.db

    async def first(self):
        return self.db[0]

    async def stream(self):
        yield self.db[0]
"""

WAYS = {
    "sync": "notes.all()",
    "async": "await notes.first()",
    "stream": "[each async for each in notes.stream()]",
    "attribute": "notes.db",
    "thread": "await to_thread(notes.all)",
    "a thread of its own": "in_thread(lambda: notes.all())",
    "group": "await in_group(notes.first)",
    "task": "await create_task(notes.first())",
    "hop": "await ctx.registry.get_plugin('demo', 'between').ask(ctx)",
}


def caller(use: str) -> str:
    return f"""
from asyncio import create_task, to_thread
from concurrent.futures import ThreadPoolExecutor
import anyio

async def in_group(call):
    async with anyio.create_task_group() as group:
        group.start_soon(call)

def in_thread(function):
    with ThreadPoolExecutor() as pool:
        return pool.submit(function).result()

class Plugin:
    async def setup(self, ctx):
        notes = ctx.registry.get_plugin("demo", "notes")
        try:
            self.said = {use}
        finally:
            ctx.extras["asked"].set()
    def told(self):
        return self.said
"""


BETWEEN = """
class Plugin:
    async def ask(self, ctx):
        return await ctx.registry.get_plugin("demo", "notes").first()
"""


SLOW = """
class Plugin:
    async def setup(self, ctx):
        await ctx.extras["asked"].wait()
"""


@pytest.fixture
def tree(tree: PluginTree) -> PluginTree:
    """Where nothing else is said, the setup of `notes` begins when that of `asks` has ended."""
    tree.plugin("notes", code=NOTES, depends_on=["slow"])
    tree.plugin("slow", code=SLOW)
    tree.plugin("between", code=BETWEEN, manifest="priority = 1\n")
    return tree


def serve(tree: PluginTree) -> AbstractAsyncContextManager[Live]:
    return serving(tree, extras={"asked": anyio.Event()})


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_before_the_setup_of_what_is_called_is_refused_with_the_line_to_change(
    tree: PluginTree, way: str
) -> None:
    folder = tree.plugin("asks", code=caller(WAYS[way]))
    async with serve(tree) as live:
        error = live.status("asks").error
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        named = tree.root / "between" if way == "hop" else folder
        assert isinstance(error, PluginNotSetUp), error
        assert str(error) == (
            f"demo/notes is not set up yet; add it to depends_on in {named}/dagstack.toml:7"
        )
        assert live.state("notes") is State.READY
        tree.plugin("between", code=BETWEEN, depends_on=["notes"])
        tree.plugin("asks", code=caller(WAYS[way]), depends_on=["notes", "between"])
        await live.settle()
        assert set(live.states.values()) == {"ready"}


async def test_so_it_is_in_a_reload_of_both(tree: PluginTree) -> None:
    """As after a restart: an asynchronous call used to wait there."""
    tree.plugin("asks", code=caller("ctx.extras['do_ask'] and await notes.first()"))
    do_ask: list[bool] = []
    extras = {"asked": anyio.Event(), "do_ask": do_ask}
    async with serving(tree, extras=extras) as live:
        assert set(live.states.values()) == {"ready"}
        do_ask.append(True)
        await live.server.reload()
        assert isinstance(live.status("asks").error, PluginNotSetUp)


async def test_what_is_set_up_before_may_be_called_without_being_declared(
    tree: PluginTree,
) -> None:
    tree.plugin("late", code=caller("await notes.first()"))
    tree.plugin("notes", code=NOTES, manifest="priority = 2\n")
    async with serve(tree) as live:
        assert live.plugin("late").told() == "a"


async def test_an_asynchronous_call_waits_for_a_setup_that_is_under_way(tree: PluginTree) -> None:
    """Both began before: which of them ends first is none of the author's business."""
    slow = NOTES.replace(
        "def setup(self, ctx):", "async def setup(self, ctx):\n        await sleep(0)"
    )
    tree.plugin("notes", code=f"from asyncio import sleep\n{slow}")
    tree.plugin("zealous", code=caller("await notes.first()"))
    tree.plugin("zoo", code=caller("notes.all()"))
    async with serve(tree) as live:
        assert live.plugin("zealous").told() == "a"
        assert isinstance(live.status("zoo").error, PluginNotSetUp)


async def test_a_plugin_that_depends_on_its_caller_is_to_be_called_later(tree: PluginTree) -> None:
    tree.plugin("notes", code=NOTES, depends_on=["asks"])
    tree.plugin("asks", code=caller("await notes.first()"))
    async with serve(tree) as live:
        assert str(live.status("asks").error) == (
            "demo/notes is not set up yet, for it depends on demo/asks; "
            "call it after that is set up"
        )


async def test_the_manifests_table_is_named_where_it_has_no_depends_on(tree: PluginTree) -> None:
    folder = tree.plugin("asks", code=caller("notes.all()"))
    edit(folder / "dagstack.toml", "depends_on = []\n", "")
    async with serve(tree) as live:
        assert str(live.status("asks").error).endswith(f"in {folder}/dagstack.toml:1")


async def test_class_attributes_may_be_read_and_what_is_missing_is_missing(
    tree: PluginTree,
) -> None:
    """So that a setup may look through all plugins for those that have something."""
    tree.plugin("asks", code=caller("(notes.KIND, hasattr(notes, 'routes'))"))
    async with serve(tree) as live:
        assert live.plugin("asks").told() == ("notes", False)


async def test_a_task_of_a_plugin_that_is_ready_waits(tree: PluginTree) -> None:
    tree.plugin("slow", code="class Plugin: ...")
    tree.plugin(
        "asks",
        code="""
        class Plugin:
            def setup(self, ctx):
                self.notes = ctx.registry.get_plugin("demo", "notes")
                self.said = []
                ctx.start_soon(self.ask)
            async def ask(self):
                self.said.append(await self.notes.first())
            def told(self):
                return self.said
        """,
    )
    slow = NOTES.replace(
        "def setup(self, ctx):", "async def setup(self, ctx):\n        await sleep(0)"
    )
    tree.plugin("notes", code=f"from asyncio import sleep\n{slow}", depends_on=["asks"])
    async with serve(tree) as live:
        with anyio.fail_after(GUARD_SECONDS):
            while not (said := live.plugin("asks").told()):
                await anyio.sleep(0.001)
        assert said == ["a"]


async def test_a_plugin_that_waits_for_one_that_comes_back_only_afterwards_is_refused(
    tree: PluginTree,
) -> None:
    """What it calls has failed meanwhile, and is rolled back when all setups have ended."""
    failing = """
    class Plugin:
        async def setup(self, ctx):
            if ctx.extras["do_ask"]:
                await ctx.extras["asked"].wait()
                ctx.extras["do_ask"].clear()
                raise OSError("no")
        async def first(self):
            return "a"
    """
    tree.plugin("notes", code=failing)
    use = "ctx.extras['do_ask'] and (ctx.extras['asked'].set(), await notes.first())"
    tree.plugin("asks", code=caller(use))
    do_ask: list[bool] = []
    extras = {"asked": anyio.Event(), "do_ask": do_ask}
    async with serving(tree, extras=extras) as live:
        do_ask.append(True)
        with anyio.fail_after(GUARD_SECONDS):
            await live.server.reload(("demo", "asks"), ("demo", "notes"))
        assert isinstance(live.status("asks").error, PluginNotSetUp)
        assert await live.plugin("notes").first() == "a"


async def test_the_app_waits_and_setup_all_refuses_likewise(tree: PluginTree) -> None:
    tree.plugin("asks", code=caller("notes.all()"))
    registry = PluginRegistry()
    registry.discover(tree.root)
    notes = registry.get_plugin("demo", "notes")
    assert notes.KIND == "notes"
    with pytest.raises(AttributeError, match="no attribute 'db'") as caught:
        notes.all()  # It is called as it is, where nobody is about to set it up.
    assert not isinstance(caught.value, PluginNotSetUp)
    with pytest.raises(PluginNotSetUp, match="demo/notes is not set up yet"):
        await registry.setup_all(context(registry=registry, asked=anyio.Event()))
    with pytest.raises(AttributeError, match="no attribute 'db'"):
        notes.all()


async def test_a_roll_back_sets_up_in_the_order_in_which_all_was_up(tree: PluginTree) -> None:
    """What called another plugin because that had come up before finds it up again."""
    hub = tree.plugin("hub")
    tree.plugin("slow", code="class Plugin: ...")
    tree.plugin("notes", code=NOTES, depends_on=["hub"])
    idle = "class Plugin: ...\n"
    tree.plugin("asks", code=idle, depends_on=["hub"])
    async with serving(tree, extras={"asked": anyio.Event()}) as live:
        plain = caller("notes.all()").replace("async def setup", "def setup")
        tree.plugin("asks", code=plain, depends_on=["hub"])
        await live.settle()
        assert live.plugin("asks").told() == ["a"]
        edit(hub / "plugin.py", "def setup(self, ctx):", "def setup(self):")
        await live.settle()
        assert set(live.states.values()) == {"ready"}
        assert live.plugin("asks").told() == ["a"]
        assert live.status("hub").pending
