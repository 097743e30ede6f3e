"""What has become of the files that shared code was imported from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from dagstack_dev.disk.paths import below
from dagstack_dev.disk.reading import NOTHING, read_file, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.disk.reading import Stamp


class RunningCode(Protocol):
    """What is known of the files that run; see `runtimes.shared`."""

    def known(self) -> AbstractSet[str]:
        """The paths of the files that run, and those where one would answer a failed import."""

    def is_meant(self, path: str) -> bool:
        """Whether something imports a file at `path`, or would."""

    def fingerprint(self, path: str) -> bytes | None:
        """What tells the content that runs of the file at `path`; None when nothing does."""


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
        self._stamps: dict[str, Stamp | None] = {}  # Of `overlooked` alone.
        self._links: dict[str, Stamp | None] = {}  # None for what is no link.

    def counts(self, path: str) -> bool:
        """Whether an event at `path` may be about shared code."""
        return path.endswith(".py") and any(
            path.startswith(f"{root}/") and self._counts_below(root, path) for root in self._roots
        )

    def _counts_below(self, root: str, path: str) -> bool:
        relative = below(root, path)
        if not self._ignore.path(relative):
            return True
        return not self._ignore.excludes(relative) and self._running.is_meant(path)

    def look(self, hints: Iterable[str] | None = None) -> dict[str, SourceFile | None]:
        """The files that hold something else than what runs, by path; None for one that is gone.

        Args:
            hints: absolute paths of files and folders where something may have happened; None
                looks at every file that runs or is awaited.
        """
        if hints is None:
            paths = set(self._running.known())
            self._links.clear()
        else:
            hints = set(hints)
            for path in hints:
                self._links.pop(path, None)
            paths = {path for path in hints if self.counts(path) and self._running.is_meant(path)}
            paths |= self._known_below(hints)
        changed = {}
        for path in sorted(paths):
            file = _read(path)
            if self._differs(path, file) and not (file is None and self._is_away(path)):
                changed[path] = file
        return changed

    def _is_away(self, path: str) -> bool:
        """Whether it is not there because its whole root is not, which is waited for."""
        roots = [root for root in self._roots if path.startswith(f"{root}/")]
        return bool(roots) and not any(map(os.path.isdir, roots))

    def _differs(self, path: str, file: SourceFile | None) -> bool:
        return (file.fingerprint if file else None) != self._running.fingerprint(path)

    def links(self) -> dict[str, Stamp]:
        """The known files in whose place there is a link, with the stamp of what runs.

        Where something else runs that is no file's stamp.
        """
        known = self._running.known()
        for path in known - self._links.keys():
            self._links[path] = None
            if os.path.islink(path):  # noqa: PTH114 - hot path
                stamp = stamp_of(path)
                self._links[path] = NOTHING if self._differs(path, _read(path)) else stamp
        return {path: stamp for path in known if (stamp := self._links[path]) is not None}

    def overlooked(self) -> set[str]:
        """The files that hold something else than what runs, each once for each of its stamps.

        May run in a thread of its own.
        """
        found = set()
        before, self._stamps = self._stamps, {}
        for path in self._running.known():
            stamp = self._stamps[path] = stamp_of(path)
            is_new = path not in before or before[path] != stamp
            if is_new and self._differs(path, _read(path)):
                found.add(path)
        return found

    def _known_below(self, hints: Iterable[str]) -> set[str]:
        """The known files in the folders among `hints`, at any depth."""
        folders = {hint: True for hint in hints if _may_be_folder(hint)}
        if not folders:  # As with nearly every save.
            return set()

        def counts(folder: str) -> bool:
            if folder not in folders:
                parent = os.path.dirname(folder)  # noqa: PTH120 - hot path
                folders[folder] = parent != folder and counts(parent)
            return folders[folder]

        return {path for path in self._running.known() if counts(os.path.dirname(path))}  # noqa: PTH120 - hot path

    def looks_unfinished(self, changed: Mapping[str, SourceFile | None]) -> bool:
        """Whether a file was emptied or has vanished, as half-way through a save."""
        return any(file is None or file.is_empty for file in changed.values())


def _may_be_folder(hint: str) -> bool:
    """False for what is a file, or was one by its name; a folder may be gone."""
    return not hint.endswith(".py") and not os.path.isfile(hint)  # noqa: PTH113 - hot path


def _read(path: str) -> SourceFile | None:
    stamp = stamp_of(path)
    return None if stamp is None else read_file(path, stamp)
