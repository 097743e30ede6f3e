"""What has become of the files that shared code was imported from."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

from dagstack_dev.disk.discovery import Stamp, below, read_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules


class RunningCode(Protocol):
    """What is known of the files that run; see `runtimes.shared`."""

    def fingerprints(self) -> Mapping[str, bytes]:
        """The files that run, by path, with what tells their content."""

    def awaited(self) -> Collection[str]:
        """The paths at which a file would answer an import that has failed."""

    def is_meant(self, path: str) -> bool:
        """Whether something imports a file at `path`, or would."""


class CodeView:
    """Compares the files of shared code with what runs of them.

    Args:
        roots: absolute folders; those of plugins are among them.
        ignore: what does not count.
        running: what is compared with.
    """

    def __init__(self, roots: Sequence[str], ignore: IgnoreRules, running: RunningCode) -> None:
        self._roots = tuple(roots)
        self._ignore = ignore
        self._running = running

    def counts(self, path: str) -> bool:
        """Whether an event at `path` may be about shared code."""
        for root in self._roots:
            if path.startswith(f"{root}/"):
                relative = below(root, path)
                return path.endswith(".py") and not self._ignore.path(relative)
        return False

    def look(self, hints: Iterable[str] | None = None) -> dict[str, SourceFile | None]:
        """The files that hold something else than what runs, by path; None for one that is gone.

        Args:
            hints: absolute paths of files and folders where something may have happened; None
                looks at every file that runs or is awaited.
        """
        running = self._running.fingerprints()
        known = running.keys() | set(self._running.awaited())
        if hints is None:
            paths = known
        else:
            hints = set(hints)
            paths = {path for path in known if _is_near(path, hints)}
            paths |= {path for path in hints if self.counts(path) and self._running.is_meant(path)}
        changed = {}
        for path in sorted(paths):
            file = _read(path)
            if (file.fingerprint if file else None) != running.get(path):
                changed[path] = file
        return changed

    def looks_unfinished(self, changed: Mapping[str, SourceFile | None]) -> bool:
        """Whether a file was emptied or has vanished, as half-way through a save."""
        return any(file is None or file.is_empty for file in changed.values())


def _is_near(path: str, hints: Collection[str]) -> bool:
    """Whether `path` or a folder that it lies in is among `hints`."""
    while path not in hints:
        parent = os.path.dirname(path)  # noqa: PTH120 - hot path
        if parent == path:
            return False
        path = parent
    return True


def _read(path: str) -> SourceFile | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - hot path
    except OSError:
        return None
    return read_file(path, Stamp.of(status)) if stat.S_ISREG(status.st_mode) else None
