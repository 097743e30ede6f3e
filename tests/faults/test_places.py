"""Links and roots that come, go, and mean another place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Watching
from trees import PluginTree

Watch = Callable[..., Watching]


def point(link: Path, target: str | Path) -> None:
    """Make `link` lead to `target` in one step, as deployment tools do."""
    other = link.with_name("link-in-the-making")
    other.symlink_to(target)
    other.replace(link)


def edited_until_ready(run: Watching, tree: PluginTree, name: str, generation: int) -> None:
    """Edit a plugin and wait for the generation that it makes."""
    tree.plugin(name, value=generation)
    run.event("plugin.ready", plugin=f"demo/{name}", generation=generation)


def test_edits_behind_a_link_that_came_or_was_pointed_elsewhere_are_seen(
    tree: PluginTree, watch: Watch, tmp_path: Path
) -> None:
    blue, green = PluginTree(tmp_path / "blue"), PluginTree(tmp_path / "green")
    blue.plugin("far")
    green.plugin("far", value="green")
    run = watch("plugins")
    run.event("watch.started")
    point(tree.root / "current", blue.root)
    run.event("plugin.ready", plugin="demo/far", generation=1)
    for generation in (2, 3, 4):  # The first may still be found by the look that ends a watch.
        edited_until_ready(run, blue, "far", generation)
    point(tree.root / "current", green.root)
    run.event("plugin.ready", plugin="demo/far", generation=5)
    for generation in (6, 7, 8):
        edited_until_ready(run, green, "far", generation)
    assert run.end() == 0


def test_a_link_to_one_plugin_outside_the_root(
    tree: PluginTree, watch: Watch, tmp_path: Path
) -> None:
    elsewhere = PluginTree(tmp_path / "elsewhere")
    folder = elsewhere.plugin("far")
    (tree.root / "far").symlink_to(folder)
    run = watch("plugins")
    run.event("watch.started", ready=1)
    edited_until_ready(run, elsewhere, "far", 2)
    shutil.rmtree(folder)
    run.event("plugin.removed", plugin="demo/far")
    assert run.end() == 0


def test_links_in_circles_are_searched_once(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("a")
    (tree.root / "self").symlink_to("self")
    (tree.root / "up").symlink_to("..")
    (tree.root / "a" / "again").symlink_to(".")
    (tree.root / "a" / "ping").symlink_to("pong")
    (tree.root / "a" / "pong").symlink_to("ping")
    run = watch("plugins")
    run.event("watch.started", plugins=1, ready=1)
    edited_until_ready(run, tree, "a", 2)
    (tree.root / "round").symlink_to(".")
    edited_until_ready(run, tree, "a", 3)
    assert run.end() == 0
    assert not [event for event in run.events if event["event"] == "plugin.rejected"]


@pytest.mark.parametrize("becomes_file", [False, True], ids=["gone", "a file"])
def test_a_root_that_is_taken_away_and_comes_back(
    tree: PluginTree, watch: Watch, becomes_file: bool
) -> None:
    tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    # At once: between two steps of `rmtree`, a look may find the plugin gone, and not the root.
    shutil.rmtree(tree.root.rename(tree.root.with_name("aside")))
    if becomes_file:  # It is likely to get the inode of the folder.
        tree.root.write_text("not a folder", encoding="utf-8")
    problem = run.event("watch.problem")
    assert problem["path"] == str(tree.root)
    assert "replaced or is gone; waiting for it" in problem["message"]
    tree.root.unlink(missing_ok=True)
    fresh = PluginTree(tree.root.with_name("fresh"))
    fresh.plugin("a", value=2)
    fresh.root.rename(tree.root)  # At once, likewise.
    run.event("plugin.ready", plugin="demo/a", generation=2)
    edited_until_ready(run, tree, "a", 3)
    assert run.end() == 0
    assert not [event for event in run.events if event["event"] == "plugin.removed"]
