"""Code that plugins import and that is no plugin: edits of it reach exactly who imports it."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import weakref
from importlib import import_module
from pathlib import Path

import pytest
from serving import edit, serving
from sharing import generations, user
from trees import PluginTree

from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    Transition,
    WatchProblem,
)
from dagstack_dev.core.lifecycle import State
from dagstack_dev.disk.accounts import account

pytestmark = pytest.mark.usefixtures("imports_forgotten")


async def test_a_helper_package_beside_the_plugins_reloads_exactly_its_importers(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    tree.write("helpers/other.py", "WORD = 'other'\n")
    user(tree, "direct", "from helpers.words import WORD", "WORD")
    user(tree, "other", "from helpers import other", "other.WORD")
    tree.plugin("stranger")
    tree.plugin("dependent", depends_on=["direct"])
    async with serving(tree) as live:
        assert live.plugin("direct").value() == "old"
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("direct").value() == "new"
        assert live.affected == {"direct", "dependent"}
        assert generations(live) == {"direct": 2, "other": 1, "stranger": 1, "dependent": 1}
        [reason] = {fact.reason for fact in live.of(Transition) if fact.ref.name == "direct"}
        assert "helpers/words.py, which changed" in reason


async def test_a_folder_that_lacks_an_init_is_named_until_it_has_one(tree: PluginTree) -> None:
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "a", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        error = live.status("a").error
        assert error is not None
        assert any(
            part.text.startswith(f"{words.parent} has no __init__.py; add one")
            for part in account(error)
        )
        init = tree.write("helpers/__init__.py", "")
        await live.fact(ReloadCommitted)
        assert live.plugin("a").value() == "old"
        reasons = {fact.reason for fact in live.of(Transition) if fact.to_state is State.READY}
        assert reasons == {f"it imports {init}, which changed"}


async def test_a_root_that_is_away_takes_no_shared_code_with_it(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "a", "from helpers.words import WORD", "WORD")
    away = tree.root.with_name("away")
    async with serving(tree) as live:
        shutil.copytree(tree.root, away)
        shutil.rmtree(tree.root)
        await live.fact(WatchProblem)
        await live.server.wait_idle()
        assert live.of(ReloadStarted) == []
        assert live.plugin("a").value() == "old"
        edit(away / words.relative_to(tree.root), "old", "new")
        away.rename(tree.root)
        await live.fact(ReloadCommitted)
        assert live.plugin("a").value() == "new"


@pytest.mark.parametrize(
    "statement", ["from helpers import words", "import helpers.words as words"]
)
async def test_a_module_that_was_done_without_is_taken_when_it_comes_into_its_package(
    tree: PluginTree, statement: str
) -> None:
    tree.write("helpers/__init__.py", "")
    optional = f"try:\n    {statement}\nexcept ImportError:\n    words = None"
    user(tree, "a", optional, "words and words.WORD")
    async with serving(tree) as live:
        assert live.plugin("a").value() is None
        for text, expected in (
            ("WORD = 'come'", "come"),
            ("raise ImportError('not now')", None),
            ("WORD = 'back'", "back"),
        ):
            tree.write("helpers/words.py", text)
            await live.settle()
            assert live.outcomes == [ReloadCommitted]
            assert live.plugin("a").value() == expected


async def test_a_plugin_that_comes_gets_a_change_beside_one_with_a_bad_edit(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "broken", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        edit(tree.root / "broken/plugin.py", "class Plugin:", "class Plugin")
        edit(tree.root / "helpers/words.py", "old", "new")
        user(tree, "new", "from helpers.words import WORD", "WORD")
        await live.settle()
        assert [live.plugin(each).value() for each in ("new", "broken")] == ["new", "new"]
        assert live.status("broken").pending


async def test_a_plugin_that_comes_is_pending_when_it_runs_shared_code_that_no_longer_compiles(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "old", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        tree.write("helpers/words.py", "WORD = \n")
        user(tree, "new", "from helpers.words import WORD", "WORD")
        await live.settle()
        assert live.status("old").pending
        assert live.status("new").pending
        tree.write("helpers/words.py", "WORD = 'new'\n")
        await live.settle()
        assert [live.plugin(each).value() for each in ("old", "new")] == ["new", "new"]


async def test_an_edit_that_was_rolled_back_for_a_missing_module_is_tried_when_that_comes(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "plain", "", "1")
    user(tree, "through", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        user(tree, "plain", "import later", "later.VALUE")
        tree.write("helpers/words.py", "from helpers.more import WORD\n")
        await live.settle()
        assert live.status("plain").pending
        assert live.status("through").pending
        tree.write("later.py", "VALUE = 2\n")
        await live.settle()
        assert live.plugin("plain").value() == 2
        tree.write("helpers/more.py", "WORD = 'new'\n")
        await live.settle()
        assert live.plugin("through").value() == "new"


@pytest.mark.parametrize("fails", ["at import", "in setup", "in shared code"])
async def test_an_edit_that_was_rolled_back_for_what_it_did_without_is_tried_when_that_comes(
    tree: PluginTree, fails: str
) -> None:
    optional = "try:\n    import later\nexcept ImportError:\n    later = None\n"
    helpers = optional + "VALUE = later.VALUE\n" if fails == "in shared code" else ""
    tree.write("helpers.py", helpers)
    user(tree, "plain", "", "1")
    imports = {
        "at import": optional + "VALUE = later.VALUE",
        "in setup": optional,
        "in shared code": "from helpers import VALUE",
    }[fails]
    async with serving(tree) as live:
        user(tree, "plain", imports, "later.VALUE" if fails == "in setup" else "VALUE")
        if fails == "in setup":
            edit(tree.root / "plain/plugin.py", "class Plugin:", SETUP)
        await live.settle()
        assert live.status("plain").pending
        tree.write("later.py", "VALUE = 2\n")
        await live.settle()
        assert live.plugin("plain").value() == 2


SETUP = """class Plugin:
    def setup(self, ctx):
        later.VALUE
"""


async def test_a_change_is_in_force_for_a_plugin_with_a_bad_edit_too(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "a", "from helpers.words import WORD", "WORD")
    user(tree, "b", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        edit(tree.root / "a/plugin.py", "class Plugin:", "class Plugin")
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert [live.plugin(each).value() for each in ("a", "b")] == ["new", "new"]
        assert live.status("a").pending
        edit(tree.root / "a/plugin.py", "class Plugin", "class Plugin:")
        await live.settle()
        assert [live.plugin(each).value() for each in ("a", "b")] == ["new", "new"]
        assert not live.status("a").pending


async def test_a_module_that_only_a_removed_plugin_imported_is_taken_as_it_is_now(
    tree: PluginTree,
) -> None:
    tree.write("words.py", "WORD = \n")
    user(tree, "gone", "from words import WORD", "WORD")
    async with serving(tree) as live:
        shutil.rmtree(tree.root / "gone")
        await live.settle()
        tree.write("words.py", "WORD = 'new'\n")
        user(tree, "come", "from words import WORD", "WORD")
        await live.settle()
        assert live.plugin("come").value() == "new"


async def test_modules_in_between_are_imported_anew_in_order(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "ORDER = []\n")
    tree.write("helpers/base.py", "import helpers\nhelpers.ORDER.append('base')\nWORD = 'old'\n")
    tree.write(
        "helpers/middle.py",
        "import helpers\nfrom helpers.base import WORD\nhelpers.ORDER.append('middle')\n",
    )
    tree.write("helpers/apart.py", "import helpers\nhelpers.ORDER.append('apart')\n")
    user(
        tree,
        "far",
        "from helpers import ORDER, apart, middle",
        "(middle.WORD, tuple(ORDER))",
    )
    async with serving(tree) as live:
        assert live.plugin("far").value() == ("old", ("apart", "base", "middle"))
        edit(tree.root / "helpers/base.py", "old", "new")
        await live.settle()
        word, order = live.plugin("far").value()
        assert word == "new"
        assert order == ("apart", "base", "middle", "base", "middle")


@pytest.mark.parametrize(
    ("imports", "value"),
    [
        ("import helpers.words", "helpers.words.WORD"),
        ("import helpers.words as w", "w.WORD"),
        ("from helpers import words", "words.WORD"),
        ("from helpers.words import *", "WORD"),
        ("from helpers import *", "words.WORD"),
        ("from importlib import import_module", "import_module('helpers.words').WORD"),
        ("import importlib", "importlib.import_module('.words', 'helpers').WORD"),
        ("", "__import__('helpers.words').words.WORD"),
        ("def late():\n    from helpers.words import WORD\n    return WORD", "late()"),
        (
            (
                "try:\n    from helpers.none import X\nexcept ImportError:\n"
                "    from helpers.words import WORD"
            ),
            "WORD",
        ),
    ],
)
async def test_every_way_to_import_counts(tree: PluginTree, imports: str, value: str) -> None:
    tree.write("helpers/__init__.py", "__all__ = ['words']\n")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", imports, value)
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("user").value() == "new"


@pytest.mark.parametrize(
    "imports",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from helpers.words import WORD",
        "def never():\n    import helpers.words",
        "TEXT = 'helpers.words'",
    ],
)
async def test_an_import_that_never_happened_does_not_count(tree: PluginTree, imports: str) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", imports, "1")
    user(tree, "real", "import helpers.words", "helpers.words.WORD")
    async with serving(tree) as live:
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.affected == {"real"}


async def test_a_package_that_changes_takes_its_modules_along(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "WORD = 'old'\n")
    tree.write("helpers/inner.py", "from helpers import WORD\n")
    user(tree, "user", "import helpers.inner", "(helpers.WORD, helpers.inner.WORD)")
    async with serving(tree) as live:
        edit(tree.root / "helpers/__init__.py", "old", "new")
        await live.settle()
        assert live.plugin("user").value() == ("new", "new")


async def test_circular_imports_are_renewed_together(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/a.py", "from helpers import b\nWORD = 'old'\n")
    tree.write("helpers/b.py", "import helpers.a\ndef word():\n    return helpers.a.WORD\n")
    user(tree, "user", "from helpers.b import word", "word()")
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        edit(tree.root / "helpers/a.py", "old", "new")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_a_plugins_own_file_imported_by_another_name_is_renewed(
    tree: PluginTree, tmp_path: Path
) -> None:
    sys.path.append(str(tmp_path))  # Where the plugins' root is a namespace package.
    tree.write("user/words.py", "WORD = 'old'\n")
    user(tree, "user", f"from {tree.root.name}.user.words import WORD", "WORD")
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        edit(tree.root / "user/words.py", "old", "new")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_the_apps_own_package_counts_when_it_is_named(
    tree: PluginTree, tmp_path: Path
) -> None:
    app = tmp_path / "src/myapp"
    tree.write(app / "__init__.py", "")
    tree.write(app / "llm/__init__.py", "")
    factory = tree.write(app / "llm/factory.py", "import json\nfrom myapp.names import NAME\n")
    names = tree.write(app / "names.py", "NAME = 'old'\n")
    sys.path.append(str(tmp_path / "src"))
    ours = import_module("myapp.names")  # As the app does before it starts its server.
    user(tree, "user", "from myapp.llm.factory import NAME, json", "NAME")
    async with serving(tree, code_roots=[tmp_path / "src"]) as live:
        json = sys.modules["json"]
        edit(names, "old", "new")
        await live.settle()
        assert live.plugin("user").value() == "new"
        assert ours.NAME == "old"
        assert sys.modules["json"] is json
        edit(factory, "import NAME", "import NAME as OLD\nNAME = OLD * 2")
        await live.settle()
        assert live.plugin("user").value() == "newnew"


async def test_code_outside_every_root_is_left_alone(tree: PluginTree, tmp_path: Path) -> None:
    words = tree.write(tmp_path / "lib/outside_words.py", "WORD = 'old'\n")
    sys.path.append(str(tmp_path / "lib"))
    user(tree, "user", "import outside_words", "outside_words.WORD")
    async with serving(tree) as live:
        edit(words, "old", "new")
        await live.settle()
        assert live.affected == set()
        assert live.plugin("user").value() == "old"


async def test_shared_code_that_does_not_compile_touches_nothing(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "one", "from helpers.words import WORD", "WORD")
    user(tree, "two", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        before = live.instance("one")
        tree.write("helpers/words.py", "WORD = 'old'\ndef broken(:\n")
        await live.settle()
        assert {fact.ref.name for fact in live.of(PluginRejected) if fact.ref} == {"one", "two"}
        error = live.status("one").error
        assert "SyntaxError" in str(error)
        assert "helpers/words.py" in str(error)
        assert live.status("one").pending
        assert live.instance("one") is before
        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert live.plugin("one").value() == live.plugin("two").value() == "new"
        assert not live.status("one").pending


async def test_shared_code_that_goes_back_to_what_runs_settles(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "one", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = (\n")
        await live.settle()
        assert live.status("one").pending
        words.write_text("WORD = 'old'\n")
        await live.settle()
        assert not live.status("one").pending
        assert generations(live) == {"one": 1}


async def test_a_failure_rolls_back_every_plugin_that_shares_the_code(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    lazy = "def late():\n    import helpers.words\n    return helpers.words.WORD"
    user(tree, "calm", f"from helpers.words import WORD\n{lazy}", "(WORD, late())")
    user(
        tree,
        "picky",
        "from helpers.words import WORD\nif WORD == 'bad': raise ValueError('not that word')",
        "WORD",
    )
    async with serving(tree) as live:
        module = sys.modules["helpers.words"]
        words.write_text("WORD = 'bad'\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.states == {"calm": "ready", "picky": "ready"}
        assert live.plugin("calm").value() == ("old", "old")
        assert sys.modules["helpers.words"] is module
        words.write_text("WORD = 'good'\n")
        await live.settle()
        assert live.plugin("calm").value() == ("good", "good")
        assert live.plugin("picky").value() == "good"


async def test_a_roll_back_leaves_a_package_the_names_that_it_has_bound(tree: PluginTree) -> None:
    tree.write("kit/__init__.py", "from .word import word\n")
    word = tree.write("kit/word.py", "def word(): return 'old'\n")
    user(tree, "it", "import kit", "kit.word()")
    async with serving(tree) as live:
        word.write_text("raise ValueError\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("it").value() == "old"


async def test_a_change_that_failed_is_tried_again_with_the_next_one(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "from helpers.base import WORD\n")
    base = tree.write("helpers/base.py", "WORD = 'old'\nEXTRA = 0\n")
    user(tree, "one", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("from helpers.base import WORD, MORE\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        base.write_text("WORD = 'new'\nMORE = 1\n")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("one").value() == "new"
        assert not live.status("one").pending


async def test_a_module_that_vanishes_is_missed_and_welcomed_back(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "one", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        words.unlink()
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("one").value() == "old"
        assert "helpers.words" in str(live.status("one").error)
        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert live.plugin("one").value() == "new"


async def test_a_module_that_was_missing_is_found_when_it_comes(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    optional = "try:\n    from helpers.extra import WORD\nexcept ImportError:\n    WORD = None"
    user(tree, "hopeful", optional, "WORD")
    user(tree, "needy", "import helpers.needed", "helpers.needed.WORD")
    async with serving(tree) as live:
        assert live.states == {"hopeful": "ready", "needy": "failed"}
        tree.write("helpers/extra.py", "WORD = 'extra'\n")
        await live.settle()
        assert live.plugin("hopeful").value() == "extra"
        tree.write("helpers/needed.py", "WORD = 'needed'\n")
        await live.settle()
        assert live.plugin("needy").value() == "needed"


async def test_what_no_plugin_imports_is_taken_note_of(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(
        tree, "late", "def late():\n    from helpers import words\n    return words.WORD", "late()"
    )
    async with serving(tree) as live:
        held = import_module("helpers.words")  # By the app, not by a plugin.
        edit(words, "old", "new")
        await live.settle()
        assert [fact.reason for fact in live.of(ReloadSkipped)] == [
            "no plugin imports what changed"
        ]
        assert sys.modules["helpers.words"] is held
        assert live.plugin("late").value() == "new"


async def test_what_no_plugin_imports_goes_with_a_module_that_it_holds(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    tree.write("holder.py", "import words\n")
    user(tree, "user", "import holder", "holder.words.WORD")
    async with serving(tree) as live:
        old = weakref.ref(sys.modules["words"])
        user(tree, "user", "", "__import__('words').WORD")
        await live.settle()
        edit(words, "old", "new")
        await live.settle()
        assert live.plugin("user").value() == "new"
        gc.collect()
        assert old() is None


async def test_code_of_the_app_that_comes_later_gets_what_the_app_runs(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    tree.write("later.py", "import words\n")
    user(tree, "user", "", "__import__('later').words.WORD")
    async with serving(tree) as live:
        held = import_module("words")
        edit(words, "old", "new")
        await live.settle()
        assert import_module("later").words is held is sys.modules["words"]
        assert live.plugin("user").value() == "new"


async def test_code_of_the_app_is_out_of_date_still_when_a_roll_back_puts_it_back(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    tree.write("helpers.py", "import names, words\nWORD = words.WORD\n")
    names = tree.write("names.py", "")
    user(tree, "user", "import names", "__import__('helpers').WORD")
    async with serving(tree) as live:
        import_module("helpers")
        edit(words, "old", "new")
        await live.settle()
        edit(names, "", "1 / 0")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("user").value() == "new"


async def test_an_edit_of_equal_length_in_the_same_second_is_never_stale(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 1\n")
    user(tree, "one", "from helpers.words import WORD", "WORD")
    status = words.stat()
    async with serving(tree) as live:
        for number in range(2, 6):
            words.write_text(f"WORD = {number}\n")
            os.utime(words, ns=(status.st_atime_ns, status.st_mtime_ns))
            await live.settle()
            assert live.plugin("one").value() == number


async def test_editing_a_plugin_and_what_it_shares_at_once_is_one_reload(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "one", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("NAME = 'new'\n")
        user(tree, "one", "from helpers.words import NAME", "NAME")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("one").value() == "new"
        assert generations(live) == {"one": 2}


async def test_shared_code_may_import_a_plugins_code(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.plugin("base", value="old")
    async with serving(tree) as live:
        base = f"{live.namespace}.demo.base.plugin"
        tree.write("helpers/words.py", f"from {base} import Plugin\nWORD = Plugin.VALUE\n")
        user(tree, "one", "from helpers.words import WORD", "WORD", depends_on=["base"])
        await live.settle()
        assert live.plugin("one").value() == "old"
        tree.plugin("base", value="new")
        await live.settle()
        assert live.plugin("one").value() == "new"


async def test_a_module_in_a_package_that_fails_is_not_waited_for(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "import helpers.words\n")
    optional = "try:\n    from helpers import text\nexcept ImportError:\n    text = None"
    user(tree, "one", optional, "text")
    async with serving(tree) as live:
        tree.write("helpers/text.py", "broken (\n")  # A start does not come to it.
        await live.settle()
        assert not live.status("one").pending
        assert live.plugin("one").value() is None
