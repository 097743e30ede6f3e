"""Waiting for git to finish."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio

from dagstack_dev.disk.paths import git_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LOOK_SECONDS: Final = 0.01


class GitLocks:
    """The index locks of the repositories that some folders lie in.

    git holds one while it changes the work tree, so that a branch switch shows as one change. One
    that outlives a wait, as git leaves behind when it is killed, is not waited for again.

    Args:
        folders: whose repositories count.
        on_problem: called with the path and a message for the user, once for each such lock.
    """

    def __init__(self, folders: Iterable[str], on_problem: Callable[[str, str], None]) -> None:
        found = (git_folder(Path(folder)) for folder in folders)
        self._locks = tuple({str(path / "index.lock") for path in found if path is not None})
        self._on_problem = on_problem
        self._outlived: set[tuple[str, int, int]] = set()

    async def released(self, deadline: float) -> bool:
        """Wait until no lock is held, at most until `deadline` on the clock `perf_counter`.

        Returns:
            Whether one was held, so that more may have been written meanwhile.
        """
        was_held = False
        while held := self._held():
            was_held = True
            if perf_counter() >= deadline:
                self._outlived |= held
                for path, _, _ in held:
                    self._on_problem(path, "git has held this lock for long; not waiting for it")
                break
            # git does not report that it has let go; a look every 10 ms is all there is.
            await anyio.sleep(_LOOK_SECONDS)
        return was_held

    def _held(self) -> set[tuple[str, int, int]]:
        """Return the locks that are held now and worth waiting for."""
        held = set()
        for path in self._locks:
            with suppress(OSError):
                status = os.stat(path)  # noqa: PTH116 - with every reload
                held.add((path, status.st_ino, status.st_mtime_ns))
        return held - self._outlived
