"""What is on disk now, and what differs from then.

File events are hints: they say where to look. What counts is the content that is found there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagstack_dev.core.manifest import MANIFEST_NAME
from dagstack_dev.disk.discovery import SeenFile, below, find_plugins, read_plugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.ignore import IgnoreRules


@dataclass(frozen=True, slots=True)
class DiskChanges:
    """What a look at the disk found different.

    Attributes:
        added: plugin folders that were not there before.
        changed: folders whose files differ, as (before, now).
        removed: folders that are gone, or are plugins no longer.
        unsettled: folders that look as if they were still being written: new ones, and those
            where a file is suddenly empty or gone. Nobody should act on this look yet.
    """

    added: tuple[PluginSource, ...] = ()
    changed: tuple[tuple[PluginSource, PluginSource], ...] = ()
    removed: tuple[PluginSource, ...] = ()
    unsettled: frozenset[str] = frozenset()
    _seen: dict[str, dict[str, SeenFile]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def seen(self, folder: str) -> dict[str, SeenFile]:
        """The files of an added or changed folder, as they were read."""
        return self._seen[folder]


class DiskView:
    """The plugin folders below some roots, as last accepted.

    Args:
        roots: absolute folders, as `root_folder` returns them.
        ignore: what does not count.
        recursive: whether plugins are searched below the roots, or only the roots themselves.
    """

    def __init__(
        self, roots: Sequence[str], ignore: IgnoreRules, *, recursive: bool = True
    ) -> None:
        self.roots = tuple(roots)
        self._ignore = ignore
        self._recursive = recursive
        self._sources: dict[str, PluginSource] = {}
        self._seen: dict[str, dict[str, SeenFile]] = {}
        self._muted: set[str] = set()

    @property
    def sources(self) -> dict[str, PluginSource]:
        """Every accepted plugin folder by its path."""
        return dict(self._sources)

    def source(self, folder: str) -> PluginSource:
        """The accepted source of `folder`."""
        return self._sources[folder]

    def seen(self, folder: str) -> dict[str, SeenFile]:
        """The files of an accepted folder, as they were read."""
        return self._seen[folder]

    def counts(self, path: str) -> bool:
        """Whether an event at `path` may matter: below a root, not ignored, not muted."""
        if path in self._muted:
            return False
        root = self._root_of(path)
        return root is not None and (path == root or not self._ignore.path(below(root, path)))

    def mute(self, path: str) -> None:
        """Take no notice of the file `path` from now on."""
        self._muted.add(path)

    def look(self, hints: Iterable[str] | None = None, *, believe: bool = True) -> DiskChanges:
        """Compare the disk with what was accepted; nothing is accepted yet.

        Args:
            hints: absolute paths where something may have happened; None looks everywhere.
            believe: False marks what may still be being written as `unsettled`.
        """
        found, gone, fresh = self._everything() if hints is None else self._near(hints)
        added: list[PluginSource] = []
        changed: list[tuple[PluginSource, PluginSource]] = []
        unsettled: set[str] = set()
        seen_now: dict[str, dict[str, SeenFile]] = {}
        for folder, root in sorted(found.items()):
            known = self._seen.get(folder, {})
            if fresh:
                known = {
                    path: seen for path, seen in known.items() if f"{folder}/{path}" not in fresh
                }
            source, seen = read_plugin(folder, root, self._ignore, known)
            if self._muted:
                source, seen = self._keep_muted(source, seen)
            if source.manifest is None:
                gone.add(folder)
                continue
            seen_now[folder] = seen
            before = self._sources.get(folder)
            if before is None:
                added.append(source)
                unsettled.add(folder)
            elif before.files != source.files:
                changed.append((before, source))
                if _looks_unfinished(before, source):
                    unsettled.add(folder)
            else:
                self._seen[folder] = seen
        removed = [self._sources[folder] for folder in sorted(gone) if folder in self._sources]
        unsettled.update(source.folder for source in removed)
        return DiskChanges(
            tuple(added),
            tuple(changed),
            tuple(removed),
            frozenset() if believe else frozenset(unsettled),
            seen_now,
        )

    def accept(self, changes: DiskChanges) -> None:
        """Make `changes` what later looks are compared with."""
        for source in changes.removed:
            del self._sources[source.folder]
            del self._seen[source.folder]
        for source in (*changes.added, *(now for _, now in changes.changed)):
            self._sources[source.folder] = source
            self._seen[source.folder] = changes.seen(source.folder)

    def _everything(self) -> tuple[dict[str, str], set[str], frozenset[str]]:
        """Folders to read with their roots, folders that are gone, files to distrust."""
        found: dict[str, str] = {}
        gone = set(self._sources)
        for root in self.roots:
            if not _is_readable(root):
                gone -= self._known_below(root)
                continue
            for folder in find_plugins(root, self._ignore, recursive=self._recursive):
                found.setdefault(folder, root)
        return found, gone - found.keys(), frozenset()

    def _near(self, hints: Iterable[str]) -> tuple[dict[str, str], set[str], frozenset[str]]:
        """As `_everything`, but only where `hints` point."""
        found: dict[str, str] = {}
        gone: set[str] = set()
        searches: set[tuple[str, str]] = set()
        fresh = set()
        for path in hints:
            root = self._root_of(path)
            if root is None or not _is_readable(root):
                continue
            fresh.add(path)
            owner = self._owner(path, root)
            if owner is not None and path not in (owner, f"{owner}/{MANIFEST_NAME}"):
                found[owner] = root
            elif owner is not None:
                searches.add((owner, root))
            elif os.path.basename(path) == MANIFEST_NAME:  # noqa: PTH119 - hot path
                searches.add((os.path.dirname(path), root))  # noqa: PTH120 - hot path
            elif os.path.isdir(path) or self._known_below(path):  # noqa: PTH112 - hot path
                searches.add((path, root))
        for start, root in searches:
            inside = (
                ()
                if start != root and self._ignore.path(below(root, start))
                else tuple(find_plugins(root, self._ignore, recursive=self._recursive, start=start))
            )
            gone |= self._known_below(start).difference(inside)
            found.update(dict.fromkeys(inside, root))
        return found, gone - found.keys(), frozenset(fresh)

    def _root_of(self, path: str) -> str | None:
        for root in self.roots:
            if path == root or path.startswith(root + os.sep):
                return root
        return None

    def _owner(self, path: str, root: str) -> str | None:
        """The known plugin folder that `path` is or lies in."""
        while True:
            if path in self._sources:
                return path
            if len(path) <= len(root):
                return None
            path = os.path.dirname(path)  # noqa: PTH120 - hot path

    def _known_below(self, path: str) -> set[str]:
        prefix = path + os.sep
        return {folder for folder in self._sources if folder == path or folder.startswith(prefix)}

    def _keep_muted(
        self, source: PluginSource, seen: dict[str, SeenFile]
    ) -> tuple[PluginSource, dict[str, SeenFile]]:
        before = self._sources.get(source.folder)
        muted = [path for path in source.files if f"{source.folder}/{path}" in self._muted]
        if before is None or not muted:
            return source, seen
        files = dict(source.files)
        for path in muted:
            if path in before.files:
                files[path] = before.files[path]
            else:
                del files[path]
        return type(source)(source.folder, files), seen


def _is_readable(root: str) -> bool:
    return os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK)  # noqa: PTH112 - hot path


def _looks_unfinished(before: PluginSource, now: PluginSource) -> bool:
    """Whether code or the manifest was emptied or vanished, as half-way through a save."""
    for path, old in before.files.items():
        if not old.content:
            continue
        new = now.files.get(path)
        if new is None or new.content is None or not new.content.strip():
            return True
    return False
