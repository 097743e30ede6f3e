"""Every way in which a file is saved, seen through real file events."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from serving import Live, serving
from trees import CODE, PluginTree

from dagstack_dev.app.reload import collect
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadSkipped,
    ReloadStarted,
    Transition,
)


def text(value: object) -> str:
    return CODE.format(name="base", value=value)


def in_place(path: Path, content: str) -> None:
    path.write_text(content)


def atomic_rename(path: Path, content: str) -> None:
    spare = path.with_name(".plugin.py.tmp123")
    spare.write_text(content)
    spare.replace(path)


def vim_backup(path: Path, content: str) -> None:
    """What vim does with `backupcopy=no`: probe, move the old file away, write a new one."""
    probe = path.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(content)
    backup.unlink()


def delete_and_write(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)


def in_pieces(path: Path, content: str) -> None:
    with path.open("w") as file:
        for line in content.splitlines(keepends=True):
            file.write(line)
            file.flush()


STYLES = [in_place, atomic_rename, vim_backup, delete_and_write, in_pieces]


@pytest.mark.parametrize("save", STYLES, ids=lambda save: save.__name__)
async def test_a_save_is_one_reload(tree: PluginTree, save: Callable[[Path, str], None]) -> None:
    path = tree.plugin("base") / "plugin.py"
    async with serving(tree, debounce_ms=100) as live:
        live.forget()
        save(path, text(2))
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert len(live.of(ReloadStarted)) == 1
        assert live.of(PluginRejected) == []
        assert live.plugin("base").value() == 2


async def watch_sees(live: Live, path: Path) -> None:
    """Wait until the server has been told of an event at `path`, whatever it makes of it."""
    while not live.server._loop._under_way:
        await anyio.lowlevel.checkpoint()
    assert path.exists()


LONG_MS = 60_000
"""Longer than a test takes to go on with a save."""


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks unfinished is given all the time that it takes."""
    monkeypatch.setattr(collect, "DEBOUNCE_LIMIT_SECONDS", math.inf)


@pytest.mark.usefixtures("patient")
async def test_a_file_emptied_first_and_written_later_is_never_taken_for_empty(
    tree: PluginTree,
) -> None:
    path = tree.plugin("base") / "plugin.py"
    async with serving(tree, debounce_ms=LONG_MS) as live:
        live.forget()
        with path.open("w") as file:
            await watch_sees(live, path)
            assert live.facts == []
            file.write(text(2))
        await live.fact(ReloadCommitted)
        assert live.of(PluginRejected) == []
        assert live.plugin("base").value() == 2


@pytest.mark.usefixtures("patient")
async def test_a_file_gone_first_and_back_later_is_never_taken_for_gone(tree: PluginTree) -> None:
    path = tree.plugin("base") / "plugin.py"
    manifest = path.with_name("dagstack.toml")
    async with serving(tree, debounce_ms=LONG_MS) as live:
        for file, content in ((path, text(2)), (manifest, manifest.read_text() + "priority = 1\n")):
            live.forget()
            spare = tree.root.parent / "spare"
            file.rename(spare)
            await watch_sees(live, spare)
            assert live.facts == []
            file.write_text(content)
            await live.fact(ReloadCommitted)
            assert live.of(PluginRejected) == []
        assert live.plugin("base").value() == 2


async def test_a_file_left_empty_is_rejected_in_the_end(tree: PluginTree) -> None:
    path = tree.plugin("base") / "plugin.py"
    async with serving(tree, debounce_ms=10) as live:
        live.forget()
        path.write_text("")
        await live.fact(PluginRejected)
        assert live.plugin("base").value() == 1


NO_CHANGE: dict[str, Callable[[Path], object]] = {
    "touch": lambda path: path.touch(),
    "chmod": lambda path: path.chmod(0o600),
    "same text": lambda path: path.write_text(text(1)),
    "same text by rename": lambda path: atomic_rename(path, text(1)),
}


@pytest.mark.parametrize("do", NO_CHANGE.values(), ids=NO_CHANGE.keys())
async def test_an_event_without_a_change_of_content_reloads_nothing(
    tree: PluginTree, do: Callable[[Path], object]
) -> None:
    path = tree.plugin("base") / "plugin.py"
    async with serving(tree) as live:
        live.forget()
        do(path)
        skipped = await live.fact(ReloadSkipped)
        assert skipped.reason == "no content changed"
        await live.server.wait_idle()
        assert live.of(ReloadStarted) == []
        assert live.of(Transition) == []


async def test_edits_of_the_same_length_within_one_second_are_all_seen(tree: PluginTree) -> None:
    path = tree.plugin("base") / "plugin.py"
    async with serving(tree) as live:
        for value in range(2, 10):
            live.forget()
            path.write_text(text(value))
            await live.fact(ReloadCommitted)
            assert live.plugin("base").value() == value


async def test_an_edit_whose_modification_time_is_set_back_is_seen(tree: PluginTree) -> None:
    path = tree.plugin("base") / "plugin.py"
    before = path.stat()
    async with serving(tree) as live:
        live.forget()
        path.write_text(text(2))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await live.fact(ReloadCommitted)
        assert live.plugin("base").value() == 2
        path.write_text(text(3))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await live.server.wait_idle()
        assert live.plugin("base").value() == 3


async def test_a_folder_created_with_its_files_is_taken_in_whole(tree: PluginTree) -> None:
    async with serving(tree, debounce_ms=50) as live:
        live.forget()
        tree.plugin("new", folder="group/new", code="from .a.b import Plugin")
        tree.write("group/new/a/__init__.py", "")
        tree.write("group/new/a/b.py", CODE.format(name="new", value=1))
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert live.of(PluginRejected) == []
        assert live.journal == ["setup new 1"]


async def test_a_folder_moved_in_from_elsewhere_is_seen(tree: PluginTree) -> None:
    outside = PluginTree(tree.root.parent / "outside")
    outside.plugin("one")
    outside.plugin("two", depends_on=["one"])
    async with serving(tree) as live:
        live.forget()
        outside.root.rename(tree.root / "moved")
        await live.fact(ReloadCommitted, lambda each: len(each.affected) == 2)
        assert live.states == {"one": "ready", "two": "ready"}


EDIT_IN_SETUP = """
def setup(self, ctx):
    self.ctx = ctx
    ctx.extras["edit"]()
Plugin.setup = setup
"""


async def test_an_edit_during_the_first_start_is_not_lost(tree: PluginTree) -> None:
    path = tree.plugin("base") / "plugin.py"
    path.write_text(text(1) + EDIT_IN_SETUP)
    async with serving(tree, extras={"edit": lambda: path.write_text(text(2))}) as live:
        await live.fact(ReloadCommitted)
        assert live.plugin("base").value() == 2


async def test_an_edit_right_after_the_start_is_seen_without_being_asked_for(
    tree: PluginTree,
) -> None:
    path = tree.plugin("base") / "plugin.py"
    for value in range(2, 6):
        async with serving(tree) as live:
            path.write_text(text(value))
            await live.fact(ReloadCommitted)
            assert live.plugin("base").value() == value
