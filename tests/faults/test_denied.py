"""Files and folders that nobody may read: what runs goes on, and is told why."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_runs import Watching
from serving import serving
from trees import PluginTree

from dagstack_dev.core.events import WatchProblem

Watch = Callable[..., Watching]

HUMBLE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Runs a command as root without root's right to read everything."""


def prefix() -> tuple[str, ...]:
    """What makes permissions count for a process."""
    if os.geteuid() != 0:
        return ()
    if shutil.which(HUMBLE[0]) is None or subprocess.run([*HUMBLE, "true"], check=False).returncode:
        pytest.skip("root may read everything, and setpriv cannot take that away here")
    return HUMBLE


@contextmanager
def denied(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(mode)


@pytest.mark.parametrize("name", ["plugin.py", "dagstack.toml"])
def test_a_file_that_may_not_be_read(tree: PluginTree, watch: Watch, name: str) -> None:
    tree.plugin("a")
    run = watch("plugins", prefix=prefix())
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
    run = watch("plugins", prefix=prefix())
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


def test_a_folder_below_a_plugin_that_may_not_be_read_is_told(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("a")
    tree.write("a/assets/page.html", "page")
    with denied(tree.root / "a" / "assets"):
        run = watch("plugins", prefix=prefix())
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
