"""Who takes a change of shared code when some of those who import it cannot take theirs."""

from __future__ import annotations

import sys

import pytest
from serving import edit, serving
from sharing import user
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted, ReloadRolledBack, ReloadSkipped
from dagstack_dev.core.lifecycle import Stage

pytestmark = pytest.mark.usefixtures("imports_forgotten")


async def test_a_plugin_whose_source_is_rejected_takes_a_change_with_what_it_runs(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    tree.plugin("base")
    user(tree, "broken", "from words import WORD", "WORD", depends_on=["base"])
    user(tree, "sound", "import words", "words")
    async with serving(tree) as live:
        words.write_text("WORD = 'new'\n")
        edit(tree.root / "broken/plugin.py", "class Plugin:", "class Plugin")
        tree.plugin("base", code="class Plugin:\n    def setup(self, ctx): raise ValueError\n")
        await live.settle()
        assert set(live.outcomes) == {ReloadRolledBack, ReloadCommitted}
        assert live.plugin("broken").value() == "new"
        assert live.plugin("sound").value().WORD == "new"
        assert live.plugin("sound").value() is sys.modules["words"]
        assert [live.status(each).pending for each in ("broken", "sound")] == [True, False]


async def test_a_plugin_that_only_rejected_source_would_have_import_it_is_left_alone(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "waiting", "", "'own'")
    user(tree, "sound", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = 'new'\n")
        user(tree, "waiting", "from words import WORD", "WORD", depends_on=["missing"])
        await live.settle()
        assert live.plugin("sound").value() == "new"
        assert live.plugin("waiting").value() == "own"
        generations = [live.status(each).generation for each in ("sound", "waiting")]
        assert generations == [2, 1]


async def test_a_plugin_that_imports_broken_code_no_more_comes_up(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "freed", "from words import WORD", "WORD")
    user(tree, "bound", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = \n")
        user(tree, "freed", "", "'free'")
        await live.settle()
        assert live.plugin("freed").value() == "free"
        assert live.plugin("bound").value() == "old"
        assert [live.status(each).pending for each in ("freed", "bound")] == [False, True]


async def test_a_plugin_that_names_broken_code_only_when_it_runs_goes_on_as_it_was(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "sly", "from words import WORD", "WORD")
    user(tree, "bound", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = \n")
        hidden = "from importlib import import_module\nWORD = import_module('w' + 'ords').WORD"
        user(tree, "sly", hidden, "WORD")
        await live.settle()
        assert [live.plugin(each).value() for each in ("sly", "bound")] == ["old", "old"]
        assert [live.status(each).pending for each in ("sly", "bound")] == [True, True]


async def test_the_only_plugin_that_imports_broken_code_no_more_can_be_rolled_back(
    tree: PluginTree,
) -> None:
    late = "def late():\n    import words\n    return words.WORD"
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "freed", f"from words import WORD\n{late}", "(WORD, late())")
    async with serving(tree) as live:
        words.write_text("WORD = \n")
        user(tree, "freed", "1 / 0", "'free'")
        await live.settle()
        assert live.plugin("freed").value() == ("old", "old")


async def test_a_plugin_that_would_import_broken_code_no_more_is_rolled_back_once(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "freed", "from words import WORD", "WORD")
    user(tree, "bound", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = \n")
        user(tree, "freed", "1 / 0", "'free'")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert [live.plugin(each).value() for each in ("freed", "bound")] == ["old", "old"]
        assert [live.status(each).pending for each in ("freed", "bound")] == [True, True]


async def test_a_plugin_that_does_not_run_meets_broken_code_as_after_a_restart(
    tree: PluginTree,
) -> None:
    user(tree, "strict", "from words import WORD", "WORD")
    careful = "try:\n    from words import WORD\nexcept Exception:\n    WORD = 'none'\n    {more}"
    user(tree, "careful", careful.format(more="raise"), "WORD")
    async with serving(tree) as live:
        assert live.states == {"strict": "failed", "careful": "failed"}
        tree.write("words.py", "WORD = \n")
        user(tree, "careful", careful.format(more="pass"), "WORD")
        await live.settle()
        assert live.plugin("careful").value() == "none"
        assert live.status("strict").stage is Stage.IMPORT


async def test_a_plugin_that_gains_code_of_which_another_keeps_the_old_is_pending(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "keeps", "from words import WORD", "WORD")
    optional = "try:\n    import more\nexcept ImportError:\n    more = None"
    user(tree, "gains", optional, "more and more.WORD")
    async with serving(tree) as live:
        words.write_text("WORD = \n")
        await live.settle()
        tree.write("more.py", "from words import WORD\n")
        await live.settle()
        assert live.plugin("gains").value() == "old"
        assert [live.status(each).pending for each in ("keeps", "gains")] == [True, True]


async def test_a_module_that_failed_for_one_plugin_and_is_mended_for_another_is_one_module(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "import nowhere\n")
    optional = "try:\n    import words\nexcept ImportError:\n    words = None"
    user(tree, "first", optional, "words")
    async with serving(tree) as live:
        words.write_text("WORD = 1\n")
        user(tree, "first", f"{optional}\n1 / 0", "words")
        user(tree, "second", "import words", "words")
        await live.settle()
        assert live.plugin("first").value() is sys.modules["words"]
        assert [live.status(each).pending for each in ("first", "second")] == [True, False]
        user(tree, "first", optional, "words")
        await live.settle()
        for each in ("first", "second"):
            assert live.plugin(each).value() is sys.modules["words"]
            assert not live.status(each).pending


OWN_NEWS = {
    "code that does not compile": ("broken/plugin.py", "class Plugin:", "class Plugin"),
    "code that fails": ("broken/plugin.py", "class Plugin:", "1 / 0\nclass Plugin:"),
    "a setup that fails": (
        "broken/plugin.py",
        "class Plugin:",
        "class Plugin:\n    def setup(self, ctx): 1 / 0\n",
    ),
    "a manifest that cannot be read": ("broken/dagstack.toml", "[plugin]", "[plugin"),
    "a dependency that is nowhere": ("broken/dagstack.toml", '["base"]', '["nowhere"]'),
    "a section that does not fit": ("../config.toml", "1", "'x'"),
}


@pytest.mark.parametrize("news", OWN_NEWS.values(), ids=OWN_NEWS.keys())
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_a_plugin_whose_own_news_are_not_in_force_gets_new_shared_code(
    tree: PluginTree, news: tuple[str, str, str], *, at_once: bool
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    config = tree.write("../config.toml", "[demo.broken]\nport = 1\n")
    schema = '\n[plugin.config_schema]\nproperties = { port = { type = "integer" } }\n'
    tree.plugin("base")
    user(tree, "broken", "from words import WORD", "WORD", depends_on=["base"], manifest=schema)
    user(tree, "sound", "import words", "words.WORD")
    async with serving(tree, config_file=config) as live:
        file, old, new = news
        whole = (tree.root / file).read_text(encoding="utf-8")
        edit(tree.root / file, old, new)
        if not at_once:
            await live.settle()
            assert live.status("broken").pending
        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert [live.plugin(each).value() for each in ("broken", "sound")] == ["new", "new"]
        assert [live.status(each).pending for each in ("broken", "sound")] == [True, False]

        tree.write(file, whole)
        await live.settle()
        assert not live.status("broken").pending
        assert live.plugin("broken").value() == "new"


@pytest.mark.parametrize(
    ("imports", "name"),
    [
        ("from importlib import import_module\nfound = import_module('wo' + 'rds')", "words"),
        ("import outer as found", "outer"),
    ],
    ids=["unnamed", "through others"],
)
async def test_a_plugin_that_comes_to_import_code_on_trial_runs_none_of_it_after_the_roll_back(
    tree: PluginTree, imports: str, name: str
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "bound", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("NAME = 'new'\n")
        tree.write("outer.py", "import inner\n")
        tree.write("inner.py", "import words\n")
        user(tree, "new", imports, "found")
        await live.settle()
        assert live.plugin("bound").value() == "old"
        assert live.plugin("new").value() is sys.modules[name]
        assert [live.status(each).pending for each in ("bound", "new")] == [True, True]


async def test_shared_code_that_only_goes_with_news_that_are_broken_waits_for_these(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "broken", "from words import WORD", "WORD")
    user(tree, "sound", "import words", "dir(words)")
    async with serving(tree) as live:
        words.write_text("NAME = 'new'\n")
        user(tree, "broken", "from words import NAME", "(")
        await live.settle()
        assert live.plugin("broken").value() == "old"
        assert "WORD" in live.plugin("sound").value()
        assert [live.status(each).pending for each in ("broken", "sound")] == [True, True]

        user(tree, "broken", "from words import NAME", "NAME")
        await live.settle()
        assert live.plugin("broken").value() == "new"
        assert "NAME" in live.plugin("sound").value()
        assert [live.status(each).pending for each in ("broken", "sound")] == [False, False]


async def test_of_two_edits_of_which_one_fails_the_other_is_in_force_at_once(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "first", "import words", "words.WORD + '1'")
    user(tree, "second", "import words", "words.WORD + '1'")
    async with serving(tree) as live:
        words.write_text("WORD = 'new'\n")
        user(tree, "first", "import words", "words.WORD + '2'")
        user(tree, "second", "import words\n1 / 0", "words.WORD + '2'")
        await live.settle()
        assert [live.plugin(each).value() for each in ("first", "second")] == ["new2", "new1"]
        assert [live.status(each).pending for each in ("first", "second")] == [False, True]


IN_SETUP = """
from importlib import import_module
class Plugin:
    def setup(self, ctx):
        self.found = import_module("wo" + "rds")
    def value(self):
        return self.found
"""


async def test_whose_setup_imports_code_on_trial_runs_none_of_it_after_the_roll_back(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "bound", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("NAME = 'new'\n")
        tree.plugin("late", code=IN_SETUP)
        await live.settle()
        assert live.plugin("bound").value() == "old"
        assert live.plugin("late").value() is sys.modules["words"]
        assert [live.status(each).pending for each in ("bound", "late")] == [True, True]


ONCE = """
class Plugin:
    found = None
    def value(self):
        {imports} as now
        self.found = self.found or now
        return self.found.WORD
"""

CALLS = """
import words
WORD = words.WORD
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
    def teardown(self):
        late = self.ctx.registry.get_plugin("demo", "late")
        self.ctx.extras["journal"].append(late.value())
"""


@pytest.mark.parametrize("imports", ["import words", "from ..bound import plugin"])
async def test_a_plugin_that_imports_code_just_before_it_is_replaced_runs_none_of_it_then(
    tree: PluginTree, imports: str
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    tree.plugin("bound", code=CALLS)
    tree.plugin("late", code=ONCE.format(imports=imports))
    async with serving(tree) as live:
        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert live.journal == ["old"]
        assert live.plugin("late").value() == "new"
        assert live.outcomes == [ReloadCommitted, ReloadCommitted]


LATE = """
class Plugin:
    def value(self):
        from words import WORD
        return WORD
"""


@pytest.mark.parametrize("text", ["WORD = \n", "1 / 0\n", "NAME = 'new'\n"])
async def test_a_plugin_that_imports_what_is_held_back_only_in_a_call_is_pending_then(
    tree: PluginTree, text: str
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "bound", "from words import WORD", "WORD")
    tree.plugin("late", code=LATE)
    async with serving(tree) as live:
        words.write_text(text)
        await live.settle()
        assert [live.status(each).pending for each in ("bound", "late")] == [True, False]
        assert live.plugin("late").value() == "old"
        await live.settle()
        assert [live.status(each).pending for each in ("bound", "late")] == [True, True]
        assert str(live.status("late").error)
        await live.settle()
        assert [each for each in live.facts if not isinstance(each, ReloadSkipped)] == []

        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert [live.status(each).pending for each in ("bound", "late")] == [False, False]
        assert live.plugin("late").value() == "new"


async def test_code_that_only_what_has_failed_imports_is_in_force_though_it_failed_with_another(
    tree: PluginTree,
) -> None:
    helpers = tree.write("helpers.py", "import missing\n")
    user(tree, "failed", "import helpers", "0")
    user(tree, "above", "", "1")
    tree.plugin(
        "caller",
        code="""
        class Plugin:
            def value(self):
                import helpers
        """,
    )
    async with serving(tree) as live:
        assert live.states == {"failed": "failed", "above": "ready", "caller": "ready"}
        helpers.write_text("def (\n")
        user(tree, "above", "", "2", depends_on=["failed"])
        await live.settle()
        assert live.status("above").pending
        with pytest.raises(SyntaxError):
            live.plugin("caller").value()
        await live.settle()
        assert not live.status("caller").pending
