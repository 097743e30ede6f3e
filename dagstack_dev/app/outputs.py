"""Telling what a plugin writes into its own folder from what its author edits."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.snapshot import DiskChanges

CLOCK_TICK_NS: Final = 10_000_000
"""How far the file system's clock may lag behind ours, in nanoseconds."""

NEAR_NS: Final = 500_000_000
"""How soon after a reload a write may still be that reload's own doing, in nanoseconds."""

FREE_RELOADS: Final = 21
"""How often in a row a folder is reloaded at once for data written soon after the reload before."""

WEIGHT_OF_DURING: Final = 7
"""How many such reloads one for data counts that was written while the reload before ran."""

LATE_RELOADS: Final = 5
"""How often it is then still reloaded later, each time after twice the wait."""

FIRST_WAIT_SECONDS: Final = 1.0
"""The first of those waits."""

_CODE: Final = (".py", ".toml")


@dataclass(slots=True)
class _Suspect:
    """A folder whose data files keep changing near its reloads."""

    weight: int = 0
    late: int = 0
    waiting: bool = False
    due: bool = False


class OwnWrites:
    """Keeps a plugin that writes into its own folder from being reloaded for that, for ever.

    Who wrote a file cannot be told, only when: while plugins were set up, or soon after. A
    folder where nothing but data changes, and always then, is reloaded a few times at once, a
    few times later and later, and then no more, until code changes or data does at another
    time. Its difference from what runs is kept all the while, so that nobody's edit is lost.

    Args:
        later: called with a folder and seconds, to have the folder looked at again then.
        on_problem: called with a path and a message for the user.
    """

    def __init__(
        self,
        *,
        later: Callable[[str, float], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._later = later
        self._on_problem = on_problem
        self._window = (0, 0, 0)
        self._suspects: dict[str, _Suspect] = {}

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Plugins are set up inside this block."""
        began = time.time_ns() - CLOCK_TICK_NS
        yield
        ended = time.time_ns()
        self._window = (began, ended - CLOCK_TICK_NS, ended + NEAR_NS)

    def now_due(self, folder: str) -> None:
        """The time that `later` was asked for has come."""
        suspect = self._suspects.get(folder)
        if suspect is not None:
            suspect.waiting, suspect.due = False, True

    def without_held(self, changes: DiskChanges) -> DiskChanges:
        """`changes` less the folders that are not to be reloaded now."""
        held = {
            now.folder for before, now in changes.changed if self._is_held(before, now, changes)
        }
        if not held:
            return changes
        kept = tuple(pair for pair in changes.changed if pair[1].folder not in held)
        return replace(changes, changed=kept)

    def _is_held(self, before: PluginSource, now: PluginSource, changes: DiskChanges) -> bool:
        files = before.changed_files(now)
        seen = changes.seen(now.folder)
        stamps = (seen[path].stamp.mtime_ns for path in files if path in seen)
        written = max(stamps, default=time.time_ns())
        began, ended, near_until = self._window
        if not began <= written <= near_until or any(path.endswith(_CODE) for path in files):
            self._suspects.pop(now.folder, None)
            return False
        suspect = self._suspects.setdefault(now.folder, _Suspect())
        if suspect.due or suspect.weight < FREE_RELOADS:
            suspect.due = False
            suspect.weight += WEIGHT_OF_DURING if written <= ended else 1
            return False
        self._hold(f"{now.folder}/{files[0]}", now.folder, suspect)
        return True

    def _hold(self, path: str, folder: str, suspect: _Suspect) -> None:
        if suspect.waiting:
            return
        if suspect.late == 0:
            self._on_problem(
                path,
                "changes whenever its plugin is reloaded; reloading for it later and later "
                "(--ignore it if the plugin writes it)",
            )
        if suspect.late < LATE_RELOADS:
            suspect.waiting = True
            self._later(folder, FIRST_WAIT_SECONDS * 2**suspect.late)
            suspect.late += 1
