"""What `check` finds in code: imports, methods, names and what hangs on one file."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import pytest
from asking import Asking
from playgrounds import PLAYGROUND
from trees import PluginTree

from dagstack_dev.runtimes.shared.static_imports import ImportStatement, import_statements
from dagstack_dev.static.check import check
from dagstack_dev.static.findings import Finding
from dagstack_dev.static.project import read_project

CLASS = "\nclass Plugin: ...\n"


def findings(tree: PluginTree, *, blast_limit: int | None = None) -> list[Finding]:
    return check(replace(read_project([str(tree.root)]), blast_limit=blast_limit))


def found(tree: PluginTree) -> list[tuple[str, int | None, int | None]]:
    """The codes of all findings, each with its line and column."""
    return [(each.rule.code, each.line, each.column) for each in findings(tree)]


def only(tree: PluginTree) -> str:
    """What the one finding says, and what is to be done."""
    (finding,) = findings(tree)
    return f"{finding.rule.code} {finding.message}; {finding.fix}"


@pytest.fixture
def helpers(tree: PluginTree) -> PluginTree:
    """Code that plugins share: `helpers/words.py` with `WORD`."""
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'x'\ndef speak(): ...\n")
    return tree


@pytest.mark.parametrize(
    "text",
    [
        "import json, os.path",
        "import pydantic.no_look_is_taken_in_there",
        "from pydantic import nor_here",
        "from rich.text import nor_there",
        "from os import path, getcwd",
        "from os.path import no_look_is_taken_in_there",
        "from math import pi",
        "from importlib import metadata",
        "from antigravity import geohash",
        "import os\nos.mine = 1\nfrom os import mine",
        "import sys\nsys.path.insert(0, 'elsewhere')\nfrom anyio import mine",
        "import helpers.words as words",
        "from helpers.words import WORD, speak",
        "from helpers import words",
        "from helpers.words import *",
        "from .own import VALUE",
        "from . import own",
        "from .data import table",
        "import dagstack.plugin_system",
        "try:\n    import nowhere\nexcept ImportError:\n    nowhere = None",
        "if TYPE_CHECKING:\n    import nowhere",
        "import sys\nif sys.platform == 'plan9':\n    import nowhere",
        "from contextlib import suppress\nwith suppress(ImportError):\n    import nowhere",
        "import sys\nsys.path.append('elsewhere')\nimport nowhere",
        "from .lazy import anything",
        "from .listed import late",
    ],
)
def test_imports_that_may_work_are_no_findings(helpers: PluginTree, text: str) -> None:
    helpers.plugin("it", code=text + CLASS)
    helpers.write("it/own.py", "VALUE = 1\n")
    helpers.write("it/data/table.py", "")
    helpers.write("it/lazy.py", "def __getattr__(name): ...\n")
    helpers.write("it/listed.py", "globals().update(late=1)\n")
    assert found(helpers) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "import nowhere",
            (
                "D302 there is no module 'nowhere', neither in a file nor installed; "
                "install what provides it, or name its folder: --watch-code DIR"
            ),
        ),
        (
            "from bare.words import WORD",
            (
                "D302 there is no module 'bare'; {root}/bare has no __init__.py; add one, so that "
                "plugins can import it"
            ),
        ),
        ("import helpers.wrds", "D302 there is no module 'helpers.wrds'; did you mean 'words'?"),
        ("from .onw import VALUE", "D302 there is no module '.onw'; did you mean 'own'?"),
        (
            "from own import VALUE",
            (
                "D302 there is no module 'own'; "
                "it is a module of this plugin: write 'from .own import'"
            ),
        ),
        (
            "import own",
            (
                "D302 there is no module 'own'; "
                "it is a module of this plugin: write 'from . import own'"
            ),
        ),
        (
            "from helpers.words import WRD",
            "D303 'helpers.words' binds no 'WRD'; did you mean 'WORD'?",
        ),
        ("from .own import speak", "D303 '.own' binds no 'speak'; "),
        ("from os import getcmd", "D303 'os' binds no 'getcmd'; did you mean 'getcwd'?"),
        ("from math import py", "D303 'math' binds no 'py'; "),
        ("from asyncio.tasks import gahter", "D303 'asyncio.tasks' binds no 'gahter'; did you"),
        (
            "from ..helpers import words",
            (
                "D304 the import leads out of the plugin's folder, to "
                "'dagstack_plugins.demo.helpers', and there is no such plugin; it is code that "
                "plugins share: import 'helpers', without dots"
            ),
        ),
        (
            "from ....helpers import words",
            "D304 the import leads out of the plugin's folder; name the module without dots",
        ),
    ],
)
def test_an_import_that_fails_is_found(helpers: PluginTree, text: str, says: str) -> None:
    helpers.plugin("it", code=text + CLASS)
    helpers.write("it/own.py", "VALUE = 1\n")
    helpers.write("it/notes.md", "import nowhere_either")
    helpers.write("bare/words.py", "WORD = 'x'\n")
    assert only(helpers).startswith(says.format(root=helpers.root))


def test_the_place_of_an_import_is_that_of_the_name(helpers: PluginTree) -> None:
    helpers.plugin("it", code="from helpers.words import (\n    WORD,\n    WRD,\n)" + CLASS)
    assert found(helpers) == [("D303", 3, 5)]


def test_an_import_in_a_function_is_a_warning(tree: PluginTree) -> None:
    tree.plugin("it", code="class Plugin:\n    def setup(self, ctx):\n        import nowhere\n")
    assert found(tree) == [("D305", 3, 16)]


def test_an_import_in_a_function_that_may_leave_before_it_is_no_finding(tree: PluginTree) -> None:
    tree.plugin(
        "it",
        code="""
        class Plugin:
            def setup(self, ctx):
                if not hasattr(ctx, "nowhere"):
                    return
                import nowhere
            def teardown(self):
                def inner():
                    return 1
                import nowhere_either
                return 1
        """,
    )
    (finding,) = findings(tree)
    assert (finding.rule.code, "nowhere_either" in finding.message) == ("D305", True)


def test_no_other_module_is_meant_by_a_name_that_resembles_none(tree: PluginTree) -> None:
    tree.plugin("it", code="import numpyx" + CLASS)
    assert "did you mean" not in only(tree)


def test_code_that_alters_the_search_makes_a_missing_module_uncertain(tree: PluginTree) -> None:
    altering = "import sys\nsys.path.append('elsewhere')" + CLASS
    tree.plugin("lower", code=altering)
    tree.plugin("upper", depends_on=["lower"], code="import nowhere\nfrom .own import b" + CLASS)
    tree.write("upper/own.py", "a = 1\n")
    tree.plugin("by_name", code="from sys import argv, path\nimport nowhere" + CLASS)
    tree.plugin("other", code="from sys import argv\nimport nowhere" + CLASS)
    wrong = [(each.rule.code, str(each.ref)) for each in findings(tree)]
    assert wrong == [("D302", "demo/other"), ("D303", "demo/upper")]


def test_what_is_missing_is_named_once(tree: PluginTree) -> None:
    tree.plugin("it", code="from nowhere import a, b\nfrom nowhere import c" + CLASS)
    assert found(tree) == [("D302", 1, 21)]


def test_only_code_that_is_imported_counts(tree: PluginTree) -> None:
    tree.plugin("it")
    tree.write("it/tests/test_it.py", "import nowhere\n")
    tree.write("scripts.py", "import nowhere\n")
    assert found(tree) == []


def test_shared_code_is_looked_into_as_far_as_plugins_import_it(helpers: PluginTree) -> None:
    helpers.write("helpers/words.py", "from helpers import deep\nWORD = deep.WORD\n")
    helpers.write("helpers/deep.py", "import nowhere\n")
    helpers.write("helpers/broken.py", "def (\n")
    helpers.plugin("one", code="from helpers.words import WORD" + CLASS)
    helpers.plugin("two", code="import helpers.broken, helpers.words" + CLASS)
    assert [(code, line) for code, line, _ in found(helpers)] == [("D301", 1), ("D302", 1)]


def test_only_what_has_changed_is_parsed_again(
    helpers: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    helpers.plugin("it", code="from helpers import words" + CLASS)
    assert found(helpers) == []
    (kept,) = helpers.root.glob("__pycache__/dagstack-imports*")
    parsed: list[str] = []

    def parse(text: bytes, module: str, *, is_package: bool) -> list[ImportStatement]:
        parsed.append(module)
        return import_statements(text, module, is_package=is_package)

    monkeypatch.setattr("dagstack_dev.runtimes.shared.import_cache.import_statements", parse)
    helpers.write("helpers/words.py", "import nowhere")
    assert found(helpers) == [("D302", 1, 8)]
    assert found(helpers) == [("D302", 1, 8)]
    assert parsed == ["helpers.words"]
    kept.write_bytes(kept.read_bytes()[:-1])
    assert found(helpers) == [("D302", 1, 8)]


def test_code_of_a_plugin_that_is_not_declared_is_found(tree: PluginTree) -> None:
    tree.plugin("lower")
    text = "from ..lower.plugin import Plugin as Lower" + CLASS
    tree.plugin("declared", depends_on=["lower"], code=text)
    tree.plugin("upper", code=text)
    assert only(tree) == (
        "D306 imports code of demo/lower, which may not be loaded yet; "
        f"add it to depends_on in {tree.root}/upper/dagstack.toml:7"
    )


def test_a_plugin_that_cannot_be_read_may_be_what_is_imported(tree: PluginTree) -> None:
    tree.plugin("lower", manifest="priority = 'high'\n")
    tree.plugin("upper", code="from ..lower.plugin import Plugin as Lower" + CLASS)
    assert [code for code, _, _ in found(tree)] == ["D101"]


@pytest.mark.parametrize(
    "method",
    [
        "def setup(self, ctx): ...",
        "async def setup(self, ctx, *, extra=1): ...",
        "def setup(self, *args): ...",
        "def setup(*args): ...",
        "def setup(self, ctx, /, extra=None, **more): ...",
        "def teardown(self, now=True): ...",
        "@staticmethod\n    def setup(ctx): ...",
        "@inject\n    def setup(self, ctx, store): ...",
        "if fast:\n        def setup(self): ...\n    else:\n        def setup(self, ctx): ...",
        "def setup(self): ...\n    setup = wrap(setup)",
        "def setup(self, ctx):\n        def inner():\n            yield",
        "def __init__(self, *args, key=None): ...",
        "def __new__(cls): ...\n    def __init__(self, store): ...",
    ],
)
def test_methods_that_can_be_called_are_no_findings(tree: PluginTree, method: str) -> None:
    text = f"fast, inject, wrap = True, staticmethod, staticmethod\nclass Plugin:\n    {method}\n"
    tree.plugin("it", code=text)
    assert found(tree) == []


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (
            "def setup(self): ...",
            (
                "D307 demo/it: Plugin.setup cannot be called as setup(ctx): too many positional "
                "arguments; write: def setup(self, ctx)"
            ),
        ),
        (
            "async def teardown(self, ctx): ...",
            (
                "D307 demo/it: Plugin.teardown cannot be called as teardown(): missing a required "
                "argument: 'ctx'; write: async def teardown(self)"
            ),
        ),
        (
            "def teardown(): ...",
            (
                "D307 demo/it: Plugin.teardown cannot be called as teardown(): it has no parameter "
                "for the instance; write: def teardown(self)"
            ),
        ),
        (
            "def __init__(self, store): ...",
            (
                "D307 demo/it: Plugin.__init__ cannot be called as __init__(): missing a required "
                "argument: 'store'; write: def __init__(self), for setup(self, ctx) gets the "
                "context"
            ),
        ),
        ("def setup(self, ctx, *, store): ...", "D307 demo/it: Plugin.setup cannot be called as"),
        ("def setup(self, ctx, store): ...", "D307 demo/it: Plugin.setup cannot be called as"),
        ("async def setup(self, ctx):\n        yield", "D308 Plugin.setup has a `yield` in it"),
        ("def setup(self, ctx):\n        for x in y:\n            z = yield", "D308 Plugin.setup"),
    ],
)
def test_a_method_that_cannot_be_called_is_found(tree: PluginTree, method: str, says: str) -> None:
    tree.plugin("it", code=f"class Plugin:\n    {method}\n")
    assert only(tree).startswith(says)
    assert [line for _, line, _ in found(tree)] == [2]


def test_a_method_of_a_class_in_the_same_file_counts(tree: PluginTree) -> None:
    base = "class Base:\n    def setup(self): ...\n"
    tree.plugin("known", code=f"{base}class Plugin(Base): ...\n")
    tree.plugin("unknown", code=f"from enum import Enum\n{base}class Plugin(Enum, Base): ...\n")
    assert [(each.rule.code, str(each.ref)) for each in findings(tree)] == [("D307", "demo/known")]


def test_a_constructor_counts_where_nothing_else_may_give_it_arguments(tree: PluginTree) -> None:
    base = "class Base:\n    def __init__(self, store): ...\n"
    tree.plugin("known", code=f"{base}class Plugin(Base): ...\n")
    tree.plugin("made", code=f"from abc import ABC\n{base}class Plugin(Base, ABC): ...\n")
    tree.plugin("by_meta", code=f"{base}class Plugin(Base, metaclass=type): ...\n")
    tree.plugin("circle", code="class Plugin(Other): ...\nclass Other(Plugin): ...\n")
    assert [(each.rule.code, str(each.ref)) for each in findings(tree)] == [("D307", "demo/known")]


def test_a_file_on_which_too_much_hangs_is_found(helpers: PluginTree) -> None:
    helpers.write("helpers/words.py", "from helpers.deep import WORD\n")
    helpers.write("helpers/deep.py", "WORD = 1\n")
    for name in "abc":
        helpers.plugin(name, code="from helpers.words import WORD" + CLASS)
    helpers.plugin("d", depends_on=["c"])
    helpers.plugin("e")
    assert findings(helpers, blast_limit=4) == []
    (finding,) = findings(helpers, blast_limit=3)
    assert finding.rule.code == "D501"
    assert finding.path.endswith("helpers/words.py")
    assert finding.message == "a save of this file reloads 4 of 5 plugins"


def test_half_of_twenty_plugins_are_too_many(helpers: PluginTree) -> None:
    for number in range(20):
        text = "import helpers.words" if number < 11 else ""
        helpers.plugin(f"p{number}", code=text + CLASS)
    assert [code for code, _, _ in found(helpers)] == ["D501"]
    shutil.rmtree(helpers.root / "p19")
    assert found(helpers) == []


@pytest.mark.parametrize("path", ["json.py", "queue/__init__.py"])
def test_a_module_with_a_name_of_the_standard_library_is_found(tree: PluginTree, path: str) -> None:
    tree.plugin("it", code="import json\nfrom queue import Queue" + CLASS)
    tree.write(f"it/{path}", "")
    tree.write("it/deep/json.py", "")
    assert [code for code, _, _ in found(tree)] == ["D502"]


def test_a_module_of_that_name_which_is_imported_with_dots_is_no_finding(tree: PluginTree) -> None:
    tree.plugin("it", code="from . import json\nfrom .types import Word" + CLASS)
    tree.write("it/json.py", "")
    tree.write("it/types.py", "Word = str\n")
    assert found(tree) == []


@pytest.mark.parametrize("folder", ["plugins", "mixed/plugins"])
def test_nothing_is_found_in_the_playground(folder: str) -> None:
    assert check(read_project([str(PLAYGROUND / folder)])) == []


def test_the_command_takes_the_limit(helpers: PluginTree) -> None:
    for name in "ab":
        helpers.plugin(name, code="import helpers.words" + CLASS)
    done = Asking(helpers.root.parent).run("check", "plugins", "--blast-limit", "1")
    assert done.returncode == 0
    assert done.stdout.startswith(
        "plugins/helpers/words.py: warning D501 a save of this file reloads 2 of 2 plugins; "
    )
