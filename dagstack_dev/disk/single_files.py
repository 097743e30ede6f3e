"""Single files, as last looked at: configuration, and the code that plugins share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from dagstack_dev.disk.paths import below
from dagstack_dev.disk.reading import NOTHING, see_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.disk.reading import SeenFile, Stamp


class RunningCode(Protocol):
    """What is known of the shared code that runs; see `runtimes.shared.shared_code`."""

    def known(self) -> AbstractSet[str]:
        """Return the paths of what runs, and those where a file would answer a failed import."""

    def is_meant(self, path: str) -> bool:
        """Return whether something imports a file at `path`, or would."""

    def fingerprint(self, path: str) -> bytes | None:
        """Return the fingerprint of what runs of the file at `path`; None when nothing does."""


class SingleFiles:
    """Files that are named, and those of shared code that runs, as last looked at.

    Args:
        named: absolute paths.
        code: what runs.
        roots: absolute folders; code counts below these.
        ignore: what does not count there.

    Attributes:
        touched: see `PluginFolders`.
    """

    def __init__(
        self,
        named: Collection[str],
        code: RunningCode | None,
        roots: Sequence[str],
        ignore: IgnoreRules,
    ) -> None:
        self._named = frozenset(named)
        self._code = code
        self._roots = tuple(roots)
        self._ignore = ignore
        self._seen: dict[str, SeenFile | None] = {}
        self._links: set[str] = set()  # Those in whose place there is a link.
        self.touched: set[str] = set()

    def counts(self, path: str) -> bool:
        """Return whether an event at `path` may be about shared code."""
        return path.endswith(".py") and any(
            path.startswith(f"{root}/") and self._counts_below(root, path) for root in self._roots
        )

    def _counts_below(self, root: str, path: str) -> bool:
        relative = below(root, path)
        if not self._ignore.path(relative):
            return True
        return not self._ignore.excludes(relative) and self._is_meant(path)

    def has_seen(self, path: str) -> bool:
        """Return whether `path` has been looked at."""
        return path in self._seen

    def seen(self, path: str) -> SeenFile | None:
        """Return the file at `path`, or None; look at it now if that never was."""
        if path not in self._seen:
            self._take(path, see_file(path))
        return self._seen[path]

    def stamps_of_links(self) -> dict[str, Stamp]:
        """Return what was seen behind each link."""
        seen = ((path, self._seen[path]) for path in self._links)
        return {path: NOTHING if file is None else file.stamp for path, file in seen}

    def look(self, hints: AbstractSet[str] | None) -> dict[str, SourceFile | None]:
        """Look at what is there, and take it.

        Args:
            hints: absolute paths where something may have happened; None looks everywhere. Code
                that has come to run since is looked at in any case.

        Returns:
            The files that hold something else than before, each with what it held. That of code
            which was never looked at is what runs.
        """
        known = self._known()
        if hints is None:
            paths = {*self._named, *self._seen, *known}
        else:
            paths = self._near(hints) | (known - self._seen.keys())
        changed = {}
        for path in paths:
            before = self._seen.get(path)
            seen = see_file(path, None if hints is not None and path in hints else before)
            if seen is None and self._is_away(path):
                continue
            file, held = _content(seen), _content(before)
            if seen is not None and before is not None and seen.stamp != before.stamp:
                self.touched.add(path)
            is_new = path not in self._seen
            self._take(path, seen)
            if not self._is_running(path, file) if is_new else file != held:
                changed[path] = held
        return changed

    def _take(self, path: str, seen: SeenFile | None) -> None:
        self._seen[path] = seen
        if seen is not None:  # Else a link may lead nowhere for a while.
            if seen.is_link:
                self._links.add(path)
            else:
                self._links.discard(path)

    def differing(self, paths: Iterable[str] | None) -> dict[str, SourceFile | None]:
        """Find the code at `paths`, or anywhere for None, that differs from what runs.

        By path; None for a file that is gone.
        """
        found = {}
        for path in sorted(self._known() if paths is None else filter(self._is_meant, paths)):
            file = _content(self.seen(path))
            if not self._is_running(path, file) and (file is not None or not self._is_away(path)):
                found[path] = file
        return found

    def _near(self, hints: AbstractSet[str]) -> set[str]:
        """Return the files that are at `hints`, or in a folder that is, at any depth."""
        near = {path for path in hints if path in self._seen or path in self._named}
        near |= {path for path in hints - near if self._is_meant(path) and self.counts(path)}
        folders = tuple(f"{path}/" for path in hints - near if _may_be_folder(path))
        if folders:  # With nearly every save there is none.
            every = {*self._named, *self._seen, *self._known()}
            near |= {path for path in every if path.startswith(folders)}
        return near

    def _known(self) -> AbstractSet[str]:
        return frozenset() if self._code is None else self._code.known()

    def _is_meant(self, path: str) -> bool:
        return self._code is not None and self._code.is_meant(path)

    def _is_running(self, path: str, file: SourceFile | None) -> bool:
        running = None if self._code is None else self._code.fingerprint(path)
        return running == (None if file is None else file.fingerprint)

    def _is_away(self, path: str) -> bool:
        """Return whether it is not there because its whole root is not, which is waited for."""
        roots = [root for root in self._roots if path.startswith(f"{root}/")]
        return bool(roots) and not any(map(os.path.isdir, roots))


def _content(seen: SeenFile | None) -> SourceFile | None:
    return None if seen is None else seen.file


def _may_be_folder(hint: str) -> bool:
    """Return False for what is a file, or was one by its name; a folder may be gone."""
    return not hint.endswith(".py") and not os.path.isfile(hint)  # noqa: PTH113 - hot path
