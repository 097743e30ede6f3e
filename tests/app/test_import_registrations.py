"""What plugins register in code that they share while they are imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from serving import Live, context, edit, serving
from trees import PluginTree

from dagstack_dev import PluginLeaked, PluginRegistry

REGISTRY = """
ITEMS = {}
LIST = []
BY_EVENT = {"start": []}

class Holder:
    def __init__(self):
        self.items = {}
    def register(self, item):
        self.items["it"] = item
        return item

HOLDER = Holder()

class Base:
    known = {}
    def __init_subclass__(cls):
        Base.known["it"] = cls

def found():
    "What is registered, whichever way."
    yield from ITEMS.values()
    yield from LIST
    yield from BY_EVENT["start"]
    yield from HOLDER.items.values()
    yield from Base.known.values()
"""

WAYS = {
    "a dict": ("", 'ITEMS["it"] = Plugin', 'ITEMS.pop("it", None)'),
    "a list": ("", "LIST.append(Plugin)", "LIST.remove(type(self))"),
    "a list in a dict": (
        "",
        'BY_EVENT["start"].append(Plugin)',
        'BY_EVENT["start"].remove(type(self))',
    ),
    "a decorator": ("", "HOLDER.register(Plugin)", 'HOLDER.items.pop("it", None)'),
    "a base class": ("(Base)", "", 'Base.known.pop("it", None)'),
}

CODE = """
from {module} import ITEMS, LIST, BY_EVENT, HOLDER, Base, found

class Plugin{base}:
    WORD = "one"
    def setup(self, ctx):
        assert self.WORD != "bad"
    def teardown(self):
        {undo}
    def found(self):
        return [each.WORD for each in found()], [each is type(self) for each in found()]
{do}
"""

RIGHT = (["one"], [True])


def write(tree: PluginTree, way: str, *, undone: bool = True, module: str = "helpers") -> None:
    """A plugin `it` that registers its class, and `base` that it depends on."""
    base, do, undo = WAYS[way]
    code = CODE.format(base=base, do=do, undo=undo if undone else "pass", module=module)
    tree.plugin("it", code=code, depends_on=["base"])
    tree.plugin("base")


def shared(tree: PluginTree, name: str = "helpers") -> None:
    tree.write(f"{name}/__init__.py", f"from {name}.inner import *\n")
    tree.write(f"{name}/inner.py", REGISTRY)


async def change_dependency(live: Live, tree: PluginTree) -> None:
    tree.plugin("base", value=2)
    await live.settle()


async def fail_beside(live: Live, tree: PluginTree) -> None:
    edit(tree.root / "base/plugin.py", "def setup(self, ctx):", "def setup(self):")
    await live.settle()


async def fail_itself(live: Live, tree: PluginTree) -> None:
    edit(tree.root / "it/plugin.py", '"one"', '"bad"')
    await live.settle()


EVENTS: dict[str, Callable[[Live, PluginTree], Any]] = {
    "its dependency changes": change_dependency,
    "its dependency is rolled back": fail_beside,
    "it is rolled back": fail_itself,
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("way", WAYS)
async def test_what_the_teardown_takes_out_the_next_setup_finds_again(
    tree: PluginTree, way: str, event: str
) -> None:
    shared(tree)
    write(tree, way)
    async with serving(tree) as live:
        assert live.plugin("it").found() == RIGHT
        for _ in range(2):
            await EVENTS[event](live, tree)
            assert set(live.states.values()) == {"ready"}
            found = live.plugin("it").found()
            if event == "its dependency changes":
                assert found == RIGHT
            else:  # The generation that failed has had no teardown, and may still be there.
                assert found[1].count(True) == 1
                assert "list" in way or found == RIGHT
                write(tree, way)
                await live.settle()


async def test_so_it_is_with_the_code_of_another_plugin(tree: PluginTree) -> None:
    tree.plugin("registry", code=REGISTRY + "class Plugin: ...\n")
    write(tree, "a dict", module="dagstack_plugins.demo.registry.plugin")
    edit(tree.root / "it/dagstack.toml", '["base"]', '["base", "registry"]')
    async with serving(tree) as live:
        assert live.plugin("it").found() == RIGHT
        await change_dependency(live, tree)
        assert live.plugin("it").found() == RIGHT


async def test_what_the_other_plugin_has_come_to_hold_counts(tree: PluginTree) -> None:
    tree.plugin("registry", code="OTHER = {}\nclass Plugin: ...\n")
    code = "from ..registry.plugin import OTHER\nclass Plugin: ...\n"
    tree.plugin("it", code=code, depends_on=["base", "registry"])
    tree.plugin("base")
    async with serving(tree) as live:
        tree.plugin("registry", code=REGISTRY + "OTHER = {}\nclass Plugin: ...\n")
        await live.settle()
        write(tree, "a dict", module="dagstack_plugins.demo.registry.plugin")
        await live.settle()
        edit(tree.root / "it/dagstack.toml", '["base"]', '["base", "registry"]')
        await live.settle()
        await change_dependency(live, tree)
        assert live.plugin("it").found() == RIGHT


async def test_so_it_is_when_its_configuration_changes(tree: PluginTree) -> None:
    shared(tree)
    write(tree, "a dict")
    path = tree.write("../app.toml", "[demo.it]\nport = 1\n")
    async with serving(tree, config_file=path) as live:
        path.write_text("[demo.it]\nport = 2\n")
        await live.settle()
        assert live.status("it").generation == 2
        assert live.plugin("it").found() == RIGHT


async def test_so_it_is_when_everything_is_set_up_again(tree: PluginTree) -> None:
    shared(tree, "kept_by_the_registry")
    write(tree, "a list", module="kept_by_the_registry")
    registry = PluginRegistry()
    registry.discover(tree.root)
    for _ in range(2):
        await registry.setup_all(context(registry=registry))
        assert registry.get_plugin("demo", "it").found() == RIGHT
        await registry.teardown_all()


async def test_so_it_is_when_a_server_brings_up_what_a_failure_has_torn_down(
    tree: PluginTree,
) -> None:
    shared(tree, "kept_by_the_server")
    write(tree, "a list", module="kept_by_the_server")
    tree.plugin("late", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n", depends_on=["it"])
    registry = PluginRegistry()
    registry.discover(tree.root)
    with pytest.raises(ZeroDivisionError):
        await registry.setup_all(context(registry=registry))
    tree.plugin("late", depends_on=["it"])
    async with serving(tree, registry=registry) as live:
        assert live.states == {"base": "ready", "it": "ready", "late": "ready"}
        assert live.plugin("it").found() == RIGHT


async def test_importers_of_its_code_are_imported_with_it(tree: PluginTree) -> None:
    shared(tree)
    write(tree, "a dict")
    tree.plugin(
        "borrower",
        code="""
        from ..it.plugin import Plugin as It
        class Plugin:
            def same(self, it):
                return isinstance(it, It)
        """,
        depends_on=["it"],
    )
    async with serving(tree) as live:
        for event in (change_dependency, fail_beside):
            await event(live, tree)
            assert live.plugin("borrower").same(live.instance("it"))
            assert live.plugin("it").found() == RIGHT


@pytest.mark.parametrize("undone", [True, False])
async def test_nothing_is_imported_anew_without_need(tree: PluginTree, undone: bool) -> None:
    """What nobody takes out is still there; what a setup registers, the next setup does."""
    shared(tree)
    write(tree, "a dict", undone=undone)
    if undone:
        edit(tree.root / "it/plugin.py", '\nITEMS["it"] = Plugin\n', "\n")
        edit(tree.root / "it/plugin.py", "assert", "ITEMS['it'] = type(self)\n        assert")
    async with serving(tree) as live:
        await change_dependency(live, tree)
        assert live.status("it").generation == 1
        assert live.plugin("it").found() == RIGHT


async def test_what_a_generation_that_failed_leaves_in_shared_code_is_reported(
    tree: PluginTree,
) -> None:
    """It has registered itself in the place of the one that runs again."""
    shared(tree)
    write(tree, "a dict", undone=False)
    async with serving(tree) as live:
        await fail_itself(live, tree)
        told = await live.fact(PluginLeaked)
        assert told.generation == 2
        assert told.holders[0].endswith(".ITEMS -> dict['it']")


@pytest.mark.usefixtures("idle_at_once")
async def test_no_generation_is_left_behind_by_it(tree: PluginTree) -> None:
    shared(tree)
    write(tree, "a list")
    async with serving(tree) as live:
        await change_dependency(live, tree)
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []
        assert live.status("it").generation == 2
