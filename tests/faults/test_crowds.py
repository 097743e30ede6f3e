"""Folders with very many files: they are read once, and every edit costs what it changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from command_runs import Watching
from serving import serving
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted, WatchProblem
from dagstack_dev.disk import faults, plugin_folders
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot

Watch = Callable[..., Watching]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The folders that have been listed."""
    folders: list[str] = []
    scandir = os.scandir

    def note(path: str) -> object:
        folders.append(path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", note)
        yield folders


def crowd(tree: PluginTree, folder: str, count: int) -> None:
    (tree.root / folder).mkdir(parents=True)
    for number in range(count):
        (tree.root / folder / f"{number}.json").touch()


async def test_data_beside_the_plugins_is_not_searched_again(
    tree: PluginTree, searched: list[str]
) -> None:
    tree.plugin("a")
    crowd(tree, "data/raw", 50)
    crowd(tree, "node_modules/left", 50)
    async with serving(tree) as live:
        assert not any("node_modules" in path for path in searched)
        searched.clear()
        tree.write("data/raw/7.json", "{}")
        tree.plugin("a", value=2)
        await live.fact(ReloadCommitted)
        assert not any("/data" in path for path in searched)


async def test_a_crowd_of_files_in_a_plugin_is_reported_and_not_walked_with_every_edit(
    tree: PluginTree, searched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_folders, "MANY_FILES", 40)
    monkeypatch.setattr(faults, "TOO_MANY_FILES", 40)
    folder = tree.plugin("a")
    tree.plugin("b")
    crowd(tree, "a/data", 50)
    async with serving(tree) as live:
        (problem,) = live.of(WatchProblem)
        assert problem.path == str(folder)
        assert "--ignore" in problem.message
        searched.clear()
        for value in (2, 3):
            live.forget()
            tree.write("a/plugin.py", f"class Plugin:\n    VALUE = {value}\n")
            await live.fact(ReloadCommitted)
            assert value == live.instance("a").VALUE
        assert not any("/data" in path for path in searched)
        assert not live.of(WatchProblem)


def test_in_a_crowd_every_kind_of_change_is_seen(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_folders, "MANY_FILES", 3)
    folder = tree.plugin("a")
    crowd(tree, "a/data", 10)
    disk = Snapshot([str(tree.root)], IgnoreRules())
    disk.look().folders.clear()

    def changed(*paths: str) -> tuple[str, ...]:
        before = disk.look([f"{folder}/{path}" for path in paths]).folders.pop(str(folder), None)
        return () if before is None else before.changed_files(disk.folders.sources[str(folder)])

    tree.write("a/plugin.py", "X = 2\n")
    assert changed("plugin.py") == ("plugin.py",)
    tree.write("a/new.py", "X = 2\n")
    tree.write("a/new.pyc", "X = 2\n")
    assert changed("new.py", "new.pyc", "gone-already.tmp") == ("new.py",)
    (folder / "new.py").unlink()
    assert changed("new.py") == ("new.py",)
    (folder / "data").rename(folder / "moved")
    assert len(changed("data", "moved")) == 20
    tree.plugin("a", manifest='ignore = ["moved/"]')
    assert len(changed("dagstack.toml")) == 12, "it is what the report of a crowd advises"
    tree.write("a/.gitignore", "plugin.*\nmoved.json")
    tree.plugin("a", manifest="")
    assert len(changed("dagstack.toml", ".gitignore")) == 12


def test_very_many_files_are_lived_with(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("a")
    crowd(tree, "a/data", 100)
    crowd(tree, "node_modules", 20_000)
    run = watch("plugins")
    run.event("watch.started", ready=1)
    tree.plugin("a", value=2)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0
