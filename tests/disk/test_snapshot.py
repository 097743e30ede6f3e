"""What is on disk now, and what differs from then: content counts, not time stamps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev.disk import snapshot
from dagstack_dev.disk.changes import DiskChanges
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import DiskView


def view(*roots: Path, recursive: bool = True) -> DiskView:
    """A view that has accepted what is on disk."""
    disk = DiskView([str(root) for root in roots], IgnoreRules(), recursive=recursive)
    disk.accept(disk.look())
    return disk


def told(changes: DiskChanges) -> dict[str, list[str]]:
    """The names of the folders that changed, by what happened."""
    found = {
        "added": [Path(source.folder).name for source in changes.added],
        "changed": [Path(now.folder).name for _, now in changes.changed],
        "removed": [Path(source.folder).name for source in changes.removed],
        "unsettled": sorted(Path(folder).name for folder in changes.unsettled),
    }
    return {key: names for key, names in found.items() if names}


def test_a_first_look_finds_everything_and_accepts_nothing_by_itself(tree: PluginTree) -> None:
    tree.plugin("a")
    tree.plugin("b")
    disk = DiskView([str(tree.root)], IgnoreRules())
    changes = disk.look()
    assert told(changes) == {"added": ["a", "b"]}
    assert disk.sources == {}
    disk.accept(changes)
    assert sorted(disk.sources) == [f"{tree.root}/a", f"{tree.root}/b"]
    assert disk.sources[f"{tree.root}/a"] is changes.added[0]
    assert not disk.look()


def test_looking_again_finds_the_same_until_it_is_accepted(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    tree.plugin("a", value=2)
    hints = [str(folder / "plugin.py")]
    assert told(disk.look(hints)) == told(disk.look(hints)) == {"changed": ["a"]}
    disk.accept(disk.look(hints))
    assert not disk.look(hints)
    assert not disk.look()


@pytest.mark.parametrize("hinted", [True, False])
def test_an_edit_of_the_same_length_is_seen_although_the_time_is_put_back(
    tree: PluginTree, hinted: bool
) -> None:
    folder = tree.plugin("a", code="X = 1\n")
    path = folder / "plugin.py"
    disk = view(tree.root)
    for text in ("X = 2\n", "X = 3\n", "X = 4\n"):
        before = path.stat()
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        changes = disk.look([str(path)] if hinted else None)
        assert told(changes) == {"changed": ["a"]}
        assert changes.changed[0][1].files["plugin.py"].content == text.encode()
        disk.accept(changes)


def test_hundreds_of_edits_in_a_row_are_each_seen(tree: PluginTree) -> None:
    folder = tree.plugin("a", code="X = 000\n")
    path = folder / "plugin.py"
    disk = view(tree.root)
    for number in range(1, 300):  # Many of them within one tick of the file system's clock.
        path.write_text(f"X = {number:03}\n", encoding="utf-8")
        changes = disk.look()
        assert told(changes) == {"changed": ["a"]}
        disk.accept(changes)


def test_touch_and_chmod_are_no_change(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    path = folder / "plugin.py"
    os.utime(path, (1, 1))
    path.chmod(0o700)
    assert not disk.look([str(path)])
    assert not disk.look()


def test_a_save_by_rename_and_rewriting_the_same_text_are_no_change(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    path = folder / "plugin.py"
    copy = tree.write("a/plugin.py.tmp", path.read_text(encoding="utf-8"))
    copy.replace(path)
    assert not disk.look([str(path), str(copy)])
    assert not disk.look()


def test_a_truncated_file_is_unsettled_until_it_is_believed(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    path = folder / "plugin.py"
    path.write_text("\n", encoding="utf-8")
    assert told(disk.look(believe=False)) == {"changed": ["a"], "unsettled": ["a"]}
    assert told(disk.look()) == {"changed": ["a"]}
    path.write_text("X = 1\n", encoding="utf-8")
    assert told(disk.look(believe=False)) == {"changed": ["a"]}


def test_a_vanished_module_and_a_new_or_gone_plugin_are_unsettled(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    gone = tree.plugin("gone")
    disk = view(tree.root)
    (folder / "plugin.py").unlink()
    tree.plugin("new")
    shutil.rmtree(gone)
    assert told(disk.look(believe=False)) == {
        "added": ["new"],
        "changed": ["a"],
        "removed": ["gone"],
        "unsettled": ["a", "gone", "new"],
    }


@pytest.mark.parametrize("text", ["", None])
def test_a_data_file_that_is_emptied_or_gone_is_unsettled(
    tree: PluginTree, text: str | None
) -> None:
    tree.plugin("a")
    data = tree.write("a/data.json", "{}")
    disk = view(tree.root)
    if text is None:
        data.unlink()
    else:
        data.write_text(text, encoding="utf-8")
    assert told(disk.look(believe=False)) == {"changed": ["a"], "unsettled": ["a"]}
    assert told(disk.look()) == {"changed": ["a"]}


def test_what_is_ignored_in_a_plugin_is_no_change(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    for path in ("__pycache__/plugin.pyc", "run.log", "x.sqlite3", ".plugin.py.swp", "build/x.py"):
        tree.write(folder / path, "x")
        assert not disk.counts(str(folder / path))
    assert not disk.look([str(folder)])
    assert not disk.look()


@pytest.mark.parametrize("hinted", [True, False])
def test_a_moved_folder_is_gone_here_and_new_there(tree: PluginTree, hinted: bool) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    moved = tree.root / "group" / "b"
    moved.parent.mkdir()
    folder.rename(moved)
    hints = [str(folder), str(moved.parent)] if hinted else None
    assert told(disk.look(hints)) == {"added": ["b"], "removed": ["a"]}


@pytest.mark.parametrize("hinted", [True, False])
def test_a_manifest_above_makes_plugins_part_of_it_and_reveals_them_when_it_goes(
    tree: PluginTree, hinted: bool
) -> None:
    for name in ("a", "b"):
        tree.plugin(name, folder=f"group/{name}")
    disk = view(tree.root)
    path = tree.write("group/dagstack.toml", "")
    hints = [str(path)] if hinted else None
    changes = disk.look(hints)
    assert told(changes) == {"added": ["group"], "removed": ["a", "b"]}
    disk.accept(changes)
    path.unlink()
    assert told(disk.look(hints)) == {"added": ["a", "b"], "removed": ["group"]}


def test_a_plugin_within_a_new_plugin_is_none_although_it_is_hinted_at(tree: PluginTree) -> None:
    disk = view(tree.root)
    outer = tree.plugin("outer")
    inner = tree.plugin("inner", folder="outer/tests/inner")
    hints = [str(inner / "dagstack.toml"), str(inner), str(outer)]
    assert told(disk.look(hints)) == {"added": ["outer"]}


def test_a_root_that_is_gone_keeps_what_was_known(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = view(tree.root)
    aside = tree.root.with_name("aside")
    tree.root.rename(aside)
    for hints in (None, [str(tree.root)], [str(folder)], [str(folder / "dagstack.toml")]):
        assert not disk.look(hints)
    aside.rename(tree.root)
    assert not disk.look()
    shutil.rmtree(folder)
    assert told(disk.look([str(tree.root)])) == {"removed": ["a"]}


@pytest.mark.parametrize("hinted", [True, False])
def test_a_folder_with_the_name_of_an_ignored_file_is_a_plugin_like_any(
    tree: PluginTree, hinted: bool
) -> None:
    disk = view(tree.root)
    folder = tree.plugin("a", folder="old.bak")
    assert disk.counts(str(folder))
    assert disk.counts(str(folder / "plugin.py"))
    hints = [str(folder / "dagstack.toml")] if hinted else None
    disk.accept(disk.look(hints))
    tree.plugin("a", folder="old.bak", kind="other")
    assert told(disk.look(hints)) == {"changed": ["old.bak"]}


def test_what_lies_outside_the_roots_does_not_count(tree: PluginTree) -> None:
    disk = view(tree.root)
    assert disk.counts(str(tree.root))
    for path in (tree.root.parent, tree.root.with_name("plugins2") / "x.py", Path("/x.py")):
        assert not disk.counts(str(path))
        assert not disk.look([str(path)])


def test_a_root_within_a_root_is_seen_once_and_by_its_own_rules(tree: PluginTree) -> None:
    tree.plugin("a")
    inner = tree.plugin("b", folder="build/b")
    disk = view(tree.root, tree.root / "build")
    assert [Path(folder).name for folder in sorted(disk.sources)] == ["a", "b"]
    assert disk.counts(str(inner / "plugin.py"))
    assert not disk.look([str(tree.root)])
    shutil.rmtree(inner)
    assert told(disk.look([str(inner)])) == {"removed": ["b"]}


def test_only_the_roots_themselves_are_looked_at_when_not_recursive(tree: PluginTree) -> None:
    tree.plugin("root", folder=".")
    disk = view(tree.root, recursive=False)
    (tree.root / "dagstack.toml").unlink()
    tree.plugin("inner")
    assert told(disk.look([str(tree.root / "inner")])) == {"removed": [tree.root.name]}


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json"])
def test_a_save_of_the_projects_own_file_is_not_looked_for_in_all_of_it(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tree.plugin("a")
    disk = view(tree.root)
    path = str(tree.write(name, "{}"))
    searched: list[str] = []

    def find(root: str, *_: object, start: str, **__: object) -> list[str]:
        searched.append(start)
        return []

    monkeypatch.setattr(snapshot, "find_plugins", find)
    assert not disk.look([path])
    assert searched == []
