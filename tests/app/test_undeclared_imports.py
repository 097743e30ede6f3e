"""Plugins that import code of others without naming them in `depends_on`."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from unittest.mock import Mock
from weakref import ref as ref_to

import pytest
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev import (
    PluginLoadError,
    PluginRegistry,
    ReloadRolledBack,
    State,
    Transition,
    UndeclaredImport,
)

BASE = """
WORD = "one"

class Plugin:
    def value(self):
        return WORD
"""

IMPORT = "from dagstack_plugins.demo.zbase.plugin import WORD\n"

WAYS = {
    "absolute": IMPORT,
    "relative": "from ..zbase.plugin import WORD\n",
    "the module": "from ..zbase import plugin\nWORD = plugin.WORD\n",
    "the package": "from .. import zbase\nWORD = zbase.plugin.WORD\n",
    "the kind": "from ... import demo\nWORD = demo.zbase.plugin.WORD\n",
    "as a name": "import dagstack_plugins.demo.zbase.plugin as base\nWORD = base.WORD\n",
    "by a call": (
        "from importlib import import_module\n"
        "WORD = import_module('dagstack_plugins.demo.zbase.plugin').WORD\n"
    ),
    "by a library": (
        "from pkgutil import resolve_name\n"
        "WORD = resolve_name('dagstack_plugins.demo.zbase.plugin:WORD')\n"
    ),
    "without a statement of its own": (
        "WORD = __builtins__['__import__']('dagstack_plugins.demo.zbase.plugin', fromlist=['x'])"
        ".WORD\n"
    ),
    "by shared code": "from helpers.words import WORD\n",
}


def user(tree: PluginTree, lines: str, **options: object) -> Path:
    """A plugin `auser`, imported before `zbase`, whose `value()` is the WORD of `lines`."""
    code = f"{lines}class Plugin:\n    def value(self):\n        return WORD\n"
    return tree.plugin("auser", code=code, **options)  # type: ignore[arg-type]


def loaded(live: Live) -> list[str]:
    return live.reached(State.LOADED)


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_imported_is_loaded_first_at_the_start_and_after_every_save(
    tree: PluginTree, way: str
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "from dagstack_plugins.demo.zbase.plugin import WORD\n")
    user(tree, WAYS[way])
    base = tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        assert loaded(live) == ["zbase", "auser"]
        assert live.plugin("auser").value() == "one"
        assert live.status("zbase").generation == live.status("auser").generation == 1
        edit(base / "plugin.py", '"one"', '"two"')
        await live.settle()
        assert live.plugin("auser").value() == "two"
        assert live.status("zbase").generation == live.status("auser").generation == 2
        user(tree, WAYS[way] + "# newer\n")
        await live.settle()
        assert live.plugin("auser").value() == "two"
        assert live.status("zbase").generation == 2


async def test_each_module_runs_once(tree: PluginTree) -> None:
    user(tree, IMPORT)
    tree.plugin("zbase", code="from . import RAN\n" + BASE.replace('"one"', "RAN"))
    tree.write("zbase/__init__.py", "import builtins\nRAN = builtins.ran = object()\n")
    tree.plugin("zlast", code=BASE.replace('"one"', "__import__('builtins').ran"))
    async with serving(tree) as live:
        values = {live.plugin(name).value() for name in ("auser", "zbase", "zlast")}
        assert len(values) == 1


async def test_it_is_reported_once_where_to_declare_it(tree: PluginTree) -> None:
    folder = user(tree, f"import json\n{IMPORT}")
    base = tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        [told] = live.of(UndeclaredImport)
        assert (told.ref, told.imported) == (ref("auser"), ref("zbase"))
        assert (told.path, told.line) == (f"{folder}/plugin.py", 2)
        assert told.message == (
            "imports code of demo/zbase, which may not be loaded yet; "
            f"add it to depends_on in {folder}/dagstack.toml:7"
        )
        live.facts.clear()
        edit(base / "plugin.py", '"one"', '"two"')
        await live.server.wait_idle()
        assert live.of(UndeclaredImport) == []


async def test_it_is_reported_where_the_order_happens_to_be_right(tree: PluginTree) -> None:
    user(tree, IMPORT)
    tree.plugin("zbase", code=BASE, manifest="priority = 3\n")
    async with serving(tree) as live:
        assert loaded(live) == ["zbase", "auser"]
        assert len(live.of(UndeclaredImport)) == 1


@pytest.mark.parametrize("depends_on", ["zbase", "middle"])
async def test_nothing_is_reported_of_what_is_declared(tree: PluginTree, depends_on: str) -> None:
    user(tree, IMPORT, depends_on=[depends_on])
    tree.plugin("zbase", code=BASE)
    tree.plugin("middle", depends_on=["zbase"])
    async with serving(tree) as live:
        assert live.of(UndeclaredImport) == []
        assert live.plugin("auser").value() == "one"
    registry = PluginRegistry()
    told: list[object] = []
    registry.observe(told.append)
    registry.discover(tree.root)
    assert [each for each in told if isinstance(each, UndeclaredImport)] == []


@pytest.mark.parametrize("where", ["setup", "thread", "call"])
async def test_an_import_when_it_runs_is_reported_as_well(tree: PluginTree, where: str) -> None:
    folder = tree.plugin(
        "auser",
        code=f"""
        import asyncio
        class Plugin:
            async def setup(self, ctx):
                if {where!r} == "setup":
                    self.fetch()
                elif {where!r} == "thread":
                    await asyncio.to_thread(self.fetch)
            def fetch(self):
                from ..zbase.plugin import WORD
                return WORD
        """,
    )
    tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        assert live.plugin("auser").fetch() == "one"
        [told] = live.of(UndeclaredImport)
        assert (told.path, told.line) == (f"{folder}/plugin.py", 10)


async def test_a_failure_of_what_is_imported_fails_both_each_with_its_own_words(
    tree: PluginTree,
) -> None:
    user(tree, IMPORT)
    tree.plugin("zbase", code="1 / 0\n" + BASE)
    async with serving(tree) as live:
        assert live.states == {"auser": "failed", "zbase": "failed"}
        assert live.reached(State.FAILED) == ["zbase", "auser"]
        assert "ZeroDivisionError" in str(live.status("zbase").error)
        error = live.status("auser").error
        assert isinstance(error, PluginLoadError)
        assert error.reason == (
            "ImportError: demo/zbase has failed: ZeroDivisionError: division by zero "
            f"({tree.root}/zbase/plugin.py:1)"
        )
        assert (error.path, error.line) == (f"{tree.root}/auser/plugin.py", 1)
        tree.plugin("zbase", code=BASE)
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}


async def test_a_failure_of_what_is_imported_is_of_that_alone_when_it_is_rolled_back(
    tree: PluginTree,
) -> None:
    user(tree, IMPORT)
    base = tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        edit(base / "plugin.py", '"one"', "1 / 0")
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}
        [rolled_back] = live.of(ReloadRolledBack)
        assert rolled_back.errors.keys() == {ref("zbase")}
        assert live.status("zbase").pending
        assert not live.status("auser").pending
        assert live.plugin("auser").value() == "one"


async def test_what_failed_with_it_comes_up_with_it_when_it_is_tried_again(
    tree: PluginTree,
) -> None:
    user(tree, IMPORT)
    code = "import builtins\nbuiltins.tries = tries = getattr(builtins, 'tries', 0) + 1\n"
    tree.plugin("zbase", code=f"{code}if tries < 2: raise ConnectionError('no')\n{BASE}")
    async with serving(tree, retry_seconds=0.01) as live:
        await live.fact(
            Transition, lambda each: each.ref == ref("auser") and each.to_state is State.READY
        )
        assert live.plugin("auser").value() == "one"


OUT_OF_REACH = {
    "a broken manifest": ("[plugin\n", BASE, "demo/zbase has failed: "),
    "a syntax error": (None, "def", "demo/zbase has failed: "),
    "a dependency that is missing": (None, BASE, "demo/zbase waits for nowhere"),
    "a dependency that fails": (None, BASE, "demo/zbase waits for demo/zlast"),
    "a process of its own": (None, BASE, "demo/zbase does not run in this process"),
}


@pytest.mark.parametrize("case", OUT_OF_REACH)
async def test_what_is_out_of_reach_is_reported_by_its_importer(
    tree: PluginTree, case: str
) -> None:
    manifest, code, says = OUT_OF_REACH[case]
    user(tree, IMPORT)
    needs = {"a dependency that is missing": ["nowhere"], "a dependency that fails": ["zlast"]}
    more = 'execution_model = "process_cpu_bound"\n' if "process" in case else ""
    base = tree.plugin("zbase", code=code, depends_on=needs.get(case, []), manifest=more)
    tree.plugin("zlast", code="1 / 0\n" if "fails" in case else BASE)
    if manifest is not None:
        tree.write(base / "dagstack.toml", manifest)
    async with serving(tree) as live:
        assert live.state("auser") is State.FAILED
        if manifest is None:
            assert f"ImportError: {says}" in str(live.status("auser").error)
        tree.plugin("zbase", code=BASE)
        await live.settle()
        assert live.plugin("auser").value() == "one"


async def test_what_does_without_gets_it_when_it_comes(tree: PluginTree) -> None:
    user(tree, f"try:\n    {IMPORT}except ImportError:\n    WORD = None\n")
    tree.plugin("zbase", code="1 / 0")
    async with serving(tree) as live:
        assert live.plugin("auser").value() is None
        tree.plugin("zbase", code=BASE)
        await live.settle()
        assert live.plugin("auser").value() == "one"


async def test_a_plugin_that_is_loaded_ahead_comes_after_what_it_depends_on(
    tree: PluginTree,
) -> None:
    user(tree, IMPORT)
    tree.plugin("zbase", code=BASE, depends_on=["zlast"])
    tree.plugin("zlast", code=BASE)
    async with serving(tree) as live:
        assert loaded(live) == ["zlast", "zbase", "auser"]


async def test_plugins_that_import_each_other_do_as_modules_do(tree: PluginTree) -> None:
    user(tree, "NAME = 'user'\n" + IMPORT)
    tree.plugin("zbase", code="from ..auser.plugin import NAME\n" + BASE)
    async with serving(tree) as live:
        assert live.states == {"auser": "ready", "zbase": "ready"}
        told = {each.ref.name: each.message for each in live.of(UndeclaredImport)}
        assert told.keys() == {"auser", "zbase"}
        user(tree, IMPORT + "NAME = 'user'\n")
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}
        assert live.status("auser").pending
        assert "circular import" in str(live.status("auser").error)


async def test_an_import_against_the_dependencies_is_reported_as_not_to_be_declared(
    tree: PluginTree,
) -> None:
    user(tree, IMPORT)
    tree.plugin("zbase", code=BASE, depends_on=["auser"])
    async with serving(tree) as live:
        assert live.states == {"auser": "ready", "zbase": "ready"}
        assert loaded(live) == ["zbase", "auser"]
        [told] = live.of(UndeclaredImport)
        assert told.message == (
            "imports code of demo/zbase, which depends on demo/auser in turn; move what both "
            "need into a module beside them"
        )


async def test_what_fails_with_the_news_of_a_dependent_is_tried_with_what_runs_of_it(
    tree: PluginTree,
) -> None:
    code = "from ..zbase.plugin import WORD\nassert WORD == 'one'\n" + BASE
    base = tree.plugin("zbase", code=BASE, depends_on=["auser"])
    tree.plugin("auser", code=BASE)
    async with serving(tree) as live:
        (base / "plugin.py").write_text(BASE.replace("one", "two") + "    setup = 1\n")
        tree.plugin("auser", code=code.replace('WORD = "one"', ""))
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}
        assert [name for name in live.states if live.status(name).pending] == ["zbase"]


async def test_what_is_loaded_ahead_has_a_life_of_its_own(tree: PluginTree) -> None:
    """Its context variables, the plugin that logs, and the time that it takes."""
    user(
        tree,
        "import contextvars, time, structlog\nfrom structlog.contextvars import get_contextvars\n"
        "var = contextvars.ContextVar('var', default='nothing')\n"
        "import builtins; builtins.var = var\nvar.set('of the user')\n"
        f"{IMPORT}assert var.get() == 'of the user'\n"
        "assert get_contextvars()['plugin'] == 'demo/auser'\n",
    )
    tree.plugin(
        "zbase",
        code="import builtins, time\nfrom structlog.contextvars import get_contextvars\n"
        "WORD = builtins.var.get(), get_contextvars()['plugin']\n"
        "builtins.var.set('of the base')\ntime.sleep(0.2)\n"
        "class Plugin: ...\n",
    )
    async with serving(tree) as live:
        assert live.plugin("auser").value() == ("nothing", "demo/zbase")
        took = {
            each.ref.name: each.duration_ms
            for each in live.of(Transition)
            if each.to_state is State.LOADED
        }
        assert took["zbase"] is not None
        assert took["auser"] is not None
        assert took["zbase"] >= 200 > took["auser"]


async def test_what_is_removed_goes_and_its_importer_fails(tree: PluginTree) -> None:
    user(tree, IMPORT)
    base = tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        shutil.rmtree(base)
        await live.settle()
        assert live.states == {"auser": "failed"}
        assert "No module named" in str(live.status("auser").error)
        tree.plugin("zbase", code=BASE)
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}


@pytest.mark.parametrize("is_renamed", [False, True])
async def test_an_importer_of_what_is_blocked_by_a_removal_fails_as_after_a_restart(
    tree: PluginTree, is_renamed: bool
) -> None:
    below = tree.plugin("below")
    tree.plugin("zbase", code=BASE, depends_on=["below"])
    user(tree, IMPORT)
    async with serving(tree) as live:
        shutil.rmtree(below)
        if is_renamed:
            tree.plugin("other", folder="below")
        await live.settle()
        assert live.states == {"auser": "failed", "zbase": "blocked"} | (
            {"other": "ready"} if is_renamed else {}
        )
        tree.plugin("below")
        await live.settle()
        assert live.state("auser") is live.state("zbase") is State.READY


@pytest.mark.parametrize("is_there", [False, True])
async def test_who_comes_to_import_what_fails_without_what_is_removed_does_not_get_its_old_code(
    tree: PluginTree, is_there: bool
) -> None:
    below = tree.plugin("below")
    base = tree.plugin("zbase", code=BASE, depends_on=["below"])
    if is_there:
        user(tree, "WORD = 'own'\n")
    async with serving(tree) as live:
        shutil.rmtree(below)
        edit(base / "dagstack.toml", ">=0.1.0", ">=99")
        user(tree, IMPORT)
        await live.settle()
        assert live.states == {"auser": "ready" if is_there else "failed", "zbase": "failed"}
        assert live.status("auser").pending is is_there
        assert "demo/zbase has failed: VersionIncompatible" in str(live.status("auser").error)
        tree.plugin("below")
        edit(base / "dagstack.toml", ">=99", ">=0.1.0")
        await live.settle()
        assert live.states == dict.fromkeys(["auser", "below", "zbase"], "ready")
        assert live.plugin("auser").value() == "one"


async def test_who_imports_what_is_removed_takes_no_other_plugin_down_with_it(
    tree: PluginTree,
) -> None:
    home = user(tree, IMPORT)
    base = tree.plugin("zbase", code=BASE)
    tree.plugin("third")
    async with serving(tree) as live:
        shutil.rmtree(base)
        shutil.rmtree(home)
        tree.plugin("auser", folder="third", code="1 / 0\nclass Plugin: pass\n")
        await live.settle()
        assert live.states == {"third": "ready"}


@pytest.mark.parametrize("is_new", [False, True])
async def test_who_has_come_to_import_what_is_rolled_back_is_rolled_back_too_and_tried_again(
    tree: PluginTree, is_new: bool
) -> None:
    base = tree.plugin("zbase", code=BASE)
    if not is_new:
        user(tree, "WORD = 'own'\n")
    async with serving(tree) as live:
        user(tree, IMPORT)
        edit(base / "plugin.py", BASE, BASE.replace("one", "two") + "    setup = 1\n")
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}
        assert live.plugin("auser").value() == "one"
        rolled_back = [each for fact in live.of(ReloadRolledBack) for each in fact.affected]
        assert {*rolled_back} == {ref("auser"), ref("zbase")}
        assert not live.status("auser").pending
        edit(base / "plugin.py", "    setup = 1\n", "")
        await live.settle()
        assert live.states == {"auser": "ready", "zbase": "ready"}
        assert live.plugin("auser").value() == "two"


async def test_who_comes_to_import_what_is_not_loaded_for_a_third_one_is_tried_again(
    tree: PluginTree,
) -> None:
    base = tree.plugin("zbase", code=BASE)
    tree.plugin("above", depends_on=["zbase"])
    user(tree, "WORD = 'own'\n")
    async with serving(tree) as live:
        tree.plugin("above", code="1 / 0\nclass Plugin: pass\n")
        edit(base / "plugin.py", "one", "two")
        user(tree, IMPORT)
        await live.settle()
        assert live.plugin("auser").value() == "two"
        assert [name for name in live.states if live.status(name).pending] == ["above"]


async def test_a_roll_back_brings_all_code_back_before_anything_runs(tree: PluginTree) -> None:
    """A constructor may import, too."""
    tree.plugin(
        "auser",
        code="""
        class Plugin:
            def __init__(self):
                from ..zbase.plugin import WORD
                self.word = WORD
            def value(self):
                return self.word
        """,
    )
    base = tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        for word in ("two", "three"):
            edit(base / "plugin.py", BASE, BASE.replace("one", word) + "    setup = 1 // 0\n")
            await live.settle()
            assert live.states == {"auser": "ready", "zbase": "ready"}
            assert live.plugin("auser").value() == "one"
            tree.plugin("zbase", code=BASE)
            await live.settle()


async def test_discover_loads_in_the_order_of_imports_too(tree: PluginTree) -> None:
    user(tree, WAYS["relative"])
    tree.plugin("zbase", code=BASE)
    registry = PluginRegistry()
    registry.discover(tree.root)
    assert registry.get_plugin("demo", "auser").value() == "one"
    assert {each.state for each in registry.statuses().values()} == {State.LOADED}
    registry = PluginRegistry()
    tree.plugin("zbase", code="1 / 0\n" + BASE)
    with pytest.raises(PluginLoadError, match="demo/zbase: import failed") as caught:
        registry.discover(tree.root)
    assert [each.ref for each in caught.value.others] == [ref("auser")]
    assert registry.statuses() == {}


async def test_the_error_in_a_thread_of_an_import_says_what_to_do(tree: PluginTree) -> None:
    """It cannot have another plugin loaded: the thread that loads waits for it, or goes on."""
    user(
        tree,
        "from concurrent.futures import ThreadPoolExecutor\nfrom importlib import import_module\n"
        "with ThreadPoolExecutor() as pool:\n"
        "    WORD = pool.submit(import_module, '..zbase.plugin', __package__).result().WORD\n",
    )
    tree.plugin("zbase", code=BASE)
    async with serving(tree) as live:
        assert "ImportError: demo/zbase is not loaded yet" in str(live.status("auser").error)
        assert live.state("zbase") is State.READY


def test_what_has_loaded_plugins_is_not_held_until_the_next_are_loaded() -> None:
    """It holds what ran before, and errors with the modules that raised them."""
    queue = PluginRegistry().runner.queue
    load = Mock()
    held = ref_to(load)
    queue.run([], load)
    del load
    gc.collect()
    assert held() is None
