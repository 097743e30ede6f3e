"""Files and folders that nobody may read: what runs goes on, and is told why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_runs import Watching, humble
from serving import serving
from trees import PluginTree

from dagstack_dev.core.events import WatchProblem

Watch = Callable[..., Watching]


@contextmanager
def denied(path: Path, left: int = 0) -> Iterator[None]:
    """Take away all rights but those that are `left`."""
    mode = path.stat().st_mode
    path.chmod(left)
    try:
        yield
    finally:
        path.chmod(mode)


@pytest.mark.parametrize("name", ["plugin.py", "dagstack.toml"])
def test_a_file_that_may_not_be_read(tree: PluginTree, watch: Watch, name: str) -> None:
    tree.plugin("a")
    run = watch("plugins", prefix=humble())
    run.event("watch.started")
    with denied(tree.root / "a" / name):
        error = run.event("plugin.rejected", plugin="demo/a", keeps_generation=1)["error"]
        assert "cannot be read: Permission denied" in error["message"]
        assert error["path"] == str(tree.root / "a" / name)
    assert run.event("reload.skipped", reason="what runs is on disk again")["settled"] == ["demo/a"]
    assert run.end() == 0


@pytest.mark.parametrize("folder", ["a", "group", "."], ids=["plugin", "group", "root"])
def test_a_folder_that_may_not_be_searched_takes_nothing_down(
    tree: PluginTree, watch: Watch, folder: str
) -> None:
    tree.plugin("a")
    tree.plugin("b", folder="group/b")
    run = watch("plugins", prefix=humble())
    run.event("watch.started", ready=2)
    with denied(tree.root / folder):
        problem = run.event("watch.problem")
        assert problem["path"] == str(tree.root / folder)
        assert "cannot be searched: Permission denied" in problem["message"]
    tree.plugin("a", value=2)
    run.event("plugin.ready", plugin="demo/a", generation=2)
    tree.plugin("b", folder="group/b", value=2)
    run.event("plugin.ready", plugin="demo/b", generation=2)
    assert run.end() == 0
    assert not [event for event in run.events if event["event"] == "plugin.removed"]


@pytest.mark.parametrize("left", [0, 0o444], ids=["none", "to list it"])
def test_of_all_that_cannot_be_searched_the_outermost_folder_is_named(
    tree: PluginTree, watch: Watch, left: int
) -> None:
    names = ["a", "b"]
    for name in names:
        tree.plugin(name, folder=f"group/{name}")
    run = watch("plugins", prefix=humble())
    run.event("watch.started", ready=2)
    for name in names:
        tree.plugin(name, folder=f"group/{name}", value=2)
    with denied(tree.root / "group", left):
        run.event("watch.problem")
    assert run.end() == 0
    problems = [each["path"] for each in run.events if each["event"] == "watch.problem"]
    assert problems == [str(tree.root / "group")]


def test_a_folder_below_a_plugin_that_may_not_be_read_is_reported(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("a")
    tree.write("a/assets/page.html", "page")
    with denied(tree.root / "a" / "assets"):
        run = watch("plugins", prefix=humble())
        problem = run.event("watch.problem")
        assert problem["path"] == str(tree.root / "a" / "assets")
        assert "cannot be read: Permission denied" in problem["message"]
        run.event("watch.started", ready=1)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0


async def test_a_plugin_folder_that_denies_access_goes_on_running(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same at the seam, where permissions do not count: as root, on some file systems."""
    folder = str(tree.plugin("a"))
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    async with serving(tree) as live:
        monkeypatch.setattr(os, "scandir", refuse)
        tree.plugin("a", value=2)
        await live.settle()
        (problem,) = live.of(WatchProblem)
        assert problem.path == folder
        await live.settle()
        assert not live.of(WatchProblem), "it is told once"
        assert live.states == {"a": "ready"}
        assert live.plugin("a").value() == 1
        monkeypatch.undo()
        await live.settle()
        assert live.plugin("a").value() == 2
