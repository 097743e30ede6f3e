"""Looks for what no event has reported.

Events are lost when a queue overflows, and never come for a write through a hard link, on some
network disks, or behind a link to a file: the system reports it only where the file lies, which
may be anywhere, behind any number of further links. To ask is cheaper than to watch all of that.
Where the system reports nothing at all, there are only sweeps, one after the other.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from dagstack_dev.disk.reading import changed_at, stamp_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from dagstack_dev.disk.snapshot import Snapshot

REST_PER_SWEEP: Final = 1000
"""How many times as long as it took a sweep is rested from: it costs 0.1 % of a core at most."""

POLL_SECONDS: Final = 0.05
"""The shortest rest between two sweeps where there are no events."""

LINKS_SECONDS: Final = 0.1
"""The shortest rest between two looks at what is behind links to files."""

NO_LINKS_SECONDS: Final = 0.5
"""Likewise while there are none: how long after it was made a link may not be looked behind."""

REST_PER_LINKS: Final = 200
"""As `REST_PER_SWEEP`, for these: half a percent of a core at most."""


class Sweep:
    """Compares what is on disk with what was seen, again and again, in a thread.

    Args:
        snapshot: what was seen.
        seconds: the shortest rest between two looks at everything.
        on_paths: called with absolute paths that differ, on the loop's thread.
    """

    def __init__(
        self, snapshot: Snapshot, *, seconds: float, on_paths: Callable[[set[str]], None]
    ) -> None:
        self._snapshot = snapshot
        self._seconds = seconds
        self._on_paths = on_paths
        self._polled = 0
        self._is_polled = anyio.Event()
        self._has_links = True  # For all that is known before the first look.

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Rest no longer than a sweep takes, for there are no events inside this block."""
        self._polled += 1
        self._is_polled.set()
        try:
            yield
        finally:
            self._polled -= 1
            if not self._polled:
                self._is_polled = anyio.Event()

    async def run(self) -> None:
        """Look at everything until cancelled."""

        async def rest(took: float) -> None:
            with anyio.move_on_after(max(self._seconds, took * REST_PER_SWEEP)):
                await self._is_polled.wait()
                await anyio.sleep(max(POLL_SECONDS, took))

        await self._repeat(self._everywhere, rest)

    async def run_links(self) -> None:
        """Likewise, at what is behind links to files."""

        async def rest(took: float) -> None:
            shortest = LINKS_SECONDS if self._has_links else NO_LINKS_SECONDS
            await anyio.sleep(max(shortest, took * REST_PER_LINKS))

        await self._repeat(self._behind_links, rest)

    async def _everywhere(self) -> dict[str, object]:
        now = self._snapshot.copy()
        await anyio.to_thread.run_sync(now.look)
        return {path: changed_at(path) for path in now.take_touched()} | now.changed()

    async def _behind_links(self) -> dict[str, object]:
        seen = self._snapshot.stamps_of_links()
        self._has_links = bool(seen)
        if not seen:
            return {}
        now = await anyio.to_thread.run_sync(lambda: {path: stamp_of(path) for path in seen})
        return {path: stamp for path, stamp in now.items() if stamp != seen[path]}

    async def _repeat(
        self,
        look: Callable[[], Awaitable[dict[str, object]]],
        rest: Callable[[float], Awaitable[None]],
    ) -> None:
        reported: dict[str, object] = {}
        took = 0.0
        while True:
            await rest(took)
            began = perf_counter()
            code = self._snapshot.look(()).files  # That of code which has come to run since.
            found = await look() | {path: self._snapshot.file(path) for path in code}
            took = perf_counter() - began
            if news := {path for path, now in found.items() if (path, now) not in reported.items()}:
                self._on_paths(news)
            reported = found  # A look may leave what was reported, as in a root that is away.


def reason_to_poll() -> str | None:
    """Return why there are no file events on this machine, or none are wanted; else None."""
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
