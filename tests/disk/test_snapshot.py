"""What is on disk now, and what differs from then: content counts, not time stamps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev.disk import plugin_folders
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot


def taken(*roots: Path) -> Snapshot:
    """A snapshot of which everything has been handed on."""
    disk = Snapshot([str(root) for root in roots], IgnoreRules())
    disk.look()
    disk.news.folders.clear()
    return disk


def news(disk: Snapshot, hints: list[str] | None = None) -> dict[str, list[str]]:
    """Look, hand the news on, and return the names of the folders by what happened to them."""
    found: dict[str, list[str]] = {}
    for folder, before in sorted(disk.look(hints).folders.items()):
        what = "added" if before is None else "changed" if disk.source(folder) else "removed"
        found.setdefault(what, []).append(Path(folder).name)
    disk.news.folders.clear()
    return found


def unfinished(disk: Snapshot) -> list[str]:
    """Look, and return the names of the folders that are still being written."""
    disk.look()
    return sorted(Path(folder).name for folder in disk.unfinished())


def test_a_first_look_finds_everything(tree: PluginTree) -> None:
    tree.plugin("a")
    tree.plugin("b")
    disk = Snapshot([str(tree.root)], IgnoreRules())
    assert news(disk) == {"added": ["a", "b"]}
    assert sorted(disk.folders.sources) == [f"{tree.root}/a", f"{tree.root}/b"]
    assert not news(disk)


def test_news_stay_until_they_are_handed_on_or_undone(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    hints = [str(folder / "plugin.py")]
    before = disk.source(str(folder))
    for value in (2, 3):
        tree.plugin("a", value=value)
        assert disk.look(hints).folders == disk.look().folders == {str(folder): before}
    shutil.rmtree(folder)
    assert disk.look([str(folder)]).folders == {str(folder): before}
    tree.plugin("a")
    assert disk.look([str(folder)]).folders == {}


@pytest.mark.parametrize("hinted", [True, False])
def test_an_edit_of_the_same_length_is_seen_although_the_time_is_put_back(
    tree: PluginTree, hinted: bool
) -> None:
    folder = tree.plugin("a", code="X = 1\n")
    path = folder / "plugin.py"
    disk = taken(tree.root)
    for text in ("X = 2\n", "X = 3\n", "X = 4\n"):
        before = path.stat()
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert news(disk, [str(path)] if hinted else None) == {"changed": ["a"]}
        assert disk.folders.sources[str(folder)].files["plugin.py"].content == text.encode()


def test_hundreds_of_edits_in_a_row_are_each_seen(tree: PluginTree) -> None:
    folder = tree.plugin("a", code="X = 000\n")
    path = folder / "plugin.py"
    disk = taken(tree.root)
    for number in range(1, 300):  # Many of them within one tick of the file system's clock.
        path.write_text(f"X = {number:03}\n", encoding="utf-8")
        assert news(disk) == {"changed": ["a"]}


def test_touch_and_chmod_are_no_change(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    path = folder / "plugin.py"
    os.utime(path, (1, 1))
    path.chmod(0o700)
    assert not news(disk, [str(path)])
    assert not news(disk)


def test_a_save_by_rename_and_rewriting_the_same_text_are_no_change(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    path = folder / "plugin.py"
    copy = tree.write("a/plugin.py.tmp", path.read_text(encoding="utf-8"))
    copy.replace(path)
    assert not news(disk, [str(path), str(copy)])
    assert not news(disk)


def test_a_truncated_file_is_unfinished(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    path = folder / "plugin.py"
    path.write_text("\n", encoding="utf-8")
    assert unfinished(disk) == ["a"]
    path.write_text("X = 1\n", encoding="utf-8")
    assert unfinished(disk) == []
    assert news(disk) == {"changed": ["a"]}


def test_a_vanished_module_and_a_new_or_gone_plugin_are_unfinished(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    gone = tree.plugin("gone")
    disk = taken(tree.root)
    (folder / "plugin.py").unlink()
    tree.plugin("new")
    shutil.rmtree(gone)
    assert unfinished(disk) == ["a", "gone", "new"]
    assert news(disk) == {"added": ["new"], "changed": ["a"], "removed": ["gone"]}


@pytest.mark.parametrize("text", ["", None])
def test_a_data_file_that_is_emptied_or_gone_is_unfinished(
    tree: PluginTree, text: str | None
) -> None:
    tree.plugin("a")
    data = tree.write("a/data.json", "{}")
    disk = taken(tree.root)
    if text is None:
        data.unlink()
    else:
        data.write_text(text, encoding="utf-8")
    assert unfinished(disk) == ["a"]


def test_what_is_ignored_in_a_plugin_is_no_change(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    for path in ("__pycache__/plugin.pyc", "run.log", "x.sqlite3", ".plugin.py.swp", "build/x.py"):
        tree.write(folder / path, "x")
        assert not disk.folders.counts(str(folder / path))
    assert not news(disk, [str(folder)])
    assert not news(disk)


@pytest.mark.parametrize("hinted", [True, False])
def test_a_moved_folder_is_gone_here_and_new_there(tree: PluginTree, hinted: bool) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    moved = tree.root / "group" / "b"
    moved.parent.mkdir()
    folder.rename(moved)
    hints = [str(folder), str(moved.parent)] if hinted else None
    assert news(disk, hints) == {"added": ["b"], "removed": ["a"]}


@pytest.mark.parametrize("hinted", [True, False])
def test_a_manifest_above_makes_plugins_part_of_it_and_reveals_them_when_it_goes(
    tree: PluginTree, hinted: bool
) -> None:
    for name in ("a", "b"):
        tree.plugin(name, folder=f"group/{name}")
    disk = taken(tree.root)
    path = tree.write("group/dagstack.toml", "")
    hints = [str(path)] if hinted else None
    assert news(disk, hints) == {"added": ["group"], "removed": ["a", "b"]}
    path.unlink()
    assert news(disk, hints) == {"added": ["a", "b"], "removed": ["group"]}


def test_a_plugin_within_a_new_plugin_is_none_although_it_is_hinted_at(tree: PluginTree) -> None:
    disk = taken(tree.root)
    outer = tree.plugin("outer")
    inner = tree.plugin("inner", folder="outer/tests/inner")
    hints = [str(inner / "dagstack.toml"), str(inner), str(outer)]
    assert news(disk, hints) == {"added": ["outer"]}


def test_a_root_that_is_gone_keeps_what_was_known(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    disk = taken(tree.root)
    aside = tree.root.with_name("aside")
    tree.root.rename(aside)
    for hints in (None, [str(tree.root)], [str(folder)], [str(folder / "dagstack.toml")]):
        assert not news(disk, hints)
    aside.rename(tree.root)
    assert not news(disk)
    shutil.rmtree(folder)
    assert news(disk, [str(tree.root)]) == {"removed": ["a"]}


@pytest.mark.parametrize("hinted", [True, False])
def test_a_folder_with_the_name_of_an_ignored_file_is_a_plugin_like_any(
    tree: PluginTree, hinted: bool
) -> None:
    disk = taken(tree.root)
    folder = tree.plugin("a", folder="old.bak")
    assert disk.folders.counts(str(folder))
    assert disk.folders.counts(str(folder / "plugin.py"))
    hints = [str(folder / "dagstack.toml")] if hinted else None
    news(disk, hints)
    tree.plugin("a", folder="old.bak", kind="other")
    assert news(disk, hints) == {"changed": ["old.bak"]}


def test_what_lies_outside_the_roots_does_not_count(tree: PluginTree) -> None:
    disk = taken(tree.root)
    assert disk.folders.counts(str(tree.root))
    for path in (tree.root.parent, tree.root.with_name("plugins2") / "x.py", Path("/x.py")):
        assert not disk.folders.counts(str(path))
        assert not news(disk, [str(path)])


def test_a_root_within_a_root_is_seen_once_and_by_its_own_rules(tree: PluginTree) -> None:
    tree.plugin("a")
    inner = tree.plugin("b", folder="build/b")
    disk = taken(tree.root, tree.root / "build")
    assert [Path(folder).name for folder in sorted(disk.folders.sources)] == ["a", "b"]
    assert disk.folders.counts(str(inner / "plugin.py"))
    assert not news(disk, [str(tree.root)])
    shutil.rmtree(inner)
    assert news(disk, [str(inner)]) == {"removed": ["b"]}


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json"])
def test_a_save_of_the_projects_own_file_is_not_looked_for_in_all_of_it(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tree.plugin("a")
    disk = taken(tree.root)
    path = str(tree.write(name, "{}"))
    searched: list[str] = []

    def find(root: str, *_: object, start: str, **__: object) -> list[str]:
        searched.append(start)
        return []

    monkeypatch.setattr(plugin_folders, "find_plugins", find)
    assert not news(disk, [path])
    assert searched == []
