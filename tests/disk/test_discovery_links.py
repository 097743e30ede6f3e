"""Links to folders are followed, each real folder once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.links import Links
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.disk.snapshot import Snapshot

RULES = IgnoreRules()


def found(tree: PluginTree) -> list[str]:
    root = str(tree.root)
    return [os.path.relpath(folder, root) for folder in find_plugins(root, RULES)]


@pytest.fixture
def elsewhere(tmp_path: Path) -> PluginTree:
    """A folder outside the root, to be linked to."""
    return PluginTree(tmp_path / "elsewhere")


def test_a_linked_folder_is_searched(tree: PluginTree, elsewhere: PluginTree) -> None:
    elsewhere.plugin("far", folder="group/far")
    (tree.root / "link").symlink_to(elsewhere.root)
    assert found(tree) == ["link/group/far"]


def test_a_folder_linked_twice_is_found_once(tree: PluginTree, elsewhere: PluginTree) -> None:
    elsewhere.plugin("far", folder="group/far")
    (tree.root / "one").symlink_to(elsewhere.root)
    (tree.root / "two").symlink_to(elsewhere.root)
    (tree.root / "zoo").symlink_to(elsewhere.root / "group")
    assert found(tree) == ["one/group/far"]


def test_a_link_to_a_folder_around_one_that_was_searched_adds_only_the_rest(
    tree: PluginTree, elsewhere: PluginTree
) -> None:
    elsewhere.plugin("far", folder="group/far")
    elsewhere.plugin("near")
    (tree.root / "one").symlink_to(elsewhere.root / "group")
    (tree.root / "two").symlink_to(elsewhere.root)
    assert found(tree) == ["one/far", "two/near"]


def test_a_link_to_a_folder_of_the_same_root_adds_nothing(tree: PluginTree) -> None:
    tree.plugin("a", folder="z/a")
    (tree.root / "b").symlink_to(tree.root / "z")
    assert found(tree) == ["z/a"]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_links_to_themselves_or_upwards_end(tree: PluginTree, target: str) -> None:
    tree.plugin("a", folder="group/a")
    (tree.root / "group" / "loop").symlink_to(target)
    assert found(tree) == ["group/a"]


def test_links_that_lead_round_in_circles_end(tree: PluginTree) -> None:
    (tree.root / "x").symlink_to("y")
    (tree.root / "y").symlink_to("x")
    tree.plugin("a")
    assert found(tree) == ["a"]


def test_the_root_may_be_a_link(tree: PluginTree, tmp_path: Path) -> None:
    tree.plugin("a")
    (tmp_path / "link").symlink_to(tree.root)
    root = str(tmp_path / "link")
    assert list(find_plugins(root, RULES)) == [f"{root}/a"]


def test_a_plugin_reads_its_linked_folders_once(tree: PluginTree, elsewhere: PluginTree) -> None:
    elsewhere.write("shared/data.json", "{}")
    folder = tree.plugin("a")
    (folder / "data").symlink_to(elsewhere.root)
    (folder / "data2").symlink_to(elsewhere.root)
    (folder / "self").symlink_to(".")
    source, _ = read_plugin(str(folder), str(tree.root), RULES)
    linked = [path for path in source.files if path.endswith("data.json")]
    assert len(linked) == 1
    assert not any(path.startswith("self") for path in source.files)


def test_a_link_back_to_the_root_does_not_read_the_plugin_again(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    (folder / "up").symlink_to("..")
    source, _ = read_plugin(str(folder), str(tree.root), RULES)
    assert not any("plugin.py" in path and path != "plugin.py" for path in source.files)


def test_a_second_link_is_no_second_plugin_when_it_is_hinted_at(
    tree: PluginTree, elsewhere: PluginTree
) -> None:
    elsewhere.plugin("far")
    (tree.root / "one").symlink_to(elsewhere.root)
    disk = Snapshot([str(tree.root)], RULES)
    disk.look().folders.clear()
    (tree.root / "two").symlink_to(elsewhere.root)
    assert not disk.look([str(tree.root / "two")]).folders
    (tree.root / "one").unlink()
    news = disk.look([str(tree.root / "one")]).folders
    assert news.keys() == {f"{tree.root}/one/far", f"{tree.root}/two/far"}
    assert disk.folders.sources.keys() == {f"{tree.root}/two/far"}


def test_a_link_has_moved_once_for_each_folder_that_it_leads_to(
    tree: PluginTree, elsewhere: PluginTree
) -> None:
    links, root, link = Links(), str(tree.root), tree.root / "link"
    moved = []
    for target in (elsewhere.root, tree.root.parent):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        moved += [links.have_moved(root, [str(link)]) for _ in range(2)]
    assert moved == [True, False, True, False]
