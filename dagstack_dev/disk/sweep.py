"""A slow look everywhere, for what no event has told.

Events are lost when a queue overflows, and never come for a write through a hard link or on some
network disks.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.disk.code_view import CodeView
    from dagstack_dev.disk.snapshot import DiskView

REST_PER_WORK: Final = 1000
"""How many times as long as it took a sweep is rested from: it costs 0.1 % of a core at most."""


class Sweep:
    """Compares the stamps of all files that count with those that were seen, again and again.

    Args:
        disk: what was seen of plugins.
        code: what is known of the code that they share.
        seconds: the shortest rest between two sweeps.
        on_paths: called with absolute paths that differ, on the loop's thread.
    """

    def __init__(
        self,
        disk: DiskView,
        code: CodeView,
        *,
        seconds: float,
        on_paths: Callable[[set[str]], None],
    ) -> None:
        self._disk = disk
        self._code = code
        self._seconds = seconds
        self._on_paths = on_paths

    async def run(self) -> None:
        """Sweep until cancelled; each sweep runs in a thread."""
        rest = self._seconds
        known: set[tuple[str, object]] = set()
        revision = self._disk.revision
        while True:
            await anyio.sleep(rest)
            began = perf_counter()
            found = await anyio.to_thread.run_sync(self._disk.differences)
            overlooked = await anyio.to_thread.run_sync(self._code.overlooked)
            rest = max(self._seconds, (perf_counter() - began) * REST_PER_WORK)
            if revision != self._disk.revision:
                revision, known = self._disk.revision, set()
            # A difference that was reported and not accepted has been left on purpose.
            news = overlooked | {path for path, at in found.items() if (path, at) not in known}
            known = set(found.items())
            if news:
                self._on_paths(news)
