"""What fails on the way is rolled back: the last good generation runs again."""

from __future__ import annotations

import pytest
from serving import edit, ref, serving
from trees import CODE, PluginTree

from dagstack_dev import AmbiguousPlugin, PluginLoadError, SetupTimeout, State
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
)
from dagstack_dev.core.lifecycle import Stage

IMPORT_RAISES = CODE.format(name="base", value=2) + "\nraise RuntimeError('at import')\n"
CONSTRUCTOR_RAISES = """
class Plugin:
    def __init__(self):
        raise RuntimeError("in the constructor")
"""
SETUP_RAISES = """
class Plugin:
    def setup(self, ctx):
        raise RuntimeError("in setup")
"""
SETUP_HANGS = """
import anyio
class Plugin:
    async def setup(self, ctx):
        await anyio.sleep_forever()
"""
NO_CLASS_AFTER_ALL = """
import sys
if sys.maxsize < 0:
    class Plugin: pass
"""
EXITS = """
import sys
class Plugin:
    def setup(self, ctx):
        sys.exit(3)
"""

FAILURES = {
    "import raises": (IMPORT_RAISES, PluginLoadError),
    "constructor raises": (CONSTRUCTOR_RAISES, PluginLoadError),
    "setup raises": (SETUP_RAISES, RuntimeError),
    "setup times out": (SETUP_HANGS, SetupTimeout),
    "class is not bound": (NO_CLASS_AFTER_ALL, PluginLoadError),
    "setup calls sys.exit": (EXITS, SystemExit),
}


@pytest.mark.parametrize(("code", "error"), FAILURES.values(), ids=FAILURES.keys())
async def test_the_previous_generation_runs_again_with_new_instances(
    tree: PluginTree, code: str, error: type[BaseException]
) -> None:
    one_second = "startup_timeout_sec = 1\n"
    tree.plugin("base", manifest=one_second)
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        modules = live.module("base"), live.module("user")
        before = live.instance("base"), live.instance("user")
        proxy = live.plugin("base")
        tree.write("base/plugin.py", code)
        await live.settle()

        assert live.outcomes == [ReloadRolledBack]
        [fact] = live.of(ReloadRolledBack)
        assert fact.running == {ref("base"): 1, ref("user"): 1}
        assert isinstance(fact.errors[ref("base")], error)
        assert live.states == {"base": "ready", "user": "ready"}
        assert (live.module("base"), live.module("user")) == modules
        assert live.instance("base") is not before[0]
        assert live.instance("user") is not before[1]
        assert proxy.value() == 1
        assert live.journal[-2:] == ["setup base 1", "setup user 1"]
        status = live.status("base")
        assert (status.pending, status.generation) == (True, 1)
        assert isinstance(status.error, error)
        assert not live.status("user").pending

        tree.plugin("base", value=3, manifest=one_second)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert proxy.value() == 3
        assert (live.status("base").pending, live.status("base").error) == (False, None)


async def test_what_was_set_up_before_the_failure_is_torn_down_first(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.plugin("base", value=2)
        tree.write("user/plugin.py", SETUP_RAISES)
        await live.settle()
        assert live.journal == [
            "teardown user 1",
            "teardown base 1",
            "setup base 2",
            "teardown base 2",
            "setup base 1",
            "setup user 1",
            # Nothing speaks against the news of the other one.
            "teardown user 1",
            "teardown base 1",
            "setup base 2",
            "setup user 1",
        ]
        assert not live.status("base").pending
        assert live.status("user").pending


async def test_a_failing_dependent_of_changed_code_rolls_the_change_back(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    picky = """
    class Plugin:
        def setup(self, ctx):
            assert ctx.registry.get_plugin("demo", "base").value() == 1, "I want 1"
    """
    tree.plugin("picky", depends_on=["base"], code=picky)
    async with serving(tree) as live:
        tree.plugin("base", value=2)
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("base").value() == 1
        assert live.status("base").pending
        assert "I want 1" in str(live.status("base").error)


async def test_of_two_unconnected_changes_one_commits_and_one_rolls_back(
    tree: PluginTree,
) -> None:
    tree.plugin("good")
    tree.plugin("good_user", depends_on=["good"])
    tree.plugin("bad")
    tree.plugin("bad_user", depends_on=["bad"])
    async with serving(tree) as live:
        tree.plugin("good", value=2)
        tree.write("bad/plugin.py", SETUP_RAISES)
        await live.settle()
        assert set(live.outcomes) == {ReloadCommitted, ReloadRolledBack}
        [committed] = live.of(ReloadCommitted)
        assert committed.affected == (ref("good"), ref("good_user"))
        [rolled_back] = live.of(ReloadRolledBack)
        assert rolled_back.affected == (ref("bad"), ref("bad_user"))
        assert live.plugin("good").value() == 2
        assert live.plugin("bad").value() == 1
        assert not live.status("good").pending
        assert live.status("bad").pending


async def test_a_rolled_back_plugin_is_tried_again_with_the_next_batch(tree: PluginTree) -> None:
    needs_flag = """
    class Plugin:
        VALUE = 2
        def setup(self, ctx):
            if not ctx.extras["flag"]:
                raise RuntimeError("not yet")
        def value(self):
            return self.VALUE
    """
    tree.plugin("base")
    tree.plugin("other")
    flag: list[str] = []
    async with serving(tree, extras={"flag": flag}) as live:
        tree.write("base/plugin.py", "# new\n")
        tree.plugin("base", code=needs_flag)
        await live.settle()
        assert live.plugin("base").value() == 1
        flag.append("now")
        tree.plugin("other", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("base").value() == 2
        assert not live.status("base").pending


ONCE_ONLY = """
import sys
class Plugin:
    VALUE = 1
    def setup(self, ctx):
        taken = ctx.extras["taken"]
        if taken:
            raise RuntimeError("cannot be set up twice")
        taken.append(True)
    def value(self):
        return self.VALUE
"""


async def test_a_rollback_that_fails_is_reported_as_failed_and_blocks_dependents(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=ONCE_ONLY)
    tree.plugin("user", depends_on=["base"])
    taken: list[bool] = []
    async with serving(tree, extras={"taken": taken}) as live:
        tree.write("base/plugin.py", SETUP_RAISES)
        await live.settle()
        rolled_back, built_anew = live.of(ReloadFailed)
        assert live.outcomes == [ReloadFailed, ReloadFailed]
        assert "cannot be set up twice" in str(rolled_back.errors[ref("base")])
        assert "cannot be set up twice" not in str(built_anew.errors[ref("base")])
        assert live.states == {"base": "failed", "user": "blocked"}
        assert live.status("base").stage is Stage.SETUP
        assert live.status("user").blocked_by == ("demo/base",)
        assert live.module("base") is None
        assert live.journal == ["teardown user 1"]

        tree.plugin("base", value=3)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.states == {"base": "ready", "user": "ready"}
        assert live.plugin("base").value() == 3


async def test_a_failing_plugin_that_was_not_ready_rolls_nothing_back(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.plugin("base", value=2)
        tree.plugin("newcomer", depends_on=["base"], code=SETUP_RAISES)
        await live.settle()
        assert live.plugin("base").value() == 2
        assert live.states == {"base": "ready", "newcomer": "failed"}
        assert live.outcomes == [ReloadFailed]
        assert not live.status("base").pending
        kept = live.instance("base")
        tree.plugin("newcomer", depends_on=["base"], value=3)
        await live.settle()
        assert live.state("newcomer") is State.READY
        assert live.instance("base") is kept


async def test_after_a_rollback_and_mending_names_resolve_as_after_a_cold_start(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.write("base/plugin.py", SETUP_RAISES)
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        tree.plugin("base", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        tree.plugin("base", kind="other", folder="twin")
        await live.settle()
        assert [each.ref for each in live.of(PluginRejected)] == [ref("user")]
        assert isinstance(live.status("user").error, AmbiguousPlugin)


async def test_a_rolled_back_manifest_change_keeps_the_old_wiring(tree: PluginTree) -> None:
    tree.plugin("a")
    tree.plugin("b")
    tree.plugin("user", depends_on=["a"])
    async with serving(tree) as live:
        tree.plugin("user", depends_on=["b"], code=SETUP_RAISES)
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        (tree.root / "user/plugin.py").write_text("class Plugin(")  # keep it from coming in
        tree.plugin("a", value=2)
        await live.settle()
        assert live.affected == {"a", "user"}
        tree.plugin("b", value=2)
        await live.settle()
        assert live.affected == {"b"}


async def test_an_error_in_the_old_teardown_does_not_stop_the_reload(tree: PluginTree) -> None:
    code = CODE.format(name="base", value=1)
    tree.plugin(
        "base", code=code.replace("def value", "def teardown(self): 1 / 0\n\n    def value")
    )
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        edit(tree.root / "base/plugin.py", "1 / 0", "pass")
        edit(tree.root / "base/plugin.py", "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("base").value() == 2


async def test_a_newcomer_whose_transaction_rolls_back_comes_in_without_the_failure(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.write("base/plugin.py", SETUP_RAISES)
        tree.plugin("newcomer", depends_on=["base"])
        await live.settle()
        assert live.plugin("base").value() == 1
        assert live.states == {"base": "ready", "newcomer": "ready"}


async def test_what_has_read_other_data_in_a_roll_back_is_renewed_when_its_own_is_back(
    tree: PluginTree,
) -> None:
    code = """
    from pathlib import Path

    class Plugin:
        def setup(self, ctx):
            self.text = Path(__file__).with_name("prompt.txt").read_text()
    """
    folder = tree.plugin("base", code=code)
    prompt = folder / "prompt.txt"
    prompt.write_text("old")
    text = (folder / "plugin.py").read_text()
    async with serving(tree) as live:
        prompt.write_text("new")
        (folder / "plugin.py").write_text(text + "        1 / 0\n")
        await live.settle()
        assert live.status("base").pending
        prompt.write_text("old")
        (folder / "plugin.py").write_text(text)
        await live.settle()
        assert live.plugin("base").text == "old"
        assert not live.status("base").pending
        (folder / "plugin.py").write_text(text + "        1 / 0\n")
        await live.settle()
        (folder / "plugin.py").write_text(text)
        await live.settle()
        assert live.outcomes == []
