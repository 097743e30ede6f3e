"""Telling what a plugin writes into its own folder from what its author edits."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dagstack_dev.core.sources import PluginSource, SourceFile
    from dagstack_dev.disk.changes import DiskChanges
    from dagstack_dev.disk.reading import SeenFile, Stamp

CLOCK_TICK_NS: Final = 10_000_000
"""How far the file system's clock may lag behind ours, in nanoseconds."""

NEAR_NS: Final = 500_000_000
"""How soon after a reload a write may still be that reload's own doing, in nanoseconds."""

FREE_RELOADS: Final = 21
"""How often in a row a folder is reloaded at once for data written soon after the reload before."""

LONGEST_WAIT_SECONDS: Final = 64.0
"""How long a folder whose code keeps changing is waited with at most."""

WEIGHT_OF_DURING: Final = 7
"""How many such reloads one for data counts that was written while the reload before ran."""

LATE_RELOADS: Final = 5
"""How often it is then still reloaded later for data, each time after twice the wait."""

FIRST_WAIT_SECONDS: Final = 1.0
"""The first of those waits."""

_CODE: Final = (".py", ".toml")


@dataclass(slots=True)
class _Suspect:
    """A folder whose files keep changing near its reloads.

    Attributes:
        files: those that have done so.
        written: those that differed when its plugin had just been set up.
        held: all files as they were when the folder was last held back.
        weight: what its reloads for that count so far.
        late: how often it was held back.
        waiting: whether `later` was asked for.
        due: whether the time has come that was asked for.
    """

    files: set[str] = field(default_factory=set)
    written: dict[str, Stamp | None] = field(default_factory=dict)
    held: Mapping[str, SourceFile] | None = None
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

    Code that has changed whenever a setup ends, the same files again and again, is treated
    likewise, except that its folder is reloaded on and on, once a minute in the end: an author
    who saves during a slow setup is never left with old code.

    Args:
        later: called with a folder and seconds, to have the folder looked at again then.
        on_problem: called with a path and a message for the user.
        differences_in: the files of a folder, by relative path, that look different from what was
            accepted, with their stamps.
    """

    def __init__(
        self,
        *,
        later: Callable[[str, float], None],
        on_problem: Callable[[str, str], None],
        differences_in: Callable[[str], Mapping[str, Stamp | None]],
    ) -> None:
        self._later = later
        self._on_problem = on_problem
        self._differences_in = differences_in
        self._window = (0, 0, 0)
        self._soon_until = 0.0
        self._suspects: dict[str, _Suspect] = {}

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Plugins are set up inside this block."""
        began = time.time_ns() - CLOCK_TICK_NS
        yield
        ended = time.time_ns()
        self._window = (began, ended - CLOCK_TICK_NS, ended + NEAR_NS)
        self._soon_until = perf_counter() + NEAR_NS / 1e9

    def set_up(self, folder: str) -> None:
        """The plugin of a folder has just been set up."""
        suspect = self._suspects.get(folder)
        if suspect is not None:
            suspect.written = dict(self._differences_in(folder))

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
        suspect = self._suspects.get(now.folder, _Suspect())
        if suspect.held == now.files and not suspect.due:
            return True  # Someone looks again, and nothing has happened.
        is_code = any(path.endswith(_CODE) for path in files)
        weight = self._weigh(files, changes.seen(now.folder), suspect, is_code=is_code)
        if weight is None:
            self._suspects.pop(now.folder, None)
            return False
        edited = is_code and any(
            path in before.files and path not in suspect.files for path in files
        )
        self._suspects[now.folder] = suspect
        suspect.files.update(files)
        if weight == 0 or edited or suspect.due or suspect.weight < FREE_RELOADS:
            suspect.due = False
            suspect.weight += weight
            return False
        suspect.held = now.files
        self._hold(f"{now.folder}/{files[0]}", now.folder, suspect, for_ever=is_code)
        return True

    def _weigh(
        self,
        files: Sequence[str],
        seen: Mapping[str, SeenFile],
        suspect: _Suspect,
        *,
        is_code: bool,
    ) -> int | None:
        """How much a change speaks for a plugin that writes itself; None for not at all.

        Data speaks by when it was written. Code only if it was there when the setup had ended,
        just as it is now; with code from soon after a reload the suspicion begins.
        """
        began, ended, near_until = self._window
        written = _written(files, seen)
        if not is_code:
            if not began <= written <= near_until:
                return None
            return WEIGHT_OF_DURING if written <= ended else 1
        if all(
            suspect.written.get(path) == (seen[path].stamp if path in seen else None)
            for path in files
            if path.endswith(_CODE)
        ) and any(path in suspect.written for path in files):
            return WEIGHT_OF_DURING
        is_soon = began <= written <= near_until or perf_counter() < self._soon_until
        return 0 if is_soon else None

    def _hold(self, path: str, folder: str, suspect: _Suspect, *, for_ever: bool) -> None:
        if suspect.waiting:
            return
        if suspect.late == 0:
            self._on_problem(
                path,
                "changes whenever its plugin is reloaded; reloading for it later and later "
                "(--ignore it if the plugin writes it)",
            )
        if for_ever or suspect.late < LATE_RELOADS:
            suspect.waiting = True
            doubled = FIRST_WAIT_SECONDS * 2 ** min(suspect.late, LATE_RELOADS + 1)
            self._later(folder, min(doubled, LONGEST_WAIT_SECONDS))
            suspect.late += 1


def _written(files: Sequence[str], seen: Mapping[str, SeenFile]) -> int:
    """When the last of `files` was written, as the system noted it; now for one that is gone.

    The modification time is no witness: whoever writes a file may set it at will.
    """
    stamps = (seen[path].stamp.ctime_ns for path in files if path in seen)
    return max(stamps, default=time.time_ns())
