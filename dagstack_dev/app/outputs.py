"""Telling what a plugin writes into its own folder from what its author edits."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES
from dagstack_dev.disk.changes import DiskChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dagstack_dev.app.write_log import WriteLog
    from dagstack_dev.core.sources import PluginSource, SourceFile
    from dagstack_dev.disk.reading import SeenFile, Stamp

CLOCK_TICK_NS: Final = 10_000_000
"""How far the file system's clock may lag behind ours, in nanoseconds."""

NEAR_NS: Final = 500_000_000
"""How soon after a reload code that changes may still be that reload's own doing."""

NEAR_FOR_DATA_NS: Final = 2_000_000_000
"""The same for data, which a process may take its time to write."""

FREE_RELOADS: Final = 10
"""How often in a row a folder is reloaded for data written soon after the reload before."""

FREE_FOR_CODE: Final = 3
"""How often it is for code that is there whenever a setup ends."""

FIRST_WAIT_SECONDS: Final = 1.0
"""How long it is waited before the next reload for such code; each time twice as long."""

LONGEST_WAIT_SECONDS: Final = 64.0
"""How long it is waited at most."""

_CODE: Final = (".py", ".toml")


@dataclass(slots=True)
class _Suspect:
    """A folder whose code keeps changing near its reloads.

    Attributes:
        files: those that have done so.
        written: those that differed when its plugin had just been set up.
        held: all files as they were when the folder was last held back.
        reloads: how often it was reloaded for that.
        late: how often it was held back.
        waiting: whether `later` was asked for.
        due: whether the time has come that was asked for.
    """

    files: set[str] = field(default_factory=set)
    written: dict[str, Stamp | None] = field(default_factory=dict)
    held: Mapping[str, SourceFile] | None = None
    reloads: int = 0
    late: int = 0
    waiting: bool = False
    due: bool = False


@dataclass(slots=True)
class _Outputs:
    """The data of a folder that has changed after each of its last reloads.

    Attributes:
        files: their paths.
        reloads: how many reloads these are.
    """

    files: set[str] = field(default_factory=set)
    reloads: int = 0


class OwnWrites:
    """Keeps a plugin that writes into its own folder from being reloaded for that.

    Data that the plugin's code has written reloads nothing; that is told by its process. Who is
    behind another process cannot be told, only when it has written. So a folder where nothing
    but data changes, soon after each reload, is reloaded some times, and then no more for these
    files and new ones, until its code changes.

    Code that has changed whenever a setup ends, the same files again and again, is reloaded on
    and on, once a minute in the end: an author who saves during a slow setup is never left with
    old code.

    Args:
        writes: what plugins have written.
        later: called with a folder and seconds, to have the folder looked at again then.
        on_problem: called with a path and a message for the user.
        differences_in: the files of a folder, by relative path, that look different from what was
            accepted, with their stamps.
    """

    def __init__(
        self,
        *,
        writes: WriteLog,
        later: Callable[[str, float], None],
        on_problem: Callable[[str, str], None],
        differences_in: Callable[[str], Mapping[str, Stamp | None]],
    ) -> None:
        self._writes = writes
        self._later = later
        self._on_problem = on_problem
        self._differences_in = differences_in
        self._window = (0, 0)
        self._soon_until = 0.0
        self._suspects: dict[str, _Suspect] = {}
        self._outputs: dict[str, _Outputs] = {}
        self._told: set[str] = set()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Plugins are set up inside this block."""
        began = time.time_ns() - CLOCK_TICK_NS
        yield
        self._window = (began, time.time_ns())
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

    def sorted_out(self, changes: DiskChanges) -> tuple[DiskChanges, DiskChanges]:
        """What of `changes` is to be reloaded for, and what is only to be taken note of.

        The rest is held back: it is to be seen again.
        """
        reload: list[tuple[PluginSource, PluginSource]] = []
        outputs: list[tuple[PluginSource, PluginSource]] = []
        for before, now in changes.changed:
            files = before.changed_files(now)
            if any(path.endswith(_CODE) or path in MANIFEST_NAMES for path in files):
                self._outputs.pop(now.folder, None)
                if not self._is_held(before, now, files, changes):
                    reload.append((before, now))
            elif self._are_outputs(before, now, files, changes):
                outputs.append((before, now))
            else:
                reload.append((before, now))
        if len(reload) == len(changes.changed):
            return changes, DiskChanges()
        quiet = replace(changes, added=(), changed=tuple(outputs), removed=())
        return replace(changes, changed=tuple(reload)), quiet

    def _are_outputs(
        self, before: PluginSource, now: PluginSource, files: Sequence[str], changes: DiskChanges
    ) -> bool:
        """Whether data that has changed is what the plugin itself writes."""
        seen = changes.seen(now.folder)
        rest = [
            path
            for path in files
            if not self._writes.is_own(now.folder, f"{now.folder}/{path}", _written([path], seen))
        ]
        if not rest:
            self._tell(
                now.folder,
                files[0],
                "is written by the plugin itself, which is not reloaded for that",
            )
            return True
        known = self._outputs.setdefault(now.folder, _Outputs())
        began, ended = self._window
        if known.reloads >= FREE_RELOADS:
            return all(path in known.files or path not in before.files for path in rest)
        if not began <= _written(rest, seen) <= ended + NEAR_FOR_DATA_NS:
            self._outputs.pop(now.folder)
            return False
        known.reloads += 1
        known.files.update(rest)
        if known.reloads < FREE_RELOADS:
            return False
        self._tell(
            now.folder,
            rest[0],
            "changes after each reload of its plugin, which is not reloaded for it any more",
        )
        return True

    def _tell(self, folder: str, path: str, what: str) -> None:
        if folder not in self._told:
            self._told.add(folder)
            self._on_problem(
                f"{folder}/{path}",
                f'{what}; write ignore = ["{path}"] in the manifest to leave it out altogether',
            )

    def _is_held(
        self, before: PluginSource, now: PluginSource, files: Sequence[str], changes: DiskChanges
    ) -> bool:
        """Whether code that has changed is not to be reloaded for now."""
        suspect = self._suspects.get(now.folder, _Suspect())
        if suspect.held == now.files and not suspect.due:
            return True  # Someone looks again, and nothing has happened.
        weight = self._weigh(files, changes.seen(now.folder), suspect)
        if weight is None:
            self._suspects.pop(now.folder, None)
            return False
        edited = any(path in before.files and path not in suspect.files for path in files)
        self._suspects[now.folder] = suspect
        suspect.files.update(files)
        if weight == 0 or edited or suspect.due or suspect.reloads < FREE_FOR_CODE:
            suspect.due = False
            suspect.reloads += weight
            return False
        suspect.held = now.files
        self._hold(f"{now.folder}/{files[0]}", now.folder, suspect)
        return True

    def _weigh(
        self, files: Sequence[str], seen: Mapping[str, SeenFile], suspect: _Suspect
    ) -> int | None:
        """How much a change speaks for a plugin that writes itself; None for not at all.

        Code does only if it was there when the setup had ended, just as it is now; with code from
        soon after a reload the suspicion begins.
        """
        if all(
            suspect.written.get(path) == (seen[path].stamp if path in seen else None)
            for path in files
            if path.endswith(_CODE)
        ) and any(path in suspect.written for path in files):
            return 1
        began, ended = self._window
        is_soon = began <= _written(files, seen) <= ended + NEAR_NS
        return 0 if is_soon or perf_counter() < self._soon_until else None

    def _hold(self, path: str, folder: str, suspect: _Suspect) -> None:
        if suspect.waiting:
            return
        if suspect.late == 0:
            self._on_problem(
                path,
                "changes whenever its plugin is reloaded; reloading for it later and later, once a "
                f'minute in the end (write ignore = ["{path[len(folder) + 1 :]}"] in the manifest '
                "if the plugin writes it)",
            )
        suspect.waiting = True
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(suspect.late, 16), LONGEST_WAIT_SECONDS)
        self._later(folder, wait)
        suspect.late += 1


def _written(files: Sequence[str], seen: Mapping[str, SeenFile]) -> int:
    """When the last of `files` was written, as the system noted it; now for one that is gone.

    The modification time is no witness: whoever writes a file may set it at will.
    """
    stamps = (seen[path].stamp.ctime_ns for path in files if path in seen)
    return max(stamps, default=time.time_ns())
