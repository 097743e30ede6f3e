"""Looks for what no event has told.

Events are lost when a queue overflows, and never come for a write through a hard link, on some
network disks, or behind a link to a file: the system reports it only where the file lies, which
may be anywhere, behind any number of further links. To ask is cheaper than to watch all of that.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from dagstack_dev.disk.reading import stamp_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dagstack_dev.disk.snapshot import Snapshot

REST_PER_SWEEP: Final = 1000
"""How many times as long as it took a sweep is rested from: it costs 0.1 % of a core at most."""

LINKS_SECONDS: Final = 0.1
"""The shortest rest between two looks at what is behind links to files."""

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

    async def run(self) -> None:
        """Look at everything until cancelled."""
        await self._repeat(self._everywhere, self._seconds, REST_PER_SWEEP)

    async def run_links(self) -> None:
        """Likewise, at what is behind links to files."""
        await self._repeat(self._behind_links, LINKS_SECONDS, REST_PER_LINKS)

    async def _everywhere(self) -> dict[str, object]:
        now = self._snapshot.copy()
        await anyio.to_thread.run_sync(now.look)
        return now.changed()

    async def _behind_links(self) -> dict[str, object]:
        seen = self._snapshot.stamps_of_links()
        if not seen:
            return {}
        now = await anyio.to_thread.run_sync(lambda: {path: stamp_of(path) for path in seen})
        return {path: stamp for path, stamp in now.items() if stamp != seen[path]}

    async def _repeat(
        self, look: Callable[[], Awaitable[dict[str, object]]], seconds: float, rest_per_look: int
    ) -> None:
        told: dict[str, object] = {}
        took = 0.0
        while True:
            await anyio.sleep(max(seconds, took * rest_per_look))
            began = perf_counter()
            code = self._snapshot.look(()).files  # That of code which has come to run since.
            found = await look() | {path: self._snapshot.file(path) for path in code}
            took = perf_counter() - began
            if news := {path for path, now in found.items() if (path, now) not in told.items()}:
                self._on_paths(news)
            told = found  # A look may leave what is told, as in a root that is away.
