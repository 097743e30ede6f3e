"""Plugin folders that come, go, move and change their identity."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import anyio
import pytest
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev import KindUnknown, PluginUnavailable, State
from dagstack_dev.app.reload import collect
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    WatchProblem,
)

SETUP_RAISES = "class Plugin:\n    def setup(self, ctx): 1 / 0\n"


async def test_an_added_folder_becomes_a_plugin(tree: PluginTree) -> None:
    tree.plugin("old")
    async with serving(tree) as live:
        kept = live.instance("old")
        tree.plugin("new", folder="some/where/deep")
        await live.settle()
        assert live.journal == ["setup new 1"]
        assert live.status("new").path == str(tree.root / "some/where/deep")
        assert live.instance("old") is kept


async def test_a_removed_folder_is_torn_down_and_unknown(tree: PluginTree) -> None:
    folder = tree.plugin("old")
    tree.plugin("other")
    async with serving(tree) as live:
        proxy = live.plugin("old")
        shutil.rmtree(folder)
        await live.settle()
        assert live.journal == ["teardown old 1"]
        assert live.states == {"other": "ready"}
        assert live.server.registry.table.code.plugin_at(f"{folder}/plugin.py") is None
        with pytest.raises(KindUnknown):
            live.plugin("old")
        with pytest.raises(PluginUnavailable, match="removed"):
            proxy.value()
        assert live.module("old") is None
        tree.plugin("old", value=2)
        await live.settle()
        assert live.plugin("old") is proxy
        assert proxy.value() == 2
        assert live.status("old").generation == 2


async def test_a_folder_without_its_manifest_is_no_plugin_any_more(tree: PluginTree) -> None:
    folder = tree.plugin("old")
    async with serving(tree) as live:
        text = (folder / "dagstack.toml").read_text()
        (folder / "dagstack.toml").unlink()
        await live.settle()
        assert live.states == {}
        (folder / "dagstack.toml").write_text(text)
        await live.settle()
        assert live.states == {"old": "ready"}


@pytest.mark.parametrize("target", ["renamed", "deep/down/base"])
async def test_a_moved_folder_keeps_the_plugin_with_its_dependents(
    tree: PluginTree, target: str
) -> None:
    folder = tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        proxy = live.plugin("base")
        moved = tree.root / target
        moved.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(moved)
        await live.settle()
        assert live.states == {"base": "ready", "user": "ready"}
        assert live.status("base").path == str(moved)
        assert live.plugin("base") is proxy
        plugin_at = live.server.registry.table.code.plugin_at
        assert plugin_at(f"{moved}/sub/plugin.py") == ref("base")
        assert plugin_at(f"{folder}/plugin.py") is None
        assert plugin_at(f"{moved}x/plugin.py") is None
        assert plugin_at("<string>") is None
        module = live.module("base")
        assert module is not None
        assert module.__file__ == str(moved / "plugin.py")
        assert len(live.of(ReloadStarted)) == 1
        edit(moved / "plugin.py", "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert proxy.value() == 2


async def test_a_moved_folder_that_fails_runs_on_from_where_it_was(tree: PluginTree) -> None:
    folder = tree.plugin("base")
    async with serving(tree) as live:
        moved = tree.root / "moved"
        folder.rename(moved)
        tree.write(moved / "plugin.py", SETUP_RAISES)
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("base").value() == 1
        assert live.status("base").pending
        tree.plugin("base", folder="moved", value=2)
        await live.settle()
        assert live.plugin("base").value() == 2
        assert not live.status("base").pending
        assert live.status("base").path == str(moved)


@pytest.mark.parametrize(
    ("old", "new", "now"),
    [('name = "base"', 'name = "other"', ref("other")), ('"demo"', '"kind"', ref("base", "kind"))],
    ids=["name", "kind"],
)
async def test_a_manifest_that_changes_name_or_kind_replaces_the_plugin(
    tree: PluginTree, old: str, new: str, now: tuple[str, str]
) -> None:
    folder = tree.plugin("base")
    table = f'{{ kind = "{now[0]}", name = "{now[1]}" }}'
    tree.plugin("late", depends_on=[table])
    tree.plugin("early", depends_on=['{ kind = "demo", name = "base" }'])
    async with serving(tree) as live:
        assert live.states == {"base": "ready", "early": "ready", "late": "blocked"}
        edit(folder / "dagstack.toml", old, new)
        await live.settle()
        assert set(live.server.statuses()) == {ref("early"), ref("late"), now}
        assert live.state(now[1], now[0]) is State.READY
        assert live.state("late") is State.READY
        assert live.state("early") is State.BLOCKED
        assert live.status(now[1], now[0]).path == str(folder)
        edit(folder / "dagstack.toml", new, old)
        await live.settle()
        assert live.states == {"base": "ready", "early": "ready", "late": "blocked"}


async def test_a_rename_that_fails_rolls_back_to_the_old_name(tree: PluginTree) -> None:
    folder = tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        proxy = live.plugin("base")
        tree.plugin("other", folder="base", code=SETUP_RAISES)
        tree.plugin("user", depends_on=["other"])
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.states == {"base": "ready", "user": "ready"}
        assert live.status("base").pending
        assert proxy.value() == 1
        tree.plugin("other", folder="base", value=2)
        await live.settle()
        assert live.states == {"other": "ready", "user": "ready"}
        assert live.plugin("other").value() == 2
        assert live.status("other").path == str(folder)


async def test_a_rename_to_a_name_that_is_taken_is_rejected(tree: PluginTree) -> None:
    tree.plugin("one")
    two = tree.plugin("two")
    async with serving(tree) as live:
        edit(two / "dagstack.toml", '"two"', '"one"')
        await live.settle()
        assert live.journal == []
        assert live.states == {"one": "ready", "two": "ready"}
        assert len(live.of(PluginRejected)) == 1
        shutil.rmtree(tree.root / "one")
        await live.settle()
        assert live.states == {"one": "ready"}
        assert live.status("one").path == str(two)


async def test_two_folders_that_swap_their_names_in_one_batch(tree: PluginTree) -> None:
    one, two = tree.plugin("one", value=1), tree.plugin("two", value=2)
    tree.plugin("user", depends_on=["one"])
    async with serving(tree) as live:
        edit(one / "dagstack.toml", '"one"', '"two"')
        edit(two / "dagstack.toml", '"two"', '"one"')
        await live.settle()
        assert set(live.states.values()) == {"ready"}
        assert live.plugin("one").value() == 2
        assert live.plugin("two").value() == 1
        assert live.status("one").path == str(two)
        assert live.status("two").path == str(one)
        assert len(live.of(ReloadStarted)) == 1
        tree.plugin("one", folder="two", value=3)
        await live.settle()
        assert live.plugin("one").value() == 3


async def test_two_folders_that_swap_their_places_in_one_batch(tree: PluginTree) -> None:
    one, two = tree.plugin("one", value=1), tree.plugin("two", value=2)
    async with serving(tree) as live:
        spare = tree.root.parent / "spare"
        one.rename(spare)
        two.rename(one)
        spare.rename(two)
        await live.settle()
        assert live.plugin("one").value() == 1
        assert live.plugin("two").value() == 2
        assert live.status("one").path == str(two)
        assert live.status("two").path == str(one)


async def test_a_changed_depends_on_changes_order_and_subgraph(tree: PluginTree) -> None:
    tree.plugin("a")
    tree.plugin("b")
    async with serving(tree) as live:
        edit(tree.root / "a/dagstack.toml", "depends_on = []", 'depends_on = ["b"]')
        await live.settle()
        assert live.affected == {"a"}
        tree.plugin("b", value=2)
        await live.settle()
        assert live.journal == ["teardown a 1", "teardown b 1", "setup b 2", "setup a 1"]
        edit(tree.root / "a/dagstack.toml", 'depends_on = ["b"]', "depends_on = []")
        await live.settle()
        tree.plugin("b", value=3)
        await live.settle()
        assert live.journal == ["teardown b 2", "setup b 3"]


async def test_a_dependency_that_turns_round_in_one_batch(tree: PluginTree) -> None:
    tree.plugin("a", depends_on=["b"])
    tree.plugin("b")
    async with serving(tree) as live:
        tree.plugin("a")
        tree.plugin("b", depends_on=["a"])
        await live.settle()
        assert live.journal == ["teardown a 1", "teardown b 1", "setup a 1", "setup b 1"]
        assert live.outcomes == [ReloadCommitted]


async def test_a_changed_entry_point_runs_the_other_class(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.write("base/second.py", "class Second:\n    def value(self): return 2\n")
    async with serving(tree) as live:
        proxy = live.plugin("base")
        edit(tree.root / "base/dagstack.toml", "plugin:Plugin", "second:Second")
        await live.settle()
        assert proxy.value() == 2
        assert live.module("base") is None


async def test_a_changed_core_version_that_still_fits_is_taken_over(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        edit(tree.root / "base/dagstack.toml", ">=0.1.0,<1.0.0", ">=0.1")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        [manifest] = live.server.registry.list_manifests()
        assert manifest.core_version == ">=0.1"


def switch_branch(folders: list[Path], tree: PluginTree, value: int) -> None:
    for number, _ in enumerate(folders):
        needs = [f"p{number - 1}"] if number % 3 else []
        tree.plugin(f"p{number}", depends_on=needs, value=value)


def all_values(live: Live) -> set[int]:
    return {live.plugin(name).value() for name in live.states}


async def test_a_burst_over_thirty_plugins_is_one_reload(tree: PluginTree) -> None:
    folders = [tree.root / f"p{number}" for number in range(30)]
    switch_branch(folders, tree, 1)
    async with serving(tree, debounce_ms=150) as live:
        switch_branch(folders, tree, 2)
        await live.settle()
        assert len(live.of(ReloadStarted)) == 1
        assert all_values(live) == {2}


async def test_a_branch_switch_is_one_reload_once_git_lets_go_of_its_lock(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "DEBOUNCE_LIMIT_SECONDS", math.inf)
    folders = [tree.root / f"p{number}" for number in range(30)]
    switch_branch(folders, tree, 1)
    lock = tree.root.parent / ".git/index.lock"
    lock.parent.mkdir()
    async with serving(tree, debounce_ms=150) as live:
        live.forget()
        lock.touch()
        switch_branch(folders[:15], tree, 2)
        while not live.server.is_busy:
            await anyio.sleep(0.001)
        switch_branch(folders, tree, 2)
        live.take_in()
        await anyio.wait_all_tasks_blocked()
        assert live.facts == []
        lock.unlink()
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert len(live.of(ReloadStarted)) == 1
        assert live.of(ReloadSkipped) == []
        assert all_values(live) == {2}


async def test_a_root_that_was_deleted_and_made_anew_is_taken_over_as_it_is(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    async with serving(tree) as live:
        shutil.rmtree(tree.root)
        await live.fact(WatchProblem)
        fresh = PluginTree(tree.root.with_name("fresh"))
        fresh.plugin("a", value=2)
        fresh.plugin("new")
        fresh.root.rename(tree.root)
        await live.fact(ReloadCommitted)
        assert live.plugin("a").value() == 2
        assert live.plugin("new").value() == 1
        live.forget()
        tree.plugin("new", value=3)
        await live.fact(ReloadCommitted)
        assert live.plugin("new").value() == 3
