"""Shared code that plugins import in threads, where no frame tells for whom."""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted

pytestmark = pytest.mark.usefixtures("imports_forgotten")

IMPORTS = (
    "import asyncio, concurrent.futures, importlib, pkgutil, threading\nimport anyio.to_thread"
)

WAYS = {
    "asyncio.to_thread": "await asyncio.to_thread(importlib.import_module, 'helpers.words')",
    "a task of its own": (
        "await asyncio.create_task(asyncio.to_thread(importlib.import_module, 'helpers.words'))"
    ),
    "anyio.to_thread": "await anyio.to_thread.run_sync(importlib.import_module, 'helpers.words')",
    "the loop's executor": (
        "await asyncio.get_running_loop().run_in_executor("
        "None, importlib.import_module, 'helpers.words')"
    ),
    "a pool": (
        "with concurrent.futures.ThreadPoolExecutor() as pool:\n"
        "            [*pool.map(importlib.import_module, ['helpers.words'])]"
    ),
    "a thread": (
        "thread = threading.Thread(target=importlib.import_module, args=('helpers.words',))\n"
        "        thread.start()\n"
        "        await asyncio.to_thread(thread.join)"
    ),
    "a relative name": ("await asyncio.to_thread(importlib.import_module, '.words', 'helpers')"),
}

BY_CONTEXT = {
    "a plain __import__": "await asyncio.to_thread(__import__, 'helpers.words')",
    "a library": "await asyncio.to_thread(pkgutil.resolve_name, 'helpers.words:WORD')",
    "a callback": (
        "done = asyncio.Event()\n"
        "        asyncio.get_running_loop().call_soon(pkgutil.resolve_name, 'helpers.words:WORD')\n"
        "        asyncio.get_running_loop().call_soon(done.set)\n"
        "        await done.wait()"
    ),
    "a thread of the plugin's": (
        "done = threading.Event()\n"
        "        def load(_):\n"
        "            pkgutil.resolve_name('helpers.words:WORD')\n"
        "            done.set()\n"
        "        ctx.run_thread(load)\n"
        "        await asyncio.to_thread(done.wait)"
    ),
    "its background task": (
        "done = asyncio.Event()\n"
        "        async def load():\n"
        "            await asyncio.to_thread(pkgutil.resolve_name, 'helpers.words:WORD')\n"
        "            done.set()\n"
        "        ctx.start_soon(load)\n"
        "        await done.wait()"
    ),
}

READ = """
    def value(self):
        import sys
        return sys.modules['helpers.words'].WORD
"""


def helpers(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")


async def assert_renewed(tree: PluginTree, code: str) -> None:
    async with serving(tree) as live:
        assert await live.plugin("user").value() == "old"
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.affected == {"user"}, code
        assert await live.plugin("user").value() == "new"


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "loaded already"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_an_import_in_a_thread_of_a_setup_counts(
    tree: PluginTree, way: str, is_known: bool
) -> None:
    await _in_setup(tree, way, is_known=is_known)


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "loaded already"])
@pytest.mark.parametrize("way", BY_CONTEXT.values(), ids=BY_CONTEXT.keys())
async def test_what_a_library_imports_in_the_context_of_a_plugin_counts_for_it(
    tree: PluginTree, way: str, is_known: bool
) -> None:
    await _in_setup(tree, way, is_known=is_known)


async def _in_setup(tree: PluginTree, way: str, *, is_known: bool) -> None:
    helpers(tree)
    if is_known:
        sys.path.append(str(tree.root))
        importlib.import_module("helpers.words")
    code = f"""\
{IMPORTS}
class Plugin:
    async def setup(self, ctx):
        {way}
    async def value(self):
        return importlib.import_module('sys').modules['helpers.words'].WORD
"""
    tree.plugin("user", code=code)
    await assert_renewed(tree, way)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_an_import_in_a_thread_of_a_method_that_is_called_later_counts(
    tree: PluginTree, way: str
) -> None:
    helpers(tree)
    code = f"""\
{IMPORTS}
class Plugin:
    async def value(self):
        {way}
        return importlib.import_module('sys').modules['helpers.words'].WORD
"""
    tree.plugin("user", code=code)
    await assert_renewed(tree, way)


async def test_an_import_that_a_method_makes_in_a_thread_of_the_app_counts(
    tree: PluginTree,
) -> None:
    helpers(tree)
    code = """\
class Plugin:
    def value(self):
        import helpers.words
        return helpers.words.WORD
    def loader(self):
        import importlib
        return importlib.import_module
"""
    tree.plugin("user", code=code)
    async with serving(tree) as live:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(live.plugin("user").value).result() == "old"
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.affected == {"user"}
        thread = threading.Thread(target=live.plugin("user").loader(), args=("helpers.words",))
        thread.start()
        thread.join()
        live.forget()
        edit(tree.root / "helpers/words.py", "new", "newer")
        await live.settle()
        assert live.affected == {"user"}


@pytest.mark.parametrize("model", ["async", "thread_cpu_bound"])
async def test_a_plugin_whose_import_in_a_thread_failed_is_set_up_when_the_module_comes(
    tree: PluginTree, model: str
) -> None:
    code = """\
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
class Plugin:
    def setup(self, ctx):
        with ThreadPoolExecutor() as pool:
            pool.submit(import_module, 'words').result()
"""
    tree.plugin("user", code=code, manifest=f'execution_model = "{model}"')
    async with serving(tree) as live:
        assert live.states == {"user": "failed"}
        tree.write("words.py", "")
        await live.settle()
        assert live.states == {"user": "ready"}


async def test_an_import_of_the_app_in_a_thread_counts_for_no_plugin(tree: PluginTree) -> None:
    helpers(tree)
    tree.plugin("user")
    async with serving(tree) as live:
        with ThreadPoolExecutor() as pool:
            pool.submit(importlib.import_module, "helpers.words").result()
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.affected == set()


async def test_import_module_can_be_replaced_and_put_back_while_plugins_run(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.plugin("user")
    async with serving(tree):
        with monkeypatch.context() as patch:
            patch.setattr(importlib, "import_module", lambda name: name)
            assert str(importlib.import_module("abc")) == "abc"
        assert importlib.import_module("sys") is sys
        with pytest.raises(AttributeError, match="module 'importlib' has no attribute 'nothing'"):
            importlib.nothing  # type: ignore[attr-defined] # noqa: B018 - the point
