"""File events, as hints where to look. The one native seam: watchfiles."""

from __future__ import annotations

import functools
import math
import os
import sys
from contextlib import ExitStack, aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.from_thread
import anyio.to_thread
from watchfiles import awatch

from dagstack_dev.disk.links import Links, behind_links, identity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from anyio.abc import TaskStatus

    from dagstack_dev.disk.sweep import Sweep

RETRY_SECONDS: Final = 0.25
"""How often a root that is gone is looked for."""

STEADY_SECONDS: Final = 10.0
"""How long a watch that had broken has to work to be worth a line."""

PATIENCE: Final = 3
"""Watches in a row that may break at once before a folder is polled instead."""

POLL_FOR_SECONDS: Final = 60.0
"""How long a folder whose watch breaks is polled before another watch is tried."""

_DEBOUNCE_MS: Final = 400
"""A batch that never falls quiet ends after this time."""


class OnProblem(Protocol):
    """Takes note that a folder cannot be watched as it should, or is gone and waited for."""

    def __call__(self, folder: str, message: str, /, *, is_gone: bool = False) -> None:
        """Take note of it."""


class Watcher:
    """Watches folders, whatever happens to them, and reports the paths of events.

    A folder that is deleted and made anew, and an error inside the watching library, only cause
    a new watch; both are reported as a change of the folder itself, or of the single files in
    it, since events may be lost.

    Args:
        folders: absolute folders, watched with everything below them.
        single: absolute files, each watched through its parent folder.
        step_ms: how long the disk has to be quiet for a batch to end, in milliseconds.
        polling: have everything swept instead of asking the system for events.
        sweep: what looks where there are no events, as after a watch that could not be kept.
        on_paths: called with the absolute paths of a batch, on the loop's thread; what lies behind
            a link is reported by its real path too.
        on_problem: called with a folder and a message when a watch had to be given up.
        on_recovered: likewise, when a folder that was gone is there again, or events work again.
    """

    def __init__(
        self,
        *,
        folders: Iterable[str],
        single: Iterable[str] = (),
        step_ms: int,
        polling: bool,
        sweep: Sweep,
        on_paths: Callable[[set[str]], None],
        on_problem: OnProblem,
        on_recovered: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._folders = tuple(folders)
        self._single = frozenset(single)
        self._step_ms = step_ms
        self._polling = polling
        self._sweep = sweep
        self._on_paths = on_paths
        self._on_problem = on_problem
        self._on_recovered = on_recovered
        self._gone: set[str] = set()
        self._links = Links()
        self._partly_denied: set[str] = set()

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
        breaks = _Breaks(functools.partial(self._on_problem, folder))
        while True:
            await _until_exists(folder)
            if folder in self._gone:
                self._gone.remove(folder)
                self._on_recovered(folder, "the folder is there again, and watched")
            began = anyio.current_time()
            with _inode_kept(folder):
                identity = identity_of(folder)
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        self._cancel_when_replaced, folder, identity, group.cancel_scope
                    )
                    if watching.is_set():
                        watching = anyio.Event()
                        group.start_soon(self._report_when, watching, folder, recursive)
                    if self._polling or breaks.too_many:
                        watching.set()
                        await self._poll()
                        breaks.try_again()
                    else:
                        if breaks.reported:
                            group.start_soon(self._recover_when, watching, folder, breaks)
                        problem = await self._watch(folder, recursive=recursive, watching=watching)
                        if problem is not None:
                            breaks.note(problem, lasted=anyio.current_time() - began)
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

    async def _recover_when(self, watching: anyio.Event, folder: str, breaks: _Breaks) -> None:
        await watching.wait()
        await anyio.sleep(STEADY_SECONDS)  # Another break before that cancels it.
        breaks.reported = ""
        self._on_recovered(folder, "the folder is watched again, by events")

    def _single_in(self, folder: str) -> set[str]:
        return {path for path in self._single if os.path.dirname(path) == folder}  # noqa: PTH120

    async def _watch(self, folder: str, *, recursive: bool, watching: anyio.Event) -> str | None:
        """Report batches until the watch breaks; return how.

        It also ends, with None, when a link to a folder has come or points elsewhere:
        what lies behind is watched only from the start of a watch on.
        """
        problem = None
        stop = _Started(watching)
        changes = awatch(
            folder,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=self._step_ms,
            stop_event=stop,  # type: ignore[arg-type]  # it asks for is_set, no more
            recursive=recursive,
            rust_timeout=0,  # At each timeout it forgets what was reported at that very moment.
            force_polling=False,  # We would not know; see `reason_to_poll`.
            # With it watchfiles passes over every error, a lack of watches too.
            ignore_permission_denied=folder in self._partly_denied,
        )
        try:
            async with anyio.create_task_group() as group, aclosing(changes):
                group.start_soon(stop.set_when_cancelled)
                async for batch in changes:
                    paths = {path for _, path in batch}
                    self._report(folder, paths, recursive=recursive)
                    if recursive and self._links.have_moved(folder, paths):
                        await anyio.sleep(RETRY_SECONDS)  # Links seldom come alone.
                        break
                group.cancel_scope.cancel()
        except* PermissionError as errors:
            if folder in self._partly_denied:
                problem = "; ".join(_messages(errors))
            self._partly_denied.add(folder)
        except* (OSError, RuntimeError, UnicodeError) as errors:
            problem = "; ".join(_in_words(message) for message in _messages(errors))
        return problem

    async def _poll(self) -> None:
        """Have everything swept; for a while, if events are wanted."""
        with anyio.move_on_after(math.inf if self._polling else POLL_FOR_SECONDS):
            with self._sweep.polling():
                await anyio.sleep_forever()

    def _report(self, folder: str, paths: set[str], *, recursive: bool) -> None:
        paths = paths | behind_links(folder, paths) if recursive else paths & self._single
        if paths:
            self._on_paths(paths)

    async def _cancel_when_replaced(
        self, folder: str, identity: tuple[int, int] | None, scope: anyio.CancelScope
    ) -> None:
        """End a watch, which is bound to the folder's inode, when the path means another one."""
        while identity_of(folder) == identity:
            await anyio.sleep(RETRY_SECONDS)
        self._gone.add(folder)
        gone = "the folder was replaced or is gone; waiting for it"
        self._on_problem(folder, gone, is_gone=True)
        scope.cancel()


class _Breaks:
    """How often in a row a watch has broken at once, and what of that was `reported`."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._count = 0
        self.reported = ""

    @property
    def too_many(self) -> bool:
        return self._count >= PATIENCE

    def note(self, problem: str, *, lasted: float) -> None:
        self._count = self._count + 1 if lasted < RETRY_SECONDS else 1
        if self.too_many:
            problem += "; looking at intervals until events work again"
        if problem != self.reported:
            self.reported = problem
            self._report(problem)

    def try_again(self) -> None:
        self._count = PATIENCE - 1


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


def _messages(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [message for each in error.exceptions for message in _messages(each)]
    return [f"{type(error).__name__}: {error}"]


def _in_words(message: str) -> str:
    """Return what the watching library says, and what to do about it."""
    if "watch limit" in message:
        return f"{message}; {_raise('max_user_watches', 524288)}, or watch fewer folders"
    if "Too many open files" in message and sys.platform == "linux" and _may_open_files():
        limit = "this user has as many inotify instances as the system allows"
        return f"{message}: {limit}; {_raise('max_user_instances', 1024)}, or stop other watchers"
    if "Too many open files" in message:
        return f"{message}; let this process open more, as by `ulimit -n 4096` before its start"
    if "Unable to decode path" in message:
        return f"{message}; give it a name in UTF-8"
    return message


def _raise(limit: str, to: int) -> str:
    return f"raise fs.inotify.{limit} (sudo sysctl fs.inotify.{limit}={to})"


def _may_open_files() -> bool:
    """Return whether this process may open files; inotify has one error for two limits."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


@contextmanager
def _inode_kept(folder: str) -> Iterator[None]:
    """Keep the inode of `folder` from going to the folder that takes its place."""
    with ExitStack() as stack:
        with suppress(OSError):
            handle = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY))
            stack.callback(os.close, handle)
        yield


async def _until_exists(folder: str) -> None:
    while not await anyio.to_thread.run_sync(os.path.isdir, folder):
        await anyio.sleep(RETRY_SECONDS)
