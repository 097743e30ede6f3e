"""Edits of which no event tells are found all the same, and every edit is judged by content."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from command_runs import Watching
from serving import Live, serving
from sharing import user
from trees import PluginTree
from watchfiles import awatch

from dagstack_dev.core.events import ReloadCommitted, Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.disk import sweep, watcher
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot

Watch = Callable[..., Watching]

LIMITED = ("unshare", "--user", "--map-root-user", "sh", "-c")
"""Runs a shell where limits of inotify can be set."""

FEW_WATCHES = (*LIMITED, 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh")
"""Runs a command that may watch three folders in all."""

NO_INSTANCES = (*LIMITED, 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"', "sh")
"""Runs a command that may have no watch at all."""


def skip_unless_limited(prefix: tuple[str, ...]) -> None:
    if (
        shutil.which(prefix[0]) is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("there are no user namespaces here to limit the watches in")


async def silence(folder: str, *, stop_event: Any, **options: Any) -> AsyncIterator[set[Any]]:
    """Stands for `watchfiles.awatch` where every event is lost."""
    while not await anyio.to_thread.run_sync(stop_event.is_set):
        await anyio.sleep(0.005)
    yield set()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a server that hears no event and looks around without rest."""
    monkeypatch.setattr(watcher, "awatch", silence)
    monkeypatch.setattr(sweep, "REST_PER_SWEEP", 1)
    return {"sweep_seconds": 0.01}


async def taken_over(live: Live, value: object) -> None:
    await live.fact(ReloadCommitted)
    live.forget()
    assert live.plugin("a").value() == value


async def test_a_sweep_finds_edits_that_no_event_reports(
    tree: PluginTree, deaf: dict[str, Any]
) -> None:
    tree.plugin("a")
    async with serving(tree, **deaf) as live:
        tree.plugin("a", value=2)
        await taken_over(live, 2)
        tree.plugin("new", folder="group/new")
        await live.fact(Transition, lambda step: step.to_state is State.READY)
        live.forget()
        shutil.rmtree(tree.root / "group")
        await live.fact(Transition, lambda step: step.to_state is State.REMOVED)
        assert live.state("a") is State.READY


async def test_a_sweep_finds_a_write_through_a_hard_link(
    tree: PluginTree, tmp_path: Path, deaf: dict[str, Any]
) -> None:
    path = tree.plugin("a") / "plugin.py"
    outside = tmp_path / "outside.py"
    os.link(path, outside)
    async with serving(tree, **deaf) as live:
        text = path.read_text(encoding="utf-8")
        outside.write_text(text.replace("VALUE = 1", "VALUE = 2"), encoding="utf-8")
        await taken_over(live, 2)


@pytest.mark.usefixtures("imports_forgotten")
async def test_a_sweep_finds_edits_of_code_that_plugins_share(
    tree: PluginTree, deaf: dict[str, Any]
) -> None:
    words = tree.write("words.py", "WORD = 1\n")
    user(tree, "a", "from words import WORD", "WORD")
    async with serving(tree, **deaf) as live:
        for word in (2, 3):
            words.write_text(f"WORD = {word}\n", encoding="utf-8")
            await taken_over(live, word)


async def test_a_sweep_finds_an_edit_behind_a_link_to_a_file(
    tree: PluginTree, tmp_path: Path, deaf: dict[str, Any]
) -> None:
    path = tree.plugin("a") / "plugin.py"
    outside = tmp_path / "outside.py"
    path.rename(outside)
    path.symlink_to(outside)
    async with serving(tree, **deaf) as live:
        text = outside.read_text(encoding="utf-8")
        outside.write_text(text.replace("VALUE = 1", "VALUE = 2"), encoding="utf-8")
        await taken_over(live, 2)


async def test_a_sweep_that_finds_nothing_says_nothing(
    tree: PluginTree, deaf: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.plugin("a")
    swept = anyio.Event()
    sweeps = 0
    copy = Snapshot.copy

    def count(self: Snapshot) -> Snapshot:
        nonlocal sweeps
        sweeps += 1
        if sweeps == 5:
            swept.set()
        return copy(self)

    monkeypatch.setattr(Snapshot, "copy", count)
    async with serving(tree, **deaf) as live:
        live.forget()
        await swept.wait()
        assert live.facts == []


def test_a_look_in_a_copy_takes_nothing(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    gone = tree.plugin("gone")
    extra = tree.write("a/extra.txt", "x")
    disk = Snapshot([str(tree.root)], IgnoreRules())
    disk.look().folders.clear()
    now = disk.copy()
    now.look()
    assert now.changed() == {}
    (folder / "plugin.py").write_text("X = 1", encoding="utf-8")
    extra.unlink()
    (folder / "plugin.pyc").write_text("ignored", encoding="utf-8")
    shutil.rmtree(gone)
    new = tree.plugin("new")
    now.look()
    assert now.changed().keys() == {
        str(folder / "plugin.py"),
        str(extra),
        str(gone),
        str(new),
    }
    assert not disk.news.folders
    assert disk.look().folders.keys() == {str(folder), str(gone), str(new)}


def test_where_inotify_has_no_instance_left_the_setting_is_named(
    tree: PluginTree, watch: Watch
) -> None:
    skip_unless_limited(NO_INSTANCES)
    tree.plugin("a")
    run = watch("plugins", prefix=NO_INSTANCES)
    problem = run.event("watch.problem")
    assert "Too many open files" in problem["message"]
    assert "raise fs.inotify.max_user_instances" in problem["message"]
    run.event("watch.started", ready=1)
    tree.plugin("a", value=2)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0


def test_more_folders_than_the_system_lets_us_watch_are_polled(
    tree: PluginTree, watch: Watch
) -> None:
    skip_unless_limited(FEW_WATCHES)
    for number in range(10):
        tree.plugin(f"p{number}")
    run = watch("plugins", prefix=FEW_WATCHES)
    problem = run.event("watch.problem")
    assert "OS file watch limit reached" in problem["message"]
    assert "raise fs.inotify.max_user_watches" in problem["message"]
    run.event("watch.started", ready=10)
    while "looking at intervals until events work again" not in problem["message"]:
        problem = run.event("watch.problem")
    for value in (2, 3):
        tree.plugin("p7", value=value)
        run.event("plugin.ready", plugin="demo/p7", generation=value)
    assert run.end() == 0


async def test_events_are_tried_again_after_a_while_of_polling(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def exhausted_at_first(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        nonlocal calls
        calls += 1
        if calls <= watcher.PATIENCE + 2:
            raise OSError(28, "OS file watch limit reached")
        again.set()
        async with aclosing(awatch(*arguments, **options)) as batches:
            async for batch in batches:
                yield batch

    again = anyio.Event()
    monkeypatch.setattr(watcher, "awatch", exhausted_at_first)
    monkeypatch.setattr(watcher, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(watcher, "POLL_FOR_SECONDS", 0.05)
    tree.plugin("a")
    async with serving(tree) as live:
        await again.wait()
        live.forget()
        tree.plugin("a", value=2)
        await taken_over(live, 2)
    assert calls == watcher.PATIENCE + 3


def test_what_is_edited_while_the_process_is_suspended_is_taken_when_it_goes_on(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("a")
    tree.plugin("old")
    run = watch("plugins")
    run.event("watch.started")
    run.send(signal.SIGSTOP)
    for value in range(2, 30):
        tree.plugin("a", value=value)
    tree.plugin("new", folder="group/new", depends_on=["a"])
    shutil.rmtree(tree.root / "old")
    run.send(signal.SIGCONT)
    awaited = {("plugin.ready", "demo/new"), ("plugin.removed", "demo/old")}

    def is_the_last(line: str) -> bool:
        event = json.loads(line)
        awaited.discard((event["event"], event.get("plugin")))
        return not awaited

    run.until(is_the_last)
    assert run.end() == 0
    assert [each["plugin"] for each in run.events if each["event"] == "plugin.removed"] == [
        "demo/old"
    ]


@pytest.mark.parametrize("seconds", [4e9, 0, -1e9], ids=["future", "1970", "before 1970"])
def test_time_stamps_from_anywhere_hide_no_edit_and_make_none(
    tree: PluginTree, watch: Watch, seconds: float
) -> None:
    path = tree.plugin("a") / "plugin.py"
    os.utime(path, (seconds, seconds))
    run = watch("plugins")
    run.event("watch.started")
    for value in (2, 3, 4):  # Always the same length, and in the end the same time.
        tree.plugin("a", value=value)
        os.utime(path, (seconds, seconds))
        run.event("plugin.ready", plugin="demo/a", generation=value)
    os.utime(path, (seconds + 1, seconds + 1))
    run.event("reload.skipped", reason="no content changed")
    assert run.end() == 0
    assert sum(each["event"] == "reload.committed" for each in run.events) == 3


@pytest.mark.parametrize("jump", [-3600, 3600], ids=["back", "forward"])
async def test_a_clock_that_jumps_hides_no_edit_and_makes_none(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    tree.plugin("a")
    async with serving(tree) as live:
        now = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now() + jump * 1_000_000_000)
        for value in range(2, 7):
            live.forget()
            tree.plugin("a", value=value)
            await taken_over(live, value)
        await live.settle()
        assert live.facts == []


def test_a_lock_that_git_has_left_behind_delays_one_reload_only(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("a")
    tree.write(".git/index.lock", "")
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("a", value=2)
    assert run.event("watch.problem")["path"] == str(tree.root / ".git" / "index.lock")
    run.event("reload.committed", changed=["demo/a"])
    tree.plugin("a", value=3)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0
    assert sum(each["event"] == "watch.problem" for each in run.events) == 1


def test_a_file_that_changes_right_after_it_was_read_is_read_again(tree: PluginTree) -> None:
    path = tree.plugin("a") / "plugin.py"
    disk = Snapshot([str(tree.root)], IgnoreRules())
    path.write_text("X = 1\n", encoding="utf-8")
    disk.look()
    path.write_text("X = 2\n", encoding="utf-8")
    disk.look()
    assert disk.folders.sources[str(path.parent)].files["plugin.py"].content == b"X = 2\n"
