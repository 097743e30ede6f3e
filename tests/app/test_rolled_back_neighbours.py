"""What has nothing to lose, in a transaction that is rolled back or fails."""

from __future__ import annotations

import shutil

from serving import serving
from trees import PluginTree

FAILING = "class Plugin:\n    def setup(self, ctx):\n        1 / 0\n"
NOT_IMPORTABLE = "raise ImportError('no')\nclass Plugin: pass\n"


async def test_a_new_plugin_that_must_wait_is_blocked(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.write("base/plugin.py", FAILING)
        tree.plugin("new", depends_on=["base", "nowhere"])
        await live.settle()
        assert live.states == {"base": "ready", "new": "blocked"}
        assert live.status("new").blocked_by == ("nowhere",)


async def test_a_new_plugin_that_is_broken_is_failed(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", folder="x", depends_on=["base"])
    async with serving(tree) as live:
        tree.write("base/plugin.py", FAILING)
        tree.plugin("new", depends_on=["user", "newer"])
        tree.plugin("newer", depends_on=["base", "new"])
        await live.settle()
        assert live.states == {
            "base": "ready",
            "user": "ready",
            "new": "failed",
            "newer": "failed",
        }


async def test_a_removed_plugin_that_did_not_run_is_gone(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("waiting", depends_on=["base", "nowhere"])
    async with serving(tree) as live:
        tree.write("base/plugin.py", FAILING)
        shutil.rmtree(tree.root / "waiting")
        await live.settle()
        assert live.states == {"base": "ready"}


async def test_a_plugin_that_no_longer_depends_on_the_failure_comes_up(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("new", depends_on=["base"], code=FAILING)
    async with serving(tree) as live:
        assert live.states == {"base": "ready", "new": "failed"}
        tree.write("base/plugin.py", FAILING)
        tree.plugin("new")
        await live.settle()
        assert live.states == {"base": "ready", "new": "ready"}
        assert live.status("base").pending


async def test_a_plugin_that_failed_before_and_now_has_to_wait_is_blocked(
    tree: PluginTree,
) -> None:
    tree.plugin("user", depends_on=["base"], code="class Plugin:\n    def setup(self")
    async with serving(tree) as live:
        assert live.states == {"user": "failed"}
        tree.plugin("base", code=NOT_IMPORTABLE)
        tree.plugin("user", depends_on=["base"])
        await live.settle()
        assert live.states == {"base": "failed", "user": "blocked"}
        assert live.status("user").blocked_by == ("demo/base",)
        assert live.status("user").error is None


async def test_independent_plugins_are_set_up_by_priority(tree: PluginTree) -> None:
    tree.plugin("a")
    tree.plugin("b", manifest="            priority = 5\n")
    tree.plugin("c", manifest="            priority = 9\n")
    async with serving(tree) as live:
        assert live.journal == ["setup c 1", "setup b 1", "setup a 1"]
        live.forget()
        tree.plugin("a", value=2)
        tree.plugin("b", value=2, manifest="            priority = 5\n")
        await live.settle()
        assert live.journal == ["teardown a 1", "teardown b 1", "setup b 2", "setup a 2"]
