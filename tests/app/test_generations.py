"""What is left of old generations: nothing, or a fact that names what holds them."""

from __future__ import annotations

import gc
import shutil
import sys
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from serving import Live, ref, serving
from trees import CODE, PluginTree

from dagstack_dev import unwrap
from dagstack_dev.app import leaks
from dagstack_dev.core.events import (
    Leaks,
    PluginLeaked,
    ReloadFailed,
    ReloadRolledBack,
    Transition,
    WatchStopped,
)
from dagstack_dev.runtimes.in_process.plugin_code import InProcessGeneration

pytestmark = pytest.mark.usefixtures("idle_at_once")


async def test_an_instance_that_the_app_keeps_is_a_leak_and_its_holder_is_named(
    tree: PluginTree,
) -> None:
    class Keeper:
        kept: object

    tree.plugin("base")
    async with serving(tree) as live:
        keeper = Keeper()
        keeper.kept = unwrap(live.plugin("base"))
        tree.plugin("base", value=2)
        await live.settle()
        leaked = await live.fact(PluginLeaked)
        assert (leaked.ref, leaked.generation) == (ref("base"), 1)
        [held] = [each for each in leaked.holders if each.startswith("instance of Plugin")]
        assert "Keeper" in held


async def test_nothing_kept_is_no_leak(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        proxy = live.plugin("base")
        for value in (2, 3):
            tree.plugin("base", value=value)
            await live.server.wait_idle()
            assert proxy.value() == value
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []


FAILS: dict[str, str] = {
    "import": "1 / 0\nclass Plugin: pass",
    "constructor": "class Plugin:\n    def __init__(self): 1 / 0",
    "setup": "class Plugin:\n    def setup(self, ctx): 1 / 0",
    "async setup": "class Plugin:\n    async def setup(self, ctx): 1 / 0",
}


@pytest.mark.parametrize("code", FAILS.values(), ids=FAILS.keys())
async def test_a_rolled_back_generation_is_gone_once_it_is_mended(
    tree: PluginTree, code: str
) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.write("base/plugin.py", code)
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        tree.plugin("base", value=3)
        await live.settle()
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []


def modules_of(live: Live, name: str) -> set[str]:
    prefix = f"{live.namespace}.demo.{name}"
    return {each for each in sys.modules if each == prefix or each.startswith(prefix + ".")}


async def test_fifty_reloads_leave_one_set_of_modules_and_no_old_class(tree: PluginTree) -> None:
    tree.plugin("base", code="from .parts.inner import Plugin")
    tree.write("base/parts/inner.py", CODE.format(name="base", value=0))
    async with serving(tree) as live:
        old: list[weakref.ref[Any]] = []
        names = modules_of(live, "base")
        for value in range(1, 51):
            old += [
                weakref.ref(type(live.instance("base"))),
                weakref.ref(live.instance("base")),
                *(weakref.ref(sys.modules[name]) for name in names),
            ]
            tree.write("base/parts/inner.py", CODE.format(name="base", value=value))
            await live.server.wait_idle()
        live.forget()
        assert live.plugin("base").value() == 50
        assert modules_of(live, "base") == names
        await live.looked_for_leaks()
        gc.collect()
        assert len(old) > 200
        assert [each() for each in old if each() is not None] == []


async def test_modules_that_are_imported_no_longer_are_gone(tree: PluginTree) -> None:
    tree.plugin("base", code="from . import extra\nclass Plugin: pass")
    tree.write("base/extra.py", "")
    async with serving(tree) as live:
        assert live.module("base", "extra") is not None
        tree.plugin("base", code="class Plugin: pass")
        await live.settle()
        assert live.module("base", "extra") is None
        (tree.root / "base/dagstack.toml").unlink()
        await live.settle()
        assert modules_of(live, "base") == set()


RAISING = """
class Plugin:
    def setup(self, ctx): pass
    def fail(self):
        raise RuntimeError("old text")
"""


def shown(call: Callable[[], object]) -> str:
    with pytest.raises(RuntimeError) as caught:
        call()
    return "".join(traceback.format_exception(caught.value))


async def test_tracebacks_show_the_text_of_the_code_that_runs(tree: PluginTree) -> None:
    tree.plugin("base", code=RAISING)
    async with serving(tree) as live:
        plugin = live.plugin("base")
        line = 'raise RuntimeError("old text")'
        assert line in shown(plugin.fail)

        tree.write("base/plugin.py", "# pushed\n# down\n# by\n# comments\nclass Plugin(\n" * 3)
        await live.settle()
        assert line in shown(plugin.fail)

        tree.write("base/plugin.py", "# a\n# b\n# c\n# d\n# e\nclass Plugin:\n    x = 1 / 0\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert line in shown(plugin.fail)

        tree.write("base/plugin.py", "# one line more\n" + RAISING.replace("old", "new"))
        await live.settle()
        assert 'raise RuntimeError("new text")' in shown(plugin.fail)


async def test_the_end_of_the_server_is_its_last_fact(tree: PluginTree) -> None:
    tree.plugin("base", code="class Plugin:\n    def teardown(self): 1 / 0\n")
    async with serving(tree) as live:
        pass
    stopped = live.facts[-1]
    assert isinstance(stopped, WatchStopped)
    assert [type(each) for each in stopped.errors] == [ZeroDivisionError]
    assert isinstance(live.of(Transition)[-1], Transition)


async def test_an_error_that_is_kept_for_the_author_keeps_nothing_of_the_plugin(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    async with serving(tree) as live:
        tree.plugin("a", code="class Plugin:\n    def setup(self, ctx): raise ValueError\n")
        await live.server.wait_idle()
        assert live.server.statuses()[ref("a")].pending
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []
        tree.plugin("a", value=3)
        await live.server.wait_idle()
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []


DIES = """
import weakref
import anyio
class Plugin:
    def setup(self, ctx):
        ctx.extras["set_up"].append(weakref.ref(self))
        ctx.start_soon(self.fail)
    async def fail(self):
        await anyio.sleep(0)
        1 / 0
"""


async def test_a_plugin_that_died_is_gone_once_it_is_mended_and_not_reported_again(
    tree: PluginTree,
) -> None:
    set_up: list[weakref.ref[Any]] = []
    tree.plugin("mended", code=DIES)
    tree.plugin("removed", code=DIES)
    async with serving(tree, extras={"set_up": set_up}) as live:
        while not all(each.stage == "run" for each in live.server.statuses().values()):
            await live.fact(ReloadFailed)
            live.forget()
        tree.plugin("mended")
        shutil.rmtree(tree.root / "removed")
        await live.settle()
        live.forget()
        gc.collect()
        assert [each() for each in set_up] == [None, None]
    [stopped] = live.of(WatchStopped)
    assert stopped.errors == ()


async def test_saves_that_leave_no_idle_moment_pile_up_no_old_generations(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "IDLE_SECONDS", 60.0)
    names = ["one", "two", "three"]
    for name in names:
        tree.plugin(name, code="from helpers import words\nclass Plugin: pass\n")
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "VALUE = 0\n")
    before = {id(each) for each in gc.get_objects() if type(each) is InProcessGeneration}
    async with serving(tree) as live:
        for value in range(leaks.MANY + 5):
            tree.write("helpers/words.py", f"VALUE = {value + 1}\n")
            await live.settle()
        waiting = live.server._loop.leaks._waiting
        assert {each.name: len(kept) for each, kept in waiting.items()} == dict.fromkeys(
            names, leaks.MANY
        )
        table = live.server.registry.table
        running = [table.entries[ref(name)].generation for name in names]
        retired = [each.generation for kept in waiting.values() for each, _ in kept]
        known = {id(each) for each in (*running, *retired)}
        created = [each for each in gc.get_objects() if type(each) is InProcessGeneration]
        assert {id(each) for each in created} - known <= before


NAMELESS = """
names = {}
exec("Odd = type('Odd', (), {})", names)

class Plugin:
    def setup(self, ctx):
        self.odd = names["Odd"]()
        ctx.extras["kept"].append(self)
"""


async def test_a_class_without_a_module_neither_ends_the_server_nor_hides_a_leak(
    tree: PluginTree, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[object] = []
    tree.plugin("base", code=NAMELESS)
    async with serving(tree, extras={"kept": kept}) as live:
        tree.plugin("base", value=2)
        await live.settle()
        leaked = await live.fact(PluginLeaked)
        assert leaked.ref == ref("base")
        tree.plugin("base", value=3)
        await live.settle()
        assert live.plugin("base").value() == 3
    assert capsys.readouterr().err == ""


async def test_a_search_for_leaks_that_fails_ends_neither_the_server_nor_its_teardown(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: InProcessGeneration) -> bool:
        raise MemoryError

    monkeypatch.setattr(InProcessGeneration, "is_gone", fail)
    tree.plugin("base")
    async with serving(tree, leaks=Leaks.ERROR) as live:
        for value in (2, 3):
            tree.plugin("base", value=value)
            await live.settle()
            await live.looked_for_leaks()
        tree.plugin("base", value=4)
        await live.settle()
        assert live.plugin("base").value() == 4
    assert live.journal[-1] == "teardown base 4"
    assert capsys.readouterr().err.count("the search for leaks raised") == 1
