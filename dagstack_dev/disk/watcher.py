"""File events, as hints where to look. The one native seam: watchfiles."""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio
import anyio.from_thread
import anyio.to_thread
from watchfiles import awatch

from dagstack_dev.disk.discovery import lies_in
from dagstack_dev.disk.polling import poll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskStatus

RETRY_SECONDS: Final = 0.25
"""How often a root that is gone is looked for."""

PATIENCE: Final = 3
"""Watches in a row that may break at once before a folder is polled instead."""

_POLL_SECONDS: Final = 0.05
"""The shortest rest between two looks of a watch that polls."""

_DEBOUNCE_MS: Final = 400
"""A batch that never falls quiet ends after this time."""


class Watcher:
    """Watches folders, whatever happens to them, and reports the paths of events.

    A folder that is deleted and made anew, and an error inside the watching library, only cause
    a new watch; both are reported as a change of the folder itself, or of the single files in
    it, since events may be lost.

    Args:
        folders: absolute folders, watched with everything below them.
        single: absolute files, each watched through its parent folder.
        step_ms: how long the disk has to be quiet for a batch to end, in milliseconds.
        polling: look at intervals instead of asking the system for events.
        on_paths: called with the absolute paths of a batch, on the loop's thread; what lies behind
            a link is reported by its real path too.
        on_problem: called with a message when a watch had to be given up and begun anew.
    """

    def __init__(
        self,
        *,
        folders: Iterable[str],
        single: Iterable[str] = (),
        step_ms: int,
        polling: bool,
        on_paths: Callable[[set[str]], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._folders = tuple(folders)
        self._single = frozenset(single)
        self._step_ms = step_ms
        self._polling = polling
        self._on_paths = on_paths
        self._on_problem = on_problem

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Watch until cancelled; `task_status` is started once events will be reported."""
        parents = {os.path.dirname(path) for path in self._single}  # noqa: PTH120 - plain strings
        async with anyio.create_task_group() as group:
            for folder, recursive in (
                *((folder, True) for folder in self._folders),
                *((folder, False) for folder in sorted(parents)),
            ):
                watching = anyio.Event()
                group.start_soon(self._keep_watching, folder, recursive, watching)
                await watching.wait()
            task_status.started()

    async def _keep_watching(
        self,
        folder: str,
        recursive: bool,  # noqa: FBT001 - passed on by the task group
        watching: anyio.Event,
    ) -> None:
        """Watch one folder for ever, across its disappearance and return.

        What happened before a later watch stood is in no event: then the folder is reported.
        """
        failures = 0
        while True:
            await _until_exists(folder)
            identity = _identity(folder)
            began = anyio.current_time()
            async with anyio.create_task_group() as group:
                group.start_soon(self._cancel_when_replaced, folder, identity, group.cancel_scope)
                if watching.is_set():
                    watching = anyio.Event()
                    group.start_soon(self._report_when, watching, folder, recursive)
                watch = self._poll if self._polling or failures >= PATIENCE else self._watch
                problem = await watch(folder, recursive=recursive, watching=watching)
                if problem is not None:
                    short_lived = anyio.current_time() - began < RETRY_SECONDS
                    failures = failures + 1 if short_lived else 1
                    if failures >= PATIENCE:
                        problem += "; looking at intervals from now on"
                    self._on_problem(folder, problem)
                    watching.set()  # A start does not wait for what may never work.
                    await anyio.sleep(RETRY_SECONDS)
                group.cancel_scope.cancel()
            self._on_paths({folder} if recursive else self._single_in(folder))

    async def _report_when(
        self,
        watching: anyio.Event,
        folder: str,
        recursive: bool,  # noqa: FBT001 - passed on by the task group
    ) -> None:
        await watching.wait()
        self._on_paths({folder} if recursive else self._single_in(folder))

    def _single_in(self, folder: str) -> set[str]:
        return {path for path in self._single if os.path.dirname(path) == folder}  # noqa: PTH120

    async def _watch(self, folder: str, *, recursive: bool, watching: anyio.Event) -> str | None:
        """Report batches until the watch breaks; the answer says how."""
        problem = None
        stop = _Started(watching)
        changes = awatch(
            folder,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=self._step_ms,
            stop_event=stop,  # type: ignore[arg-type]  # it asks for is_set, no more
            recursive=recursive,
            force_polling=False,  # We would not be told; see `reason_to_poll`.
            ignore_permission_denied=True,
        )
        try:
            async with anyio.create_task_group() as group, aclosing(changes):
                group.start_soon(stop.set_when_cancelled)
                async for batch in changes:
                    self._report(folder, {path for _, path in batch}, recursive=recursive)
                group.cancel_scope.cancel()
        except* (OSError, RuntimeError, UnicodeError) as errors:
            problem = "; ".join(_messages(errors))
        return problem

    async def _poll(self, folder: str, *, recursive: bool, watching: anyio.Event) -> str | None:
        """As `_watch`, by looking."""
        seconds = max(self._step_ms / 1000, _POLL_SECONDS)
        looks = poll(folder, watching, recursive=recursive, seconds=seconds)
        async with aclosing(looks):
            async for paths in looks:
                self._report(folder, paths, recursive=recursive)
        return None

    def _report(self, folder: str, paths: set[str], *, recursive: bool) -> None:
        paths = paths | _behind_links(folder, paths) if recursive else paths & self._single
        if paths:
            self._on_paths(paths)

    async def _cancel_when_replaced(
        self, folder: str, identity: tuple[int, int] | None, scope: anyio.CancelScope
    ) -> None:
        """A watch is bound to the folder's inode; end it when the path means another one."""
        while _identity(folder) == identity:
            await anyio.sleep(RETRY_SECONDS)
        self._on_problem(folder, "the folder was replaced or is gone; waiting for it")
        scope.cancel()


class _Started:
    """A stop event for watchfiles that reports the first time it is asked.

    watchfiles asks from its thread on every turn of its loop, so the first question proves that
    the watch is in place.
    """

    def __init__(self, watching: anyio.Event) -> None:
        self._watching: anyio.Event | None = watching
        self._stopped = False

    def is_set(self) -> bool:
        if self._watching is not None:
            watching, self._watching = self._watching, None
            anyio.from_thread.run_sync(watching.set)
        return self._stopped

    def set(self) -> None:
        self._stopped = True

    async def set_when_cancelled(self) -> None:
        """End the watching thread with its scope; watchfiles itself waits for the thread first."""
        try:
            await anyio.sleep_forever()
        finally:
            self.set()


def _behind_links(folder: str, paths: set[str]) -> set[str]:
    """Where those of `paths` really are that lie behind links below `folder`.

    The system watches a folder once, whatever the number of links to it, and reports it by the
    path that happened to be added last.
    """
    base = os.path.realpath(folder)
    real: set[str] = set()
    for parent in {os.path.dirname(path) for path in paths if path != folder}:  # noqa: PTH120
        target = os.path.realpath(parent)
        if target == base + parent[len(folder) :]:
            continue
        if lies_in(target, [base]):
            target = folder + target[len(base) :]
        names = (path[len(parent) :] for path in paths if os.path.dirname(path) == parent)  # noqa: PTH120
        real.update(target + name for name in names)
    return real


def _messages(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [message for each in error.exceptions for message in _messages(each)]
    return [f"{type(error).__name__}: {error}"]


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)  # noqa: PTH116 - asked four times a second
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _until_exists(folder: str) -> None:
    while not await anyio.to_thread.run_sync(os.path.isdir, folder):
        await anyio.sleep(RETRY_SECONDS)
