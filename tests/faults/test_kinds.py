"""What stands where a file was expected, and names that nobody expected."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Watching
from trees import PluginTree

Watch = Callable[..., Watching]

IMPORTS_HELPER = "from .helper import X\nclass Plugin:\n    pass\n"


def in_place_of(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def listen(path: Path) -> None:
    """A socket that stays on disk when nobody listens any more."""
    here = Path.cwd()
    os.chdir(path.parent)  # The path of a socket must be short.
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("make", [os.mkfifo, listen, Path.mkdir], ids=["pipe", "socket", "folder"])
def test_what_is_no_file_in_place_of_the_code_is_refused_and_never_waited_for(
    tree: PluginTree, watch: Watch, make: Callable[[Path], object]
) -> None:
    path = tree.plugin("a") / "plugin.py"
    run = watch("plugins")
    run.event("watch.started")
    in_place_of(path, make)
    error = run.event("plugin.rejected", plugin="demo/a", keeps_generation=1)["error"]
    assert "there is no plugin.py" in error["message"]
    (path.rmdir if path.is_dir() else path.unlink)()
    tree.plugin("a", value=2)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0


@pytest.mark.parametrize("make", [os.mkfifo, listen, Path.mkdir], ids=["pipe", "socket", "folder"])
def test_what_is_no_file_beside_the_code_is_passed_over(
    tree: PluginTree, watch: Watch, make: Callable[[Path], object]
) -> None:
    folder = tree.plugin("a")
    make(folder / "control.py")
    run = watch("plugins")
    run.event("watch.started", ready=1)
    make(folder / "more.json")
    tree.plugin("a", value=2)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0


@pytest.mark.parametrize("make", [os.mkfifo, listen, Path.mkdir], ids=["pipe", "socket", "folder"])
def test_a_manifest_that_is_no_file_takes_the_plugin_down_as_a_restart_would(
    tree: PluginTree, watch: Watch, make: Callable[[Path], object]
) -> None:
    tree.plugin("a")
    tree.plugin("b", depends_on=["a"])
    path = tree.root / "a" / "dagstack.toml"
    run = watch("plugins")
    run.event("watch.started")
    in_place_of(path, make)
    run.event("plugin.blocked", plugin="demo/b")
    run.event("plugin.removed", plugin="demo/a")
    (path.rmdir if path.is_dir() else path.unlink)()
    tree.plugin("a", value=2)
    run.event("plugin.ready", plugin="demo/b")
    assert run.end() == 0


def test_a_plugin_folder_that_becomes_a_file_and_a_folder_again(
    tree: PluginTree, watch: Watch
) -> None:
    folder = tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    shutil.rmtree(folder)
    folder.write_text("not a folder", encoding="utf-8")
    run.event("plugin.removed", plugin="demo/a")
    folder.unlink()
    tree.plugin("a", value=2)
    run.event("plugin.ready", plugin="demo/a")
    assert run.end() == 0


def test_names_that_are_not_utf8_are_plugins_like_any_other(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    odd = os.fsdecode(b"caf\xe9")
    tree.plugin("odd", folder=odd)
    assert "UTF-8" in run.event("watch.problem")["message"]
    run.event("plugin.ready", plugin="demo/odd")
    tree.plugin("odd", folder=odd, value=2)
    run.event("plugin.ready", plugin="demo/odd", generation=2)
    tree.plugin("a", value=2)
    run.event("plugin.ready", plugin="demo/a", generation=2)
    assert run.end() == 0


def test_very_long_names_and_paths_stop_nothing(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("long", folder="l" * 255)
    run.event("plugin.ready", plugin="demo/long")
    handle = os.open(tree.root, os.O_RDONLY)
    for _ in range(20):  # Far longer in all than any system call takes.
        os.mkdir("d" * 250, dir_fd=handle)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(os.open("dagstack.toml", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    tree.plugin("a", value=2)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0


def test_a_rename_that_changes_only_the_case_is_seen(tree: PluginTree, watch: Watch) -> None:
    helper = tree.write("a/helper.py", "X = 1\n")
    tree.plugin("a", code=IMPORTS_HELPER)
    run = watch("plugins")
    run.event("watch.started", ready=1)
    capital = helper.with_name("Helper.py")
    helper.rename(capital)
    if helper.exists():
        pytest.skip("this file system does not tell the cases apart")
    error = run.event("reload.rolled_back", running={"demo/a": 1})["errors"]["demo/a"]
    assert "helper" in error["message"]
    capital.rename(helper)
    assert run.event("reload.skipped")["settled"] == ["demo/a"]
    assert run.end() == 0
