"""Watching by looking at intervals, for folders whose file system reports no events.

The polling of watchfiles compares whole seconds: it never notices the second edit of a second.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES
from dagstack_dev.disk.ignore import OUTPUT_FOLDERS, IgnoreRules
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.disk.reading import Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_RULES = IgnoreRules()


def reason_to_poll() -> str | None:
    """Why file events are not to be had on this machine, or not wanted; None when they are."""
    wanted = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower()
    if wanted in {"false", "disable", "disabled"}:
        return None
    if wanted:
        return "WATCHFILES_FORCE_POLLING is set"
    if "microsoft-standard" in platform.release():
        return "on WSL, Windows' drives report no file events"
    if sys.platform == "linux" and not _has_inotify():
        return "this system has no inotify"
    return None


@cache
def _has_inotify() -> bool:
    # Closing a handle can take milliseconds, and the kernel stays the one it is.
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(0)
    if handle < 0:
        return ctypes.get_errno() != errno.ENOSYS
    os.close(handle)
    return True


async def poll(
    folder: str, watching: anyio.Event, *, recursive: bool, seconds: float
) -> AsyncGenerator[set[str], None]:
    """Yield the paths that came, went or changed below `folder`, for ever.

    Args:
        folder: an absolute folder.
        watching: set once changes will be noticed.
        recursive: whether to look below its folders too, but for those where nothing ever counts.
        seconds: how long to rest between two looks; at least as long as a look takes.
    """
    before = await anyio.to_thread.run_sync(_look, folder, recursive)
    watching.set()
    pause = seconds
    while True:
        await anyio.sleep(pause)
        began = perf_counter()
        now = await anyio.to_thread.run_sync(_look, folder, recursive)
        pause = max(seconds, perf_counter() - began)
        changed = {path for path, _ in before.items() ^ now.items()}
        before = now
        if changed:
            yield changed


def _look(folder: str, recursive: bool) -> dict[str, Stamp | None]:  # noqa: FBT001 - for run_sync
    """The stamp of each file, None for each folder."""
    seen: dict[str, Stamp | None] = {}
    linked = [os.path.realpath(folder)]
    todo = [folder]
    while todo:
        current = todo.pop()
        try:
            with os.scandir(current) as scan:
                entries = list(scan)
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if names.isdisjoint(MANIFEST_NAMES) and _RULES.is_environment(current, names):
            continue
        for entry in entries:
            try:
                is_folder = entry.is_dir()
                if recursive and is_folder and _is_never_looked_into(entry.name):
                    continue
                seen[entry.path] = None if is_folder else Stamp.of(entry.stat())
            except OSError:
                continue
            if not (is_folder and recursive):
                continue
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if lies_in(target, linked) or lies_in(linked[0], [target]):
                    continue
                linked.append(target)
            todo.append(entry.path)
    return seen


def _is_never_looked_into(name: str) -> bool:
    """Whether nothing in a folder of that name can count, though a plugin names or imports it."""
    return name not in OUTPUT_FOLDERS and _RULES.folder(name, "")
