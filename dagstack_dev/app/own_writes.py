"""Which changes in a plugin's folder are its own writes, and which are edits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.write_log import is_own_write
from dagstack_dev.core.manifest_forms import MANIFEST_NAMES
from dagstack_dev.disk.reading import changed_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.reading import SeenFile

CLOCK_TICK_NS: Final = 10_000_000
"""How far the file system's clock may lag behind ours, in nanoseconds."""

NEAR_NS: Final = 2_000_000_000
"""How soon after a setup data that changes may still be that setup's doing, in nanoseconds."""

FREE_RELOADS: Final = 10
"""How often in a row a plugin is reloaded for what differs near each of its setups."""

PAUSE_SECONDS: Final = 60.0
"""How long it is then waited before the next one."""

_CODE: Final = (".py", ".toml", *MANIFEST_NAMES)


@dataclass(slots=True)
class _Series:
    """Reloads of a folder for what has changed near the setup before.

    Attributes:
        reloads: how many they are.
        files: what has changed.
    """

    reloads: int = 0
    files: set[str] = field(default_factory=set)


class OwnWrites:
    """Keeps a plugin that writes into its own folder from being reloaded for that.

    Data that the plugin's own code writes reloads nothing. Of what another process writes, and of
    code, only the time is known. What changes near each of several setups is reloaded once a
    minute: an author who saves during slow setups is never left with old files.

    Args:
        later: called with seconds and a function, to have the function called then.
        look: called with folders that are to be looked at again.
        on_problem: called with a path and a message for the user.

    Attributes:
        waiting: the folders that are to be asked about again when their pause is over.
    """

    def __init__(
        self,
        *,
        later: Callable[[float, Callable[[], None]], None],
        look: Callable[[set[str]], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._later = later
        self._look = look
        self._on_problem = on_problem
        self._began: dict[str, int] = {}
        self._setups: dict[str, tuple[int, int]] = {}  # When the last one of each folder was.
        self._ended_ns = 0
        self._series: dict[str, _Series] = {}
        self._reported: set[tuple[str, str]] = set()
        self.waiting: set[str] = set()

    def reload_begins(self, folders: Iterable[str]) -> None:
        """Note that the plugins of some folders are going to be imported and set up."""
        self._began |= dict.fromkeys(folders, time.time_ns() - CLOCK_TICK_NS)

    def setup_ended(self, folder: str) -> None:
        """Note that the plugin of a folder has just been set up, or has failed to be."""
        self._ended_ns = time.time_ns()
        self._setups[folder] = self._began.get(folder, 0), self._ended_ns

    def after_setups(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield those of `paths` that were written after the last setup has ended."""
        return (path for path in paths if changed_at(path) > self._ended_ns)

    def has_written(self, folder: str, path: str, seen: Mapping[str, SeenFile]) -> bool:
        """Return whether a plugin's own code has written what a file of it holds.

        Args:
            folder: the plugin's.
            path: relative to that.
            seen: the files of the folder as they were read.
        """
        return is_own_write(folder, f"{folder}/{path}", _written(path, seen))

    def is_to_be_reloaded(
        self, before: PluginSource, now: PluginSource, seen: Mapping[str, SeenFile]
    ) -> bool | None:
        """Decide whether a plugin is to be reloaded for what has changed in its folder.

        Args:
            before: the folder as it was when it was last asked about.
            now: as it is now.
            seen: its files as they were read.

        Returns:
            None for not yet: `later` is called.
        """
        folder, files = now.folder, before.changed_files(now)
        code = [each for each in files if each.endswith(_CODE)]
        others = code or [each for each in files if not self.has_written(folder, each, seen)]
        if not others:
            self._report(
                folder, files[0], "is written by the plugin itself, which is not reloaded for that"
            )
            return False
        began, ended = self._setups.get(folder, (0, 0))
        near_until = ended + (0 if code else NEAR_NS)
        series = self._series.setdefault(folder, _Series())
        far = {each for each in others if not began <= _written(each, seen) <= near_until}
        if far:
            if not series.files.isdisjoint(far):
                del self._series[folder]
            return True
        series.reloads += 1
        series.files.update(others)
        if series.reloads < FREE_RELOADS or time.time_ns() >= ended + PAUSE_SECONDS * 1e9:
            return True
        self._report(
            folder,
            others[0],
            f"has changed with each of {FREE_RELOADS} setups of its plugin, which is reloaded "
            "for that once a minute at most",
        )
        if folder not in self.waiting:
            self.waiting.add(folder)
            self._later(PAUSE_SECONDS, partial(self._end_wait, folder))
        return None

    def _end_wait(self, folder: str) -> None:
        self.waiting.discard(folder)
        self._look({folder})

    def _report(self, folder: str, path: str, what: str) -> None:
        if (folder, what) not in self._reported:
            self._reported.add((folder, what))
            self._on_problem(
                f"{folder}/{path}",
                f'{what}; write ignore = ["{path}"] in the manifest to leave it out altogether',
            )


def _written(path: str, seen: Mapping[str, SeenFile]) -> int:
    """Return when a file was last written, as the system noted it; now for one that is gone.

    The modification time is no witness: a program may set it at will.
    """
    return seen[path].stamp.ctime_ns if path in seen else time.time_ns()
