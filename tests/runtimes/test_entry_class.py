"""How the entry class may be bound, and what is said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev import (
    ManifestInvalid,
    PluginLoadError,
    PluginRef,
    SignatureMismatch,
    discover,
)

BOUND = {
    "a class": "class Plugin(Base): ...",
    "an assignment": "Plugin = Base",
    "an import": "from .helper import Base as Plugin",
    "a star import": "from .stars import *",
    "a condition": "if 1 < 2:\n    class Plugin(Base): ...",
    "a try": "try:\n    from .missing import Plugin\nexcept ImportError:\n    Plugin = Base",
    "a loop": "for Plugin in [Base]:\n    pass",
    "a walrus": "print if (Plugin := Base) else None",
    "a module __getattr__": "def __getattr__(name):\n    return {'Plugin': Base}[name]",
    "globals()": "globals()['Plugin'] = Base",
    "exec": "exec('Plugin = Base')",
    "a global statement": "def bind():\n    global Plugin\n    Plugin = Base\nbind()",
    "a type call": "Plugin = type('Plugin', (Base,), {})",
    "a decorated class": "def keep(cls):\n    return cls\n@keep\nclass Plugin(Base): ...",
    "a with": "import contextlib\nwith contextlib.nullcontext(Base) as Plugin:\n    pass",
    "sys.modules": "import sys\nsys.modules[__name__].Plugin = Base",
}


@pytest.mark.parametrize("code", BOUND.values(), ids=BOUND.keys())
def test_every_way_to_bind_the_class_works(tree: PluginTree, code: str) -> None:
    tree.write("one/helper.py", "class Base:\n    def value(self):\n        return 'it'\n")
    tree.write("one/stars.py", "from .helper import Base\nclass Plugin(Base): ...\n")
    tree.plugin("one", code=f"from .helper import Base\n{code}\n")
    assert discover(tree.root).get_plugin("demo", "one").value() == "it"


@pytest.mark.parametrize(
    "entry", ["one.plugin:Plugin", "plugins.one.plugin:Plugin", "one.pkg.inner:Plugin"]
)
def test_the_entry_module_may_be_named_as_it_is_imported_from_outside(
    tree: PluginTree, entry: str
) -> None:
    code = "class Plugin:\n    def value(self):\n        return __name__.rpartition('.')[2]\n"
    path = tree.plugin("one", code=code) / "dagstack.toml"
    path.write_text(path.read_text().replace("plugin:Plugin", entry))
    tree.write("one/pkg/inner.py", code)
    module = entry.partition(":")[0].rpartition(".")[2]
    assert discover(tree.root).get_plugin("demo", "one").value() == module


def test_an_entry_module_of_another_folder_is_none_of_the_plugin(tree: PluginTree) -> None:
    path = tree.plugin("one") / "dagstack.toml"
    path.write_text(path.read_text().replace("plugin:Plugin", "other.plugin:Plugin"))
    with pytest.raises(ManifestInvalid, match=r"there is no other/plugin\.py"):
        discover(tree.root)


@pytest.mark.parametrize("entry", ["pkg:Plugin", "pkg.inner:Plugin"])
def test_the_entry_module_may_be_a_package_or_lie_in_one(tree: PluginTree, entry: str) -> None:
    code = "class Plugin:\n    def value(self):\n        return __name__.rpartition('.')[2]\n"
    path = tree.plugin("one") / "dagstack.toml"
    path.write_text(path.read_text().replace("plugin:Plugin", entry))
    tree.write("one/pkg/__init__.py", code)
    tree.write("one/pkg/inner.py", code)
    module = entry.partition(":")[0].rpartition(".")[2]
    assert discover(tree.root).get_plugin("demo", "one").value() == module


def load_error(tree: PluginTree) -> PluginLoadError:
    with pytest.raises(PluginLoadError) as caught:
        discover(tree.root)
    return caught.value


@pytest.mark.parametrize("code", ["", "\n\n  \n"])
def test_an_empty_entry_file_is_reported(tree: PluginTree, code: str) -> None:
    folder = tree.plugin("one", code=code)
    error = load_error(tree)
    reason = "plugin.py is empty; it has to define class 'Plugin'"
    assert (error.stage, error.reason) == ("compile", reason)
    assert (error.path, error.line) == (str(folder / "dagstack.toml"), 6)
    assert error.ref == PluginRef("demo", "one")


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("class Other: ...\nclass Plugn: ...\n", " (found: Plugn, Other)"),
        ("x = 1\n", ""),
        (
            "".join(f"class C{n}: ...\n" for n in range(7)),
            " (found: C0, C1, C2, C3, C4 and 2 more)",
        ),
    ],
)
def test_a_missing_class_is_reported_with_what_there_is_closest_first(
    tree: PluginTree, code: str, found: str
) -> None:
    folder = tree.plugin("one", code=code)
    error = load_error(tree)
    assert error.reason == f"plugin.py defines no class 'Plugin'{found}"
    assert (error.path, error.line) == (str(folder / "dagstack.toml"), 6)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("Plugin = 5\n", "binds int 'Plugin', not a class 'Plugin'"),
        ("def Plugin(): ...\n", "binds function 'Plugin', not a class 'Plugin'"),
        ("globals()\n", "binds no class 'Plugin'"),
        ("class Plugin: ...\ndel Plugin\n", "binds no class 'Plugin'"),
    ],
)
def test_what_is_no_class_after_all_is_reported(tree: PluginTree, code: str, reason: str) -> None:
    tree.plugin("one", code=code)
    error = load_error(tree)
    assert error.stage == "import"
    assert error.reason.endswith(reason)


@pytest.mark.parametrize("line", ["def __init__(self, ctx): ...", "x: int"])
def test_a_constructor_that_takes_arguments_is_named_with_its_line(
    tree: PluginTree, line: str
) -> None:
    decorator = "@dataclass\n" if line == "x: int" else ""
    code = f"from dataclasses import dataclass\n{decorator}class Plugin:\n    {line}\n"
    folder = tree.plugin("one", code=code)
    with pytest.raises(SignatureMismatch) as caught:
        discover(tree.root)
    assert caught.value.reason.startswith(
        "Plugin.__init__ cannot be called as __init__(): missing a required argument: "
    )
    assert caught.value.reason.endswith(
        "; write: def __init__(self), for setup(self, ctx) gets the context"
    )
    place = (str(folder), None) if decorator else (str(folder / "plugin.py"), 3)
    assert (caught.value.path, caught.value.line) == place


def test_a_missing_entry_file_is_reported_with_the_close_match(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    (folder / "plugin.py").rename(folder / "plugins.py")
    with pytest.raises(ManifestInvalid, match="did you mean 'plugins:Plugin'") as caught:
        discover(tree.root)
    error = caught.value
    assert (error.path, error.line) == (str(folder / "dagstack.toml"), 6)
    assert error.ref == PluginRef("demo", "one")


USES = {
    "at the top": "from . import helper",
    "by name": "from .helper import WORD",
    "late": "def f():\n    from . import helper",
    "by a string": "from importlib import import_module as get\nget('.helper', __package__)",
}


@pytest.mark.parametrize("head", USES.values(), ids=USES.keys())
def test_a_syntax_error_in_a_helper_that_may_be_imported_is_found_beforehand(
    tree: PluginTree, head: str
) -> None:
    helper = tree.write("one/helper.py", "ok = 1\nWORD = (\n")
    tree.plugin("one", code=f"{head}\nclass Plugin: ...\n")
    error = load_error(tree)
    assert (error.stage, error.path, error.line) == ("compile", str(helper), 2)
    assert isinstance(error.__cause__, SyntaxError)


@pytest.mark.parametrize("path", ["test_helper.py", "tests/scratch.py"])
def test_a_syntax_error_in_a_file_that_nothing_imports_does_not_matter(
    tree: PluginTree, path: str
) -> None:
    tree.write(f"one/{path}", "def half(:\n")
    tree.plugin("one")
    assert discover(tree.root).get_plugin("demo", "one").value() == 1


def test_a_file_that_is_no_text_is_reported(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    Path(folder / "plugin.py").write_bytes(b"class Plugin: ...\n\x00\xff\xfe")
    error = load_error(tree)
    assert (error.stage, error.path) == ("compile", str(folder / "plugin.py"))


@pytest.mark.parametrize(
    "text", ["# coding: latin-1\nWORD = 'caf\u00e9'\n", "\ufeffWORD = 'caf\u00e9'\n"]
)
def test_encodings_of_source_files_are_respected(tree: PluginTree, text: str) -> None:
    tree.plugin(
        "one", code="from .helper import WORD\nclass Plugin:\n    def value(self): return WORD\n"
    )
    encoding = "latin-1" if "latin" in text else "utf-8"
    (tree.root / "one/helper.py").write_bytes(text.encode(encoding))
    assert discover(tree.root).get_plugin("demo", "one").value() == "caf\u00e9"


def test_an_import_error_names_the_innermost_line_of_the_plugin(tree: PluginTree) -> None:
    helper = tree.write("one/helper.py", "import json\njson.loads('{')\n")
    tree.plugin("one", code="from . import helper\nclass Plugin: ...\n")
    error = load_error(tree)
    assert (error.stage, error.path, error.line) == ("import", str(helper), 2)
    assert error.reason.startswith("JSONDecodeError: ")
