"""Single files, as last looked at: configuration, and the code that plugins share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from dagstack_dev.disk.paths import below
from dagstack_dev.disk.reading import see_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.disk.reading import SeenFile


class RunningCode(Protocol):
    """What is known of the shared code that runs; see `runtimes.shared`."""

    def known(self) -> AbstractSet[str]:
        """The paths of the files that run, and those where one would answer a failed import."""

    def is_meant(self, path: str) -> bool:
        """Whether something imports a file at `path`, or would."""

    def fingerprint(self, path: str) -> bytes | None:
        """What tells the content that runs of the file at `path`; None when nothing does."""


class SingleFiles:
    """Files that are named, and those of shared code that runs, as last looked at.

    Args:
        named: absolute paths.
        code: what runs.
        roots: absolute folders; code counts below these.
        ignore: what does not count there.

    Attributes:
        links: those in whose place there is a link.
    """

    def __init__(
        self,
        named: Collection[str],
        code: RunningCode | None,
        roots: Sequence[str],
        ignore: IgnoreRules,
    ) -> None:
        self.links: set[str] = set()
        self._named = frozenset(named)
        self._code = code
        self._roots = tuple(roots)
        self._ignore = ignore
        self._seen: dict[str, SeenFile | None] = {}

    def counts(self, path: str) -> bool:
        """Whether an event at `path` may be about shared code."""
        return path.endswith(".py") and any(
            path.startswith(f"{root}/") and self._counts_below(root, path) for root in self._roots
        )

    def _counts_below(self, root: str, path: str) -> bool:
        relative = below(root, path)
        if not self._ignore.path(relative):
            return True
        return not self._ignore.excludes(relative) and self._is_meant(path)

    def seen(self, path: str) -> SeenFile | None:
        """The file at `path`, None where there is none; looked at now if it never was."""
        if path not in self._seen:
            self._take(path, see_file(path))
        return self._seen[path]

    def seen_at(self, path: str) -> SeenFile | None:
        """The file at `path`, if it was looked at and is there."""
        return self._seen.get(path)

    def paths(self) -> list[str]:
        """Where it was looked."""
        return list(self._seen)

    def look(self, hints: AbstractSet[str] | None) -> dict[str, SourceFile | None]:
        """Look at what is there, and take it.

        Args:
            hints: absolute paths where something may have happened; None looks everywhere.

        Returns:
            The files that hold something else than before, each with what it held. That of code
            which was never looked at is what runs.
        """
        if hints is None:
            paths = self._all()
            forgotten = self._seen.keys() - paths
        else:
            paths = {path for path in hints if path in self._named or self._is_code(path)}
            forgotten = (self._seen.keys() & hints) - paths  # Nothing imports them any more.
            paths |= self._below(hints)
        for path in forgotten:
            del self._seen[path]
        changed = {}
        for path in paths:
            known = self._seen.get(path)
            seen = see_file(path, None if hints is not None and path in hints else known)
            if seen is None and self._is_away(path):
                continue
            file, before = _content(seen), _content(known)
            is_new = path not in self._seen
            self._take(path, seen)
            if not self._is_running(path, file) if is_new else file != before:
                changed[path] = before
        return changed

    def differing(self, paths: Iterable[str] | None) -> dict[str, SourceFile | None]:
        """The code at `paths`, or anywhere for None, that holds something else than what runs.

        By path; None for a file that is gone.
        """
        found = {}
        for path in sorted(self._known() if paths is None else filter(self._is_meant, paths)):
            file = _content(self.seen(path))
            if not self._is_running(path, file) and (file is not None or not self._is_away(path)):
                found[path] = file
        return found

    def overlooked(self) -> set[str]:
        """Look at the code that has come to run since; what holds something else is left."""
        found = set()
        for path in self._known() - self._seen.keys():
            seen = see_file(path)
            if self._is_running(path, _content(seen)):
                self._take(path, seen)
            else:
                found.add(path)
        return found

    def _take(self, path: str, seen: SeenFile | None) -> None:
        self._seen[path] = seen
        if seen is not None and seen.is_link:
            self.links.add(path)

    def _all(self) -> set[str]:
        return {*self._named, *self._known()}

    def _known(self) -> AbstractSet[str]:
        return frozenset() if self._code is None else self._code.known()

    def _is_code(self, path: str) -> bool:
        return self._is_meant(path) and self.counts(path)

    def _is_meant(self, path: str) -> bool:
        return self._code is not None and self._code.is_meant(path)

    def _is_running(self, path: str, file: SourceFile | None) -> bool:
        running = None if self._code is None else self._code.fingerprint(path)
        return running == (None if file is None else file.fingerprint)

    def _is_away(self, path: str) -> bool:
        """Whether it is not there because its whole root is not, which is waited for."""
        roots = [root for root in self._roots if path.startswith(f"{root}/")]
        return bool(roots) and not any(map(os.path.isdir, roots))

    def _below(self, hints: Iterable[str]) -> set[str]:
        """The files in the folders among `hints`, at any depth."""
        folders = {hint: True for hint in hints if _may_be_folder(hint)}
        if not folders:  # As with nearly every save.
            return set()

        def counts(folder: str) -> bool:
            if folder not in folders:
                parent = os.path.dirname(folder)  # noqa: PTH120 - hot path
                folders[folder] = parent != folder and counts(parent)
            return folders[folder]

        return {path for path in self._all() if counts(os.path.dirname(path))}  # noqa: PTH120 - hot path


def _content(seen: SeenFile | None) -> SourceFile | None:
    return None if seen is None else seen.file


def _may_be_folder(hint: str) -> bool:
    """False for what is a file, or was one by its name; a folder may be gone."""
    return not hint.endswith(".py") and not os.path.isfile(hint)  # noqa: PTH113 - hot path
