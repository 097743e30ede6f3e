"""Events of the real file system arrive, whatever becomes of the folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anyio
import pytest
from command_runs import GUARD_SECONDS
from trees import PluginTree
from watching import watching

from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot


@pytest.mark.parametrize("polling", [False, True])
async def test_a_written_file_is_reported(tree: PluginTree, polling: bool) -> None:
    folder = tree.plugin("a")
    async with watching(tree.root, polling=polling) as reports:
        path = tree.write("a/plugin.py", "X = 1000\n")
        await reports.until(path)
        (folder / "plugin.py").unlink()
        reports.forget()
        await reports.until(path)


async def test_polling_notices_every_edit_of_the_same_length_within_a_second(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    async with watching(tree.root, polling=True) as reports:
        for number in range(4):
            path = tree.write("a/plugin.py", f"X = {number}\n")
            await reports.until(path)
            reports.forget()


async def test_polling_notices_a_save_that_changes_nothing(tree: PluginTree) -> None:
    path = tree.plugin("a") / "plugin.py"
    async with watching(tree.root, polling=True) as reports:
        path.write_bytes(path.read_bytes())
        await reports.until(path)


async def test_polling_sees_what_links_lead_to_and_ends_at_loops(
    tree: PluginTree, tmp_path: Path
) -> None:
    elsewhere = PluginTree(tmp_path / "elsewhere")
    elsewhere.plugin("far")
    (tree.root / "link").symlink_to(elsewhere.root)
    (tree.root / "loop").symlink_to("..")
    (tree.root / "dead").symlink_to("nowhere")
    tree.write("node_modules/x.py", "x")
    async with watching(tree.root, polling=True) as reports:
        tree.write("node_modules/x.py", "longer")
        tree.write(tree.root / "link" / "far" / "plugin.py", "X = 2\n")
        await reports.until(tree.root / "link" / "far" / "plugin.py")
        assert not any("node_modules" in path for path in reports.paths)


async def test_what_is_written_at_once_after_the_start_is_not_lost(tree: PluginTree) -> None:
    tree.plugin("a")
    for number in range(5):
        async with watching(tree.root) as reports:
            await reports.until(tree.write("a/plugin.py", f"X = {number}\n"))


async def test_a_save_by_rename_reports_the_file_itself(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    async with watching(tree.root) as reports:
        tree.write("a/.plugin.tmp", "X = 2\n").replace(folder / "plugin.py")
        await reports.until(folder / "plugin.py")


async def test_several_roots_are_watched(tree: PluginTree, tmp_path: Path) -> None:
    other = PluginTree(tmp_path / "other")
    async with watching(tree.root, other.root) as reports:
        await reports.until(tree.write("one.py", "1"), other.write("two.py", "2"))


async def test_a_plugin_in_a_folder_made_after_the_start_is_found_by_a_look_at_the_events(
    tree: PluginTree,
) -> None:
    """Files written into a new folder at once may never be reported; the folder itself is."""
    disk = Snapshot([str(tree.root)], IgnoreRules())
    disk.look().folders.clear()
    async with watching(tree.root) as reports:
        tree.plugin("new", folder="group/deep/new")
        await reports.until(tree.root / "group")
        assert [*disk.look(reports.paths).folders] == [f"{tree.root}/group/deep/new"]
        disk.news.folders.clear()
        reports.forget()
        path = tree.write("group/deep/new/plugin.py", "X = 2\n")
        await reports.until(path)


@pytest.mark.parametrize("name", ["0-link", "z-link", "build"])
@pytest.mark.parametrize("inside", [True, False])
async def test_an_edit_behind_links_is_found_by_a_look_at_the_events(
    tree: PluginTree, tmp_path: Path, name: str, inside: bool
) -> None:
    """The system reports a folder by one path only, which may be that of a link."""
    home = tree if inside else PluginTree(tmp_path / "elsewhere")
    path = home.plugin("a", folder="group/a") / "plugin.py"
    if not inside:
        (tree.root / "m-link").symlink_to(home.root)
    (tree.root / name).symlink_to(home.root / "group")
    disk = Snapshot([str(tree.root)], IgnoreRules())
    disk.look().folders.clear()
    async with watching(tree.root) as reports:
        path.write_text("X = 2\n", encoding="utf-8")
        await reports.until(path)
        assert len(disk.look(reports.paths).folders) == 1


async def test_a_folder_that_is_moved_in_or_out_is_found_by_a_look_at_the_events(
    tree: PluginTree, tmp_path: Path
) -> None:
    outside = PluginTree(tmp_path / "outside")
    outside.plugin("a", folder="group/a")
    disk = Snapshot([str(tree.root)], IgnoreRules())
    disk.look().folders.clear()
    async with watching(tree.root) as reports:
        (outside.root / "group").rename(tree.root / "group")
        await reports.until(tree.root / "group")
        assert [*disk.look(reports.paths).folders] == [f"{tree.root}/group/a"]
        disk.news.folders.clear()
        reports.forget()
        (tree.root / "group").rename(outside.root / "group")
        await reports.until(tree.root / "group")
        assert [*disk.look(reports.paths).folders] == [f"{tree.root}/group/a"]
        assert not disk.folders.sources


@pytest.mark.parametrize("renamed", [False, True])
async def test_a_root_that_is_deleted_and_made_anew_is_watched_again(
    tree: PluginTree, renamed: bool
) -> None:
    tree.plugin("a")
    async with watching(tree.root) as reports:
        if renamed:
            tree.root.rename(tree.root.with_name("aside"))
        else:
            shutil.rmtree(tree.root)
        await reports.until_problem("replaced or is gone")
        reports.forget()
        tree.plugin("b")
        await reports.until(tree.root)
        reports.forget()
        with anyio.fail_after(GUARD_SECONDS):  # The new watch starts a moment after the report.
            number = 0
            path = tree.root / "b" / "plugin.py"
            while str(path) not in reports.paths:
                number += 1
                tree.write("b/plugin.py", f"X = {number}\n")
                await anyio.sleep(0.05)


async def test_a_single_file_is_watched_through_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    config = folder / "app.toml"
    config.write_text("a = 1", encoding="utf-8")
    async with watching(single=[config]) as reports:
        (folder / "other.toml").write_text("x", encoding="utf-8")
        config.write_text("a = 2", encoding="utf-8")
        await reports.until(config)
        reports.forget()
        (folder / "app.toml.new").write_text("a = 3", encoding="utf-8")
        (folder / "app.toml.new").replace(config)
        await reports.until(config)
        reports.forget()
        config.unlink()
        await reports.until(config)
        assert reports.paths == {str(config)}, "only the file itself is reported"


async def test_a_single_file_is_reported_when_its_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    config = folder / "app.toml"
    async with watching(single=[config]) as reports:
        folder.rename(tmp_path / "aside")
        folder.mkdir()
        config.write_text("a = 1", encoding="utf-8")
        await reports.until_problem("replaced or is gone")
        await reports.until(config)


@pytest.mark.parametrize("polling", [False, True])
async def test_a_watch_that_is_cancelled_ends(tree: PluginTree, polling: bool) -> None:
    tree.plugin("a")
    with anyio.fail_after(GUARD_SECONDS):
        async with watching(tree.root, polling=polling):
            pass


async def test_a_watch_ends_while_its_root_is_gone(tree: PluginTree) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        async with watching(tree.root) as reports:
            tree.root.rmdir()
            await reports.until_problem("replaced or is gone")


async def test_names_that_are_not_utf8_do_not_end_the_watch(tree: PluginTree) -> None:
    tree.plugin("a")
    async with watching(tree.root) as reports:
        odd = os.fsdecode(os.fsencode(tree.root) + b"/a/\xff.txt")
        Path(odd).write_text("x", encoding="utf-8")
        with anyio.fail_after(GUARD_SECONDS):
            number = 0
            while str(tree.root / "a" / "plugin.py") not in reports.paths:
                number += 1
                tree.write("a/plugin.py", f"X = {number}\n")
                await anyio.sleep(0.05)
