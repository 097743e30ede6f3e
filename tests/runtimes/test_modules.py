"""A plugin's folder is a package of its own, apart from everything else."""

from __future__ import annotations

import gc
import importlib.resources
import inspect
import linecache
import pickle
import sys
import traceback
import weakref
from pathlib import Path
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import PluginRegistry, discover, unwrap


def answer(tree: PluginTree, name: str = "one") -> Any:
    return discover(tree.root).get_plugin("demo", name).value()


IMPORTS = {
    "a relative import": ("from .helper import WORD", {"helper.py": "WORD = 'it'"}),
    "the module itself": (
        "from . import helper\nWORD = helper.WORD",
        {"helper.py": "WORD = 'it'"},
    ),
    "a subpackage with __init__": (
        "from .parts import WORD",
        {"parts/__init__.py": "from .words import WORD", "parts/words.py": "WORD = 'it'"},
    ),
    "a subpackage without __init__": (
        "from .parts.words import WORD",
        {"parts/words.py": "WORD = 'it'"},
    ),
    "a folder deep down": (
        "from .a.b.c import WORD",
        {"a/b/c.py": "from ...top import WORD", "top.py": "WORD = 'it'"},
    ),
    "a folder with nothing but data above": (
        "from .data.code.words import WORD",
        {"data/readme.txt": "", "data/code/words.py": "WORD = 'it'"},
    ),
    "a star import": (
        "from .helper import *",
        {"helper.py": "__all__ = ['WORD']\nWORD = 'it'\nOTHER = 1"},
    ),
    "a circular import": (
        "from . import left\nWORD = left.word()",
        {
            "left.py": "from . import right\ndef word(): return right.WORD",
            "right.py": "from . import left\nWORD = 'it'",
        },
    ),
    "a module of the same name as a standard one": (
        "from .json import WORD\nimport json\njson.dumps(1)",
        {"json.py": "WORD = 'it'"},
    ),
    "a package init of its own": ("from . import WORD", {"__init__.py": "WORD = 'it'"}),
    "its own import of the entry module": (
        "WORD = 'it'\nfrom . import helper",
        {"helper.py": "from . import plugin\nassert plugin.WORD == 'it'"},
    ),
}


@pytest.mark.parametrize(("head", "files"), IMPORTS.values(), ids=IMPORTS.keys())
def test_a_plugin_imports_its_own_modules(
    tree: PluginTree, head: str, files: dict[str, str]
) -> None:
    for path, text in files.items():
        tree.write(f"one/{path}", text)
    tree.plugin("one", code=f"{head}\nclass Plugin:\n    def value(self):\n        return WORD\n")
    before = list(sys.path)
    assert answer(tree) == "it"
    assert sys.path == before


def test_a_plugins_modules_are_not_importable_absolutely(tree: PluginTree) -> None:
    tree.plugin("one", code="import only_beside_the_plugin\nclass Plugin: ...\n")
    tree.write("one/only_beside_the_plugin.py", "")
    with pytest.raises(Exception, match="No module named 'only_beside_the_plugin'"):
        discover(tree.root)


def test_two_plugins_with_the_same_file_names_stay_apart(tree: PluginTree) -> None:
    for name in ("one", "two"):
        tree.write(f"{name}/helper.py", f"WORD = '{name}'\n")
        tree.plugin(
            name,
            code="""
            from .helper import WORD
            class Plugin:
                def value(self):
                    return WORD
            """,
        )
    registry = discover(tree.root)
    assert [registry.get_plugin("demo", name).value() for name in ("one", "two")] == ["one", "two"]


def test_two_registries_share_no_module(tree: PluginTree) -> None:
    tree.plugin(
        "one",
        code="""
        CALLS = []
        class Plugin:
            def value(self):
                CALLS.append(1)
                return len(CALLS)
        """,
    )
    left, right = discover(tree.root), discover(tree.root)
    proxies = [registry.get_plugin("demo", "one") for registry in (left, right)]
    assert [proxy.value() for proxy in (*proxies, *proxies)] == [1, 1, 2, 2]
    assert len({proxy.__class__.__module__ for proxy in proxies}) == 2
    assert unwrap(proxies[0]).__class__ is not unwrap(proxies[1]).__class__


def test_a_lazy_import_reads_what_was_discovered_not_the_disk(tree: PluginTree) -> None:
    tree.write("one/late.py", "WORD = 'old'\n")
    tree.plugin(
        "one",
        code="""
        class Plugin:
            def value(self):
                from .late import WORD
                return WORD
        """,
    )
    proxy = discover(tree.root).get_plugin("demo", "one")
    tree.write("one/late.py", "WORD = 'new'\n")
    assert proxy.value() == "old"
    (tree.root / "one/late.py").unlink()
    assert proxy.value() == "old"


@pytest.mark.parametrize(("kind", "name"), [("with.dot", "a.b-c"), ("a-b", "x"), ("0", "1.2")])
def test_kinds_and_names_may_hold_dots_and_dashes(tree: PluginTree, kind: str, name: str) -> None:
    tree.write("odd/helper.py", "WORD = 'it'\n")
    tree.plugin(
        name,
        kind=kind,
        folder="odd",
        code="""
        from .helper import WORD
        class Plugin:
            def value(self):
                return WORD
        """,
    )
    registry = discover(tree.root)
    proxy = registry.get_plugin(kind, name)
    assert proxy.value() == "it"
    assert registry.resolve(name) is proxy
    assert pickle.loads(pickle.dumps(proxy.__class__)) is proxy.__class__


RESOURCES = """
    import importlib.resources
    from pathlib import Path

    class Record:
        def __init__(self, word):
            self.word = word

    class Plugin:
        Record = Record

        def value(self):
            return self.read(__package__, "root.txt")

        def read(self, package, name):
            return importlib.resources.files(package).joinpath(name).read_text()

        def package(self):
            return __package__

        def file(self):
            return __file__

        def fail(self):
            raise LookupError("on purpose")
"""


@pytest.fixture
def resourceful(tree: PluginTree) -> Any:
    tree.plugin("one", code=RESOURCES)
    tree.write("one/root.txt", "root")
    tree.write("one/sub/__init__.py", "")
    tree.write("one/sub/inside.txt", "inside")
    tree.write("one/bare/code.py", "")
    tree.write("one/bare/beside.txt", "beside")
    tree.write("one/data/only.txt", "only data")
    return discover(tree.root).get_plugin("demo", "one")


def test_importlib_resources_finds_files_of_the_root_and_of_subpackages(
    resourceful: Any,
) -> None:
    package = resourceful.package()
    assert resourceful.value() == "root"
    assert resourceful.read(f"{package}.sub", "inside.txt") == "inside"
    assert resourceful.read(f"{package}.bare", "beside.txt") == "beside"
    assert resourceful.read(package, "data/only.txt") == "only data"
    with importlib.resources.as_file(importlib.resources.files(package) / "root.txt") as path:
        assert path.read_text(encoding="utf-8") == "root"


def test_file_and_source_are_the_plugins_own(tree: PluginTree, resourceful: Any) -> None:
    path = str(tree.root / "one/plugin.py")
    assert resourceful.file() == path
    assert inspect.getsourcefile(resourceful.__class__) == path
    assert inspect.getsource(resourceful.Record).startswith("class Record:")
    assert "root.txt" in inspect.getsource(resourceful.value)


def test_objects_of_a_plugins_classes_can_be_pickled(resourceful: Any) -> None:
    copy = pickle.loads(pickle.dumps(resourceful.Record("word")))
    assert type(copy) is resourceful.Record
    assert copy.word == "word"


def test_a_traceback_shows_the_lines_of_the_plugin(resourceful: Any) -> None:
    linecache.clearcache()
    with pytest.raises(LookupError) as caught:
        resourceful.fail()
    assert 'raise LookupError("on purpose")' in "".join(traceback.format_exception(caught.value))


def test_a_registry_that_is_gone_leaves_no_module_and_no_finder(tree: PluginTree) -> None:
    finders = list(sys.meta_path)
    modules = set(sys.modules)
    tree.write("one/helper.py", "")
    tree.plugin("one", code="from . import helper\nclass Plugin: ...\n")
    registry = PluginRegistry().discover(tree.root)
    namespace = registry.get_plugin("demo", "one").__class__.__module__.split(".")[0]
    assert namespace in sys.modules
    instance = weakref.ref(unwrap(registry.get_plugin("demo", "one")))
    registry.table.watchdog.stop()  # It looked after the import.
    del registry
    gc.collect()
    assert instance() is None
    assert namespace in sys.modules  # Somebody may be walking through them just now.
    PluginRegistry()
    assert not [each for each in sys.modules if each.split(".")[0] == namespace]
    assert [each for each in sys.modules if each not in modules and "plugin" in each] == []
    assert (
        len([each for each in sys.meta_path if each not in finders]) <= 1
    )  # The one for originals.


@pytest.mark.parametrize(
    "imports",
    [
        "from dagstack_plugins.demo.x.plugin import VALUE",
        "import dagstack_plugins.demo.x.plugin as x\nVALUE = x.VALUE",
        "import dagstack_plugins.demo.x.plugin\nVALUE = dagstack_plugins.demo.x.plugin.VALUE",
        "import importlib\nVALUE = importlib.import_module('dagstack_plugins.demo.x.plugin').VALUE",
    ],
)
def test_a_full_name_means_the_plugin_of_the_own_registry(tmp_path: Path, imports: str) -> None:
    registries = []
    for value in (1, 2):
        tree = PluginTree(tmp_path / str(value))
        tree.plugin("x", code=f"VALUE = {value}\nclass Plugin: ...\n")
        text = f"{imports}\nclass Plugin:\n    def value(self):\n        return VALUE\n"
        tree.plugin("y", depends_on=["x"], code=text)
        registries.append(PluginRegistry().discover(tree.root))
    assert [each.get_plugin("demo", "y").value() for each in registries] == [1, 2]
