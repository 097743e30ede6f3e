"""Whatever the watching library does, the watch goes on. The library is played by a fake."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from trees import PluginTree
from watching import watching

from dagstack_dev.disk import watcher as module

Batch = set[tuple[int, str]]


class FakeLibrary:
    """Stands for `watchfiles.awatch`: each call plays the next of `acts`, the last for ever."""

    def __init__(self, *acts: Callable[[str], Batch], early: bool = False) -> None:
        self._acts = list(acts)
        self._early = early
        self.calls: list[str] = []

    async def __call__(
        self, folder: str, *, stop_event: Any, **options: Any
    ) -> AsyncIterator[Batch]:
        self.calls.append(folder)
        act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
        if not self._early:
            await anyio.to_thread.run_sync(stop_event.is_set)  # As the real one: from its thread.
        yield act(folder)
        while not await anyio.to_thread.run_sync(stop_event.is_set):
            await anyio.sleep(0.005)


def event(folder: str) -> Batch:
    return {(2, f"{folder}/a.py")}


def failing(error: Exception) -> Callable[[str], Batch]:
    def act(folder: str) -> Batch:
        raise error

    return act


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "STEADY_SECONDS", 0.1)


ERRORS = [
    OSError(28, "OS file watch limit reached"),
    FileNotFoundError("No path was found."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    RuntimeError("watch thread unexpectedly received a signal"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("early", [False, True], ids=["running", "starting"])
async def test_an_error_of_the_library_begins_a_new_watch(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, error: Exception, early: bool
) -> None:
    library = FakeLibrary(failing(error), event, early=early)
    monkeypatch.setattr(module, "awatch", library)
    async with watching(tree.root) as reports:
        assert type(error).__name__ in await reports.until_problem(str(error))
        await reports.until(tree.root)  # Events may be lost: look everywhere.
        await reports.until(tree.root / "a.py")
    assert len(library.calls) == 2


async def test_events_that_work_again_are_reported_once(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError(28, "OS file watch limit reached")
    monkeypatch.setattr(module, "awatch", FakeLibrary(failing(error), failing(error), event))
    async with watching(tree.root) as reports:
        await reports.until_problem("watch limit")
        await reports.until_recovered("the folder is watched again, by events")
        await reports.until(tree.root / "a.py")
    assert len(reports.recovered) == 1


async def test_a_library_that_never_works_does_not_keep_the_start_waiting(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = FakeLibrary(failing(OSError("no watches left")), early=True)
    monkeypatch.setattr(module, "awatch", library)
    async with watching(tree.root) as reports:  # Starts within `GUARD_SECONDS`.
        await reports.until_problem("no watches left")


async def test_an_error_that_is_no_matter_of_watching_is_not_hidden(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "awatch", FakeLibrary(failing(KeyError("a defect"))))
    with pytest.raises(ExceptionGroup) as caught:
        async with watching(tree.root):
            await anyio.sleep_forever()
    assert caught.group_contains(KeyError)


async def test_polling_does_without_the_library(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = FakeLibrary(event)
    monkeypatch.setattr(module, "awatch", library)
    async with watching(tree.root, polling=True) as reports:
        await reports.until(tree.plugin("b"))
    assert not library.calls


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
@pytest.mark.parametrize(
    ("says", "may_open", "advice"),
    [
        ("OS file watch limit reached", True, "sudo sysctl fs.inotify.max_user_watches="),
        ("Too many open files (os error 24)", True, "sudo sysctl fs.inotify.max_user_instances="),
        ("Too many open files (os error 24)", False, "ulimit -n"),
    ],
    ids=["watches", "instances", "open files"],
)
async def test_a_limit_that_is_reached_is_named_with_the_way_to_raise_it(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, says: str, may_open: bool, advice: str
) -> None:
    monkeypatch.setattr(module, "_may_open_files", lambda: may_open)
    monkeypatch.setattr(module, "awatch", FakeLibrary(failing(RuntimeError(says)), event))
    async with watching(tree.root) as reports:
        assert advice in await reports.until_problem(says)
