"""Telling what a plugin writes into its own folder from what its author edits."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.disk.snapshot import DiskChanges

CLOCK_TICK_NS: Final = 10_000_000
"""How far the file system's clock may lag behind ours, in nanoseconds."""

STRIKES: Final = 2
"""Reloads in a row in which a file was written before it is taken for output."""


class OwnWrites:
    """Finds files that a plugin evidently writes itself whenever it is set up.

    A file that is not code and was last written while the previous reload ran may have been
    written by the plugin. So often in a row, and it is output: to reload for it would loop.
    """

    def __init__(self) -> None:
        self._window = (0, 0)
        self._strikes: dict[str, int] = {}

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Plugins are set up inside this block."""
        began = time.time_ns() - CLOCK_TICK_NS
        yield
        self._window = (began, time.time_ns())

    def found_in(self, changes: DiskChanges) -> list[str]:
        """The absolute paths of files that have turned out to be output with `changes`."""
        began, ended = self._window
        for before, now in changes.changed:
            files = before.changed_files(now)
            if any(path.endswith((".py", ".toml")) for path in files):
                continue
            seen = changes.seen(now.folder)
            for path in files:
                full = f"{now.folder}/{path}"
                if path in seen and began <= seen[path].stamp.mtime_ns <= ended:
                    self._strikes[full] = self._strikes.get(full, 0) + 1
                else:
                    self._strikes.pop(full, None)
        outputs = [path for path, strikes in self._strikes.items() if strikes >= STRIKES]
        for path in outputs:
            del self._strikes[path]
        return outputs
