"""Who imports whom is noted, without anybody noticing."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import CHECKOUT, GUARD_SECONDS
from serving import serving
from trees import PluginTree

from dagstack_dev import PluginRegistry
from dagstack_dev.runtimes.shared.imports import ImportGraph
from dagstack_dev.runtimes.shared.shared_code import SharedCode
from dagstack_dev.runtimes.shared.static_imports import static_imports

IMPORTER = """
import {target}

class Plugin: ...
"""


def test_a_warning_is_given_for_the_line_that_imports(tree: PluginTree) -> None:
    tree.write("old/__init__.py", "import warnings\nwarnings.warn('too old', stacklevel=2)\n")
    plugin = tree.plugin("one", code=IMPORTER.format(target="old")) / "plugin.py"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        registry = PluginRegistry().discover(tree.root)
    assert registry.list_manifests()
    assert [(each.filename, each.lineno) for each in caught] == [(str(plugin), 2)]


ALONE = """
import builtins, gc, importlib, sys, threading
from dagstack_dev import PluginRegistry
from dagstack_dev.runtimes.finalizers import clear_up

before = (builtins.__import__, importlib.import_module, list(sys.meta_path))
registry = PluginRegistry().discover(sys.argv[1])
assert builtins.__import__ is not before[0]
registry.table.watchdog.stop()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()  # It may be looking at the registry just now.
del thread
del registry
gc.collect()
assert builtins.__import__ is not before[0]
clear_up()
assert (builtins.__import__, importlib.import_module, sys.meta_path) == before
assert type(importlib) is type(sys)
"""


def test_the_import_system_is_as_it_was_when_nothing_is_followed_any_more(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    command = [sys.executable, "-c", ALONE, str(tree.root)]
    subprocess.run(command, env=CHECKOUT, check=True, timeout=GUARD_SECONDS)


def test_importlib_looks_as_it_did(tree: PluginTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """To code of plugins, which has an `import_module` of its own, and to the app's."""
    code = """
import importlib, pickle

class Plugin:
    def import_module(self):
        return importlib.import_module

    def pickled(self):
        return pickle.dumps(importlib.import_module)
"""
    tree.plugin("one", code=code)
    plugin = PluginRegistry().discover(tree.root).get_plugin("demo", "one")
    assert "import_module" in dir(importlib)
    assert plugin.import_module() is plugin.import_module()
    assert plugin.import_module().__doc__ == importlib.import_module.__doc__
    assert pickle.loads(plugin.pickled()) is importlib.import_module
    assert pickle.loads(pickle.dumps(importlib.import_module)) is importlib.import_module
    monkeypatch.setattr(importlib, "import_module", fake := str.upper)
    assert plugin.import_module() is importlib.import_module is fake
    monkeypatch.undo()
    assert plugin.import_module()("json") is sys.modules["json"]


@pytest.fixture
def imports() -> Iterator[ImportGraph]:
    """A graph in which imports are noted."""
    graph = ImportGraph()
    shared = SharedCode(graph, lambda _: None, lambda *_: None)
    shared.observe()
    yield graph
    shared.stop_observing()


def test_an_import_in_a_thread_counts(imports: ImportGraph) -> None:
    imports.follow(__name__, "tests")
    imports.follow("json", "tests")
    thread = threading.Thread(target=lambda: importlib.import_module("json"))
    thread.start()
    thread.join()
    assert imports.importers("json") == [__name__]


def test_a_failed_import_is_missing_until_it_is_there(imports: ImportGraph) -> None:
    imports.follow(__name__, "tests")
    with pytest.raises(ModuleNotFoundError):
        import nowhere.at_all  # type: ignore[import-not-found] # noqa: F401 - the point
    assert imports.missing == {"nowhere"}  # It has never come to `nowhere.at_all`.
    with pytest.raises(ModuleNotFoundError):
        import json.nowhere  # type: ignore[import-not-found] # noqa: F401 - likewise
    assert imports.missing == {"nowhere", "json.nowhere"}
    imports.follow("nowhere", "tests")
    assert imports.missing == {"json.nowhere"}
    imports.follow(__name__, "tests")
    assert imports.missing == set()


async def test_the_frames_of_a_failed_import_lead_through_the_plugin(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "1 / 0\n")
    tree.plugin("one", code=IMPORTER.format(target="helpers"))
    async with serving(tree) as live:
        error = live.status("one").error
        assert error is not None
        cause = error.__cause__
        assert cause is not None
        places = [
            (Path(frame.filename).name, frame.lineno)
            for frame in traceback.extract_tb(cause.__traceback__)
        ]
        assert ("plugin.py", 2) in places
        assert places[-1] == ("__init__.py", 1)
        assert "plugin.py:2" in str(error)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import a.b as c", {"a", "a.b"}),
        ("from .x import y", {"pkg", "pkg.x", "pkg.x.y"}),
        ("from . import y", {"pkg", "pkg.y"}),
        ("from ... import y", set()),
        ("def f():\n    import a", {"a"}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", {"b"}),
        ("if typing.TYPE_CHECKING:\n    import a", set()),
        ("if not TYPE_CHECKING:\n    import a\nelse:\n    import b", {"a"}),
        ("if x:\n    import a\nelif t.TYPE_CHECKING:\n    import b", {"a"}),
        ("# coding: latin-1\nfrom a import \xe4", {"a", "a.\xe4"}),
        ("import_module('.x', 'pkg')\nimportlib.import_module('a')", {"pkg", "pkg.x", "a"}),
        ("import a (", set()),
        ("\0", set()),
    ],
)
def test_what_a_text_imports(text: str, found: set[str]) -> None:
    imports = static_imports(text.encode("latin-1"), "pkg.module", is_package=False)
    assert {each.module for each in imports} - {""} == found


def test_an_import_counts_once_what_is_imported_is_followed(imports: ImportGraph) -> None:
    imports.follow(__name__, "tests")

    def lazy() -> None:
        import json  # noqa: F401 - the point

    lazy()
    assert imports.importers("json") == []
    imports.follow("json", "tests")
    imports.look_again()
    lazy()
    assert imports.importers("json") == [__name__]
