"""A plugin whose folder offers something else than what runs is pending, whatever happens."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev import State
from dagstack_dev.core.events import (
    PluginFixed,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
)

BORROWER = """
    from ..base.plugin import Plugin as Borrowed
    class Plugin:
        VALUE = {value!r}
        def setup(self, ctx):
            self.borrowed = Borrowed.VALUE
"""
PICKY = """
    class Plugin:
        def setup(self, ctx):
            assert ctx.registry.get_plugin("demo", "base").value() == 1
"""
BROKEN = "class Plugin:\n    def setup(self"
FAILING = "class Plugin:\n    def setup(self, ctx):\n        1 / 0\n"


async def test_it_stays_pending_while_what_it_depends_on_is_reloaded(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.write("user/plugin.py", BROKEN)
        await live.settle()
        error = live.status("user").error
        assert live.status("user").pending
        tree.plugin("base", value=2)
        await live.settle()
        assert live.reached(State.READY) == ["base", "user"]
        assert live.status("user").pending
        assert str(live.status("user").error) == str(error)


async def test_it_stays_pending_when_a_reload_of_what_it_depends_on_is_rolled_back(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"], code=PICKY)
    async with serving(tree) as live:
        tree.write("user/plugin.py", BROKEN)
        await live.settle()
        error = live.status("user").error
        tree.plugin("base", value=2)
        await live.settle()
        assert {*live.outcomes} == {ReloadRolledBack}
        assert live.status("user").pending
        assert str(live.status("user").error) == str(error)


async def test_it_is_pending_when_it_is_rejected_and_set_up_again_in_one_reload(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.write("user/plugin.py", BROKEN)
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("base").value() == 2
        assert live.status("user").pending


async def test_it_is_loaded_anew_from_its_last_good_source_when_code_it_imports_changes(
    tree: PluginTree,
) -> None:
    tree.plugin("base", value=1)
    tree.plugin("user", depends_on=["base"], code=BORROWER.format(value="old"))
    async with serving(tree) as live:
        tree.plugin("user", depends_on=["base", "nowhere"], code=BORROWER.format(value="rejected"))
        await live.settle()
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("user").VALUE == "old"
        assert live.plugin("user").borrowed == 2
        assert live.status("user").pending

        tree.plugin("nowhere")
        await live.settle()
        assert live.plugin("user").VALUE == "rejected"
        assert not live.status("user").pending


async def test_it_imports_anew_although_its_newer_source_does_not_compile(
    tree: PluginTree,
) -> None:
    tree.plugin("base", value=1)
    tree.plugin("user", depends_on=["base"], code=BORROWER.format(value="old"))
    async with serving(tree) as live:
        tree.write("user/plugin.py", BROKEN)
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("user").borrowed == 2


async def test_it_comes_from_another_folder_though_what_it_needs_is_rolled_back(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("one", folder="a", depends_on=["base"])
    tree.plugin("two", folder="b", depends_on=["base"])
    async with serving(tree) as live:
        (tree.root / "b/dagstack.toml").unlink()
        tree.plugin("two", folder="a", depends_on=["base"], value=2)
        tree.write("base/plugin.py", FAILING)
        await live.settle()
        assert live.states == {"base": "ready", "two": "ready"}
        assert live.plugin("two").value() == 2
        assert live.status("base").pending
        assert not live.status("two").pending


async def test_a_folder_that_offers_what_a_broken_folder_runs_is_taken_at_once(
    tree: PluginTree,
) -> None:
    tree.plugin("one", folder="b")
    async with serving(tree) as live:
        tree.plugin("one", folder="a", value=2)
        tree.plugin("other", folder="b", code=BROKEN)
        await live.settle()
        assert live.plugin("one").value() == 2
        assert live.server.statuses()[ref("one")].path == str(tree.root / "a")

        tree.plugin("other", folder="b")
        await live.settle()
        assert live.states == {"one": "ready", "other": "ready"}


async def test_one_that_loses_what_it_ran_with_is_what_its_folder_says(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    tree.plugin("above", depends_on=["user"])
    async with serving(tree) as live:
        tree.plugin("user", depends_on=["above"], value=2)
        await live.settle()
        assert live.status("user").pending
        tree.plugin("above", depends_on=["user"], code=BROKEN)
        await live.settle()
        assert live.states == {"base": "ready", "user": "ready", "above": "ready"}

        shutil.rmtree(tree.root / "base")
        await live.settle()
        assert live.states == {"user": "blocked", "above": "failed"}
        assert live.status("user").blocked_by == ("demo/above",)


async def test_one_that_loses_what_it_ran_with_comes_up_from_its_newer_source(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    tree.plugin("above", depends_on=["user"])
    async with serving(tree) as live:
        tree.plugin("user", depends_on=["above"], value=2)
        tree.write("above/plugin.py", BROKEN)
        await live.settle()
        tree.plugin("above", value=2, depends_on=["base"], code=BROKEN)
        await live.settle()
        assert live.states == {"base": "ready", "user": "ready", "above": "ready"}

        shutil.rmtree(tree.root / "base")
        tree.plugin("above", value=3)
        await live.settle()
        assert live.states == {"user": "ready", "above": "ready"}
        assert live.plugin("user").value() == 2


async def test_its_end_is_reported_although_others_are_reloaded_at_once(tree: PluginTree) -> None:
    tree.plugin("mended")
    tree.plugin("other")
    whole = (tree.root / "mended/plugin.py").read_text(encoding="utf-8")
    async with serving(tree) as live:
        tree.write("mended/plugin.py", BROKEN)
        await live.settle()
        assert live.status("mended").pending
        tree.write("mended/plugin.py", whole)
        tree.plugin("other", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert [fact.ref for fact in live.of(PluginFixed)] == [ref("mended")]
        assert not live.status("mended").pending


async def test_an_edit_is_not_held_back_by_a_neighbour_that_was_pending_before(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    tree.plugin("two")
    tree.plugin("user", depends_on=["one", "two"])
    async with serving(tree) as live:
        tree.write("one/plugin.py", FAILING)
        await live.settle()
        live.forget()
        tree.plugin("two", value=2)
        await live.settle()
        assert live.plugin("two").value() == 2
        assert not live.status("two").pending
        assert live.status("one").pending
        assert live.plugin("one").value() == 1
        assert len(live.of(ReloadCommitted)) == 1
        tree.plugin("one", value=3)
        await live.settle()
        assert live.plugin("one").value() == 3
        assert not any(status.pending for status in live.server.statuses().values())


async def test_edits_that_only_go_together_are_taken_over_together(tree: PluginTree) -> None:
    needs = """
    class Plugin:
        def setup(self, ctx):
            assert ctx.registry.get_plugin("demo", "base").value() == {value}
    """
    tree.plugin("base", value=1)
    tree.plugin("user", depends_on=["base"], code=needs.format(value=1))
    async with serving(tree) as live:
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("base").value() == 1
        tree.plugin("user", depends_on=["base"], code=needs.format(value=2))
        await live.settle()
        assert live.plugin("base").value() == 2
        assert not any(status.pending for status in live.server.statuses().values())


async def test_it_stays_pending_when_what_it_depends_on_is_taken_over_without_it(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.write("user/plugin.py", FAILING)
        await live.settle()
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("base").value() == 2
        assert live.status("user").pending
        assert isinstance(live.status("user").error, ZeroDivisionError)


NEEDS_A_FILE = """
import helpers
from pathlib import Path
class Plugin:
    VALUE = {value}
    def setup(self, ctx):
        ctx.extras["journal"].append("tried")
        (Path(__file__).parent / "plugin.py").touch()
        if self.VALUE == 2 and not ctx.extras["up"]:
            raise OSError("no such device")
    def value(self):
        return self.VALUE
"""


async def touch_until(live: Live, path: Path, kind: type[object]) -> None:
    """Touch a file until that has an effect: it has none while a reload is under way."""
    while not live.of(kind):
        path.touch()
        await anyio.sleep(0.01)


@pytest.mark.parametrize("file", ["plugin.py", "dagstack.toml", "notes.txt", "../helpers.py"])
@pytest.mark.parametrize("value", [1, 2], ids=["pending", "failed"])
async def test_what_failed_is_tried_again_when_any_of_its_files_is_saved_unchanged(
    tree: PluginTree, file: str, value: int
) -> None:
    up: list[None] = []
    tree.write("helpers.py", "")
    folder = tree.plugin("base", code=NEEDS_A_FILE.format(value=value))
    tree.write("base/notes.txt", "as it was")
    async with serving(tree, extras={"up": up}) as live:
        if value == 1:
            edit(folder / "plugin.py", "VALUE = 1", "VALUE = 2")
            await live.fact(ReloadRolledBack)
        await live.settle()
        live.forget()
        await touch_until(live, folder / file, ReloadFailed if value == 2 else ReloadRolledBack)
        up.append(None)
        await touch_until(live, folder / file, ReloadCommitted)
        assert live.plugin("base").value() == 2
        assert not live.status("base").pending


async def test_a_setup_that_touches_its_own_code_and_fails_is_not_tried_for_that(
    tree: PluginTree,
) -> None:
    tree.write("helpers.py", "")
    tree.plugin("base", code=NEEDS_A_FILE.format(value=2))
    async with serving(tree, extras={"up": []}) as live:
        skipped = await live.fact(ReloadSkipped)
        assert skipped.paths
        assert live.journal == ["tried"]


async def test_a_manifest_that_was_refused_is_looked_at_again_when_it_is_saved_unchanged(
    tree: PluginTree, tmp_path: Path
) -> None:
    manifest = tree.write(
        "base/dagstack.toml",
        """
        [plugin]
        name = "base"
        kind = "demo"
        core_version = ">=0.1"
        runtime = "mcp_stdio"
        command = ["./server"]
        """,
    )
    async with serving(tree) as live:
        error = live.status("base").error
        assert "server" in str(error)
        program = tree.write(tree.root / "base/.ignored/server", "#!/bin/sh\nexit 3\n")
        program.chmod(0o700)
        (manifest.parent / "server").symlink_to(program)
        await touch_until(live, manifest, ReloadFailed)
        assert str(live.status("base").error) != str(error)
