"""Shared code that comes into being where something was done without it, or ran half of it."""

from __future__ import annotations

import shutil
import time

import pytest
from serving import serving
from sharing import USER, generations, user
from trees import PluginTree

from dagstack_dev.core.events import ReloadRolledBack, ReloadStarted

pytestmark = pytest.mark.usefixtures("imports_forgotten")

OPTIONAL = "try:\n    {statement}\nexcept ImportError:\n    {name} = None"


async def test_a_folder_of_modules_becomes_a_package_and_a_folder_again(tree: PluginTree) -> None:
    tree.write("outer/__init__.py", "")
    tree.write("outer/helpers/words.py", "WORD = 'word'\n")
    imports = "import outer.helpers.words\nhelpers = outer.helpers"
    user(tree, "user", imports, "(vars(helpers).get('NAME'), helpers.words.WORD)")
    async with serving(tree) as live:
        assert live.plugin("user").value() == (None, "word")
        init = tree.root / "outer/helpers/__init__.py"
        for name in ("come", "edited", None, "back"):
            if name:
                init.write_text(f"NAME = {name!r}\n")
            else:
                init.unlink()
            await live.settle()
            assert live.plugin("user").value() == (name, "word")


async def test_a_folder_that_was_imported_for_its_own_sake_becomes_a_package(
    tree: PluginTree,
) -> None:
    tree.write("outer/__init__.py", "")
    (tree.root / "outer/helpers").mkdir()
    user(tree, "user", "from outer import helpers", "vars(helpers)")
    async with serving(tree) as live:
        tree.write("outer/helpers/__init__.py", "NAME = 'come'\n")
        await live.settle()
        assert live.plugin("user").value()["NAME"] == "come"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("helpers/words/data.txt", "helpers/words.py"),
        ("helpers/words/data.txt", "helpers/words/__init__.py"),
        ("helpers/words.py", "helpers/words/__init__.py"),
    ],
)
async def test_what_comes_and_would_be_imported_in_the_place_of_something_is(
    tree: PluginTree, before: str, now: str
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write(before, "WORD = 'before'\n")
    user(tree, "user", "from helpers import words", "vars(words).get('WORD')")
    async with serving(tree) as live:
        tree.write(now, "WORD = 'now'\n")
        await live.settle()
        assert live.plugin("user").value() == "now"


async def test_a_module_beside_a_package_of_its_name_reloads_nothing(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "WORD = 'package'\n")
    tree.write("helpers.py", "WORD = 'module'\n")
    user(tree, "user", "from helpers import WORD", "WORD")
    async with serving(tree) as live:
        await live.settle()
        assert live.of(ReloadStarted) == []
        assert live.plugin("user").value() == "package"


@pytest.mark.parametrize(
    ("file", "statement"),
    [("late.py", "import late"), ("helpers/late.py", "from helpers import late")],
)
async def test_a_module_that_comes_after_one_plugin_and_before_another_is_given_to_both(
    tree: PluginTree, file: str, statement: str
) -> None:
    tree.write("helpers/__init__.py", "")
    path = str(tree.root / file)
    saving = f"import pathlib\npathlib.Path({path!r}).write_text('WORD = 1')\n{statement}"
    user(tree, "early", OPTIONAL.format(statement=statement, name="late"), "late and late.WORD")
    user(tree, "later", saving, "late.WORD", depends_on=["early"])
    async with serving(tree) as live:
        await live.settle()
        assert live.plugin("later").value() == 1
        assert live.plugin("early").value() == 1
        await live.settle()
        assert live.of(ReloadStarted) == []


async def test_a_file_that_was_tried_in_vain_runs_no_more_and_holds_nothing_back(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "WORD = 'package'\n")
    tree.write("helpers/words.py", "")
    user(tree, "needy", "from helpers import words", "words")
    async with serving(tree) as live:
        shutil.rmtree(tree.root / "helpers")
        tree.write("helpers.py", "WORD = 'module'\n")
        await live.settle()
        assert live.status("needy").pending
        (tree.root / "helpers.py").unlink()
        tree.write("helpers/__init__.py", "WORD = 'package'\n")
        user(tree, "user", "import helpers", "helpers.WORD")
        await live.settle()
        assert live.plugin("user").value() == "package"
        assert live.status("needy").pending
        assert not live.status("user").pending


async def test_modules_that_a_roll_back_puts_back_do_not_count_as_coming_late(
    tree: PluginTree,
) -> None:
    tree.write("helpers.py", "from words import WORD\n")
    tree.write("words.py", "WORD = 'old'\n")
    user(tree, "user", "from helpers import WORD", "WORD")
    async with serving(tree) as live:
        tree.write("words.py", "WORD = 1 / 0\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("user").value() == "old"


async def test_a_plugin_that_finds_a_module_at_its_second_attempt_is_left_alone(
    tree: PluginTree,
) -> None:
    tree.write("user/vendor/late.py", "WORD = 1\n")
    again = (
        "import pathlib, sys\n"
        "vendor = str(pathlib.Path(__file__).with_name('vendor'))\n"
        "try:\n    import late\n"
        "except ImportError:\n    sys.path.append(vendor)\n    import late\n"
        "finally:\n    sys.path.remove(vendor) if vendor in sys.path else None\n"
    )
    user(tree, "user", again, "late.WORD")
    user(tree, "user2", OPTIONAL.format(statement="import late", name="late"), "late.WORD")
    async with serving(tree) as live:
        await live.settle()
        assert generations(live) == {"user": 1, "user2": 1}
        assert [live.plugin(each).value() for each in ("user", "user2")] == [1, 1]


PICKY = """
from words import WORD
class Plugin:
    def setup(self, ctx):
        assert WORD == "old"
"""


@pytest.mark.parametrize("fails", ["at import", "when it is made", "in setup", "in a process"])
async def test_an_edit_that_fails_beside_news_that_it_comes_to_import_is_tried_without_them(
    tree: PluginTree, fails: str
) -> None:
    tree.write("words.py", "WORD = 'old'\n")
    tree.write("through.py", "import words\n")
    model = 'execution_model = "process_cpu_bound"\n' if fails == "in a process" else ""
    user(tree, "base", "", "'plain'", manifest=model)
    tree.plugin("picky", code=PICKY, depends_on=["base"])
    async with serving(tree) as live:
        tree.write("words.py", "WORD = 'new'\n")
        check = "assert through.words.WORD == 'old'"
        code = USER.format(imports="import through", value="through.words.WORD")
        if fails == "at import":
            code = code.replace("import through", f"import through\n{check}")
        else:
            name = "__init__(self)" if fails == "when it is made" else "setup(self, ctx)"
            code += f"    def {name}:\n        {check}\n"
        tree.write("base/plugin.py", code)
        await live.settle()
        assert live.status("picky").pending
        value = live.plugin("base").value()
        assert (await value if model else value) == "old"


TRIES = """
class Plugin:
    def setup(self, ctx):
        from dagstack_plugins.demo.{name} import plugin
        assert {check}
    def value(self):
        return "new"
"""


async def test_an_edit_that_fails_beside_another_plugins_news_that_it_imports_is_tried_without_them(
    tree: PluginTree,
) -> None:
    user(tree, "base", "WORD = 'old'", "WORD")
    user(tree, "middle", "", "'old'")
    tree.plugin(
        "picky",
        code=TRIES.format(name="base", check="plugin.WORD == 'old'"),
        depends_on=["base", "middle"],
    )
    async with serving(tree) as live:
        user(tree, "base", "WORD = 'new'", "WORD")
        check = "plugin.WORD == 'old'"
        tree.write("middle/plugin.py", TRIES.format(name="base", check=check))
        await live.settle()
        assert live.plugin("base").value() == "old"
        assert live.plugin("middle").value() == "new"


async def test_a_fix_of_what_only_the_new_code_imports_is_seen_wherever_one_looks(
    tree: PluginTree,
) -> None:
    statement = "from helpers import base"
    user(tree, "user", OPTIONAL.format(statement=statement, name="base"), "base")
    async with serving(tree) as live:
        tree.write("helpers/__init__.py", "")
        base = tree.write("helpers/base.py", "1 / 0\n")
        await live.settle()
        assert live.plugin("user").value() is None
        assert "ZeroDivisionError" in str(live.status("user").error)
        ended = time.time_ns()
        while base.stat().st_ctime_ns <= ended:  # Its clock is coarse: not while it was set up.
            base.write_text("")
        await live.settle()
        assert live.plugin("user").value() is not None
        assert not live.status("user").pending


async def test_only_what_does_without_it_is_pending_where_another_one_has_come_to_import_it(
    tree: PluginTree,
) -> None:
    optional = "try:\n    {}\nexcept ImportError:\n    helpers = None"
    user(tree, "early", optional.format("from helpers import base as helpers"), "helpers")
    user(tree, "other", optional.format("import helpers"), "helpers.NAME")
    async with serving(tree) as live:
        tree.write("helpers/__init__.py", "NAME = 'there'\n")
        tree.write("helpers/base.py", "1 / 0\n")
        tree.write("other/more.py", "")
        await live.settle()
        assert live.states == {"early": "ready", "other": "ready"}
        assert live.plugin("other").value() == "there"
        assert live.plugin("early").value() is None
        assert not live.status("other").pending
        assert "division" in str(live.status("early").error)
