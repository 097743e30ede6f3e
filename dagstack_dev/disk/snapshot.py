"""What is on disk now, and what differs from then.

File events are hints: they say where to look. What counts is the content that is found there.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES
from dagstack_dev.disk.changes import DiskChanges, looks_unfinished
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.manifests import is_plugin_folder
from dagstack_dev.disk.paths import below, lies_in
from dagstack_dev.disk.reading import (
    NOTHING,
    SeenFile,
    Stamp,
    read_plugin,
    read_some,
    rules_for,
    stale_files,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.sources import PluginSource, SourceFile
    from dagstack_dev.disk.gitignore import FolderRules
    from dagstack_dev.disk.ignore import IgnoreRules

RULE_FILES: Final = (*MANIFEST_NAMES, ".gitignore")
"""What says which files of a plugin count."""

MANY_FILES: Final = 1000
"""Files of one plugin from which only those that events name are looked at."""


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
        self.revision = 0  # How often something different was accepted.
        self._ignore = ignore
        self._recursive = recursive
        self._sources: dict[str, PluginSource] = {}
        self._seen: dict[str, dict[str, SeenFile]] = {}
        self._imported: dict[str, set[str]] = {}  # By folder: what counts, ignored or not.
        self._has_links = False
        self._file_links: dict[str, dict[str, Stamp]] = {}  # By folder, with what was read.
        self._linked: dict[str, str] = {}  # Folders behind links, by their real path.
        self._ordered: list[str] | None = None  # The folders of `_sources`, sorted.
        self._denied: dict[str, str] = {}
        self._inside: dict[str, FolderRules] = {}

    @property
    def sources(self) -> dict[str, PluginSource]:
        """Every accepted plugin folder by its path."""
        return dict(self._sources)

    def counting(self, paths: Iterable[str]) -> set[str]:
        """Those of `paths` that `counts` says yes to, by what is ignored now."""
        self._inside.clear()
        return set(filter(self.counts, paths))

    def counts(self, path: str) -> bool:
        """Whether an event at `path` may matter: below a root, not ignored."""
        path = self._home(path)
        root = self._root_of(path)
        if root is None or path == root:
            return root is not None
        relative = below(root, path)
        owner = self._owner(path, root)
        if owner is not None:
            inside = path[len(owner) + 1 :]
            is_known = not inside or inside in self._imported.get(owner, ())
            return is_known or not self._rules(owner, root).path(inside)
        if not self._ignore.path(relative):
            return True
        # A folder may have the name of an ignored kind of file.
        return os.path.isdir(path) and not self._ignore.folders(relative)  # noqa: PTH112 - hot path

    def _rules(self, folder: str, root: str) -> FolderRules:
        """What is left out of a plugin's folder, as it was when the disk was last looked at."""
        if folder not in self._inside:
            self._inside[folder] = rules_for(self._sources[folder], root, self._ignore)
        return self._inside[folder]

    def add_imported(self, found: Mapping[tuple[str, str], SourceFile | None]) -> None:
        """Let files count whatever is ignored, for a plugin has imported them, or tried to.

        Args:
            found: what it got of each, by the plugin's folder and the path below it; None for
                what it did not find.
        """
        for (folder, relative), file in found.items():
            source = self._sources.get(folder)
            if source is None:
                continue
            self._imported.setdefault(folder, set()).add(relative)
            if relative not in source.files and file is not None:
                files = {**source.files, relative: file}
                self._sources[folder] = replace(source, files=files)

    def plugin_at(self, path: str) -> str | None:
        """The accepted plugin folder that `path` is or lies in."""
        path = self._home(path)
        root = self._root_of(path)
        return None if root is None else self._owner(path, root)

    def look(self, hints: Iterable[str] | None = None, *, believe: bool = True) -> DiskChanges:
        """Compare the disk with what was accepted; nothing is accepted yet.

        Args:
            hints: absolute paths where something may have happened; None looks everywhere.
            believe: False marks what may still be being written as `unsettled`.
        """
        self._denied = {}
        found, gone, fresh = self._everything() if hints is None else self._near(hints)
        added: list[PluginSource] = []
        changed: list[tuple[PluginSource, PluginSource]] = []
        unsettled: set[str] = set()
        seen_now: dict[str, dict[str, SeenFile]] = {}
        inside = _by_folder(fresh, found)
        for folder, root in sorted(found.items()):
            source, seen = self._read(folder, root, inside.get(folder, frozenset()))
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
                if looks_unfinished(before, source):
                    unsettled.add(folder)
            else:
                self._note_seen(folder, seen)
        removed = [self._sources[folder] for folder in sorted(gone) if folder in self._sources]
        unsettled.update(source.folder for source in removed)
        return DiskChanges(
            tuple(added),
            tuple(changed),
            tuple(removed),
            frozenset() if believe else frozenset(unsettled),
            self._denied,
            seen_now,
        )

    def _read(
        self, folder: str, root: str, inside: AbstractSet[str]
    ) -> tuple[PluginSource, dict[str, SeenFile]]:
        """One plugin folder; the files `inside`, relative paths, are read whatever their stamps.

        The empty path is the folder itself: then anything in it may have changed, or may count by
        now, as after an edit of what says so.
        """
        known = self._seen.get(folder, {})
        is_all = any(not each or each.endswith(RULE_FILES) for each in inside)
        if len(known) > MANY_FILES and inside and not is_all:
            counting = (each for each in inside if self.counts(f"{folder}/{each}"))
            some = read_some(self._sources[folder], counting, known)
            if some is not None:
                return some
        if inside:
            known = {path: seen for path, seen in known.items() if path not in inside}
        imported = self._imported.get(folder, ())
        return read_plugin(folder, root, self._ignore, known, imported)

    def differences(self) -> dict[str, Stamp | None]:
        """The paths that look different from what was seen, by their stamps alone.

        May run in a thread of its own, as it only reads: what another thread accepts meanwhile
        may come out as different.

        Returns:
            The stamp of each file, None for folders and for what is gone.
        """
        seen = dict(self._seen)
        found: dict[str, str] = {}
        denied: dict[str, str] = {}
        for root in sorted(self.roots, key=len):
            if not _is_readable(root):
                denied[root] = ""
            else:
                inside = find_plugins(root, self._ignore, recursive=self._recursive, denied=denied)
                found |= dict.fromkeys(inside, root)
        differ: dict[str, Stamp | None] = {
            folder: None
            for folder in seen.keys() ^ found.keys()
            if not lies_in(folder, list(denied))
        }
        for folder, root in found.items():
            source = self._sources.get(folder)
            if folder in seen and source is not None:
                rules = rules_for(source, root, self._ignore)
                differ |= stale_files(rules, seen[folder], self._imported.get(folder, ()))
        return differ

    def accept(self, changes: DiskChanges) -> None:
        """Make `changes` what later looks are compared with."""
        for source in changes.removed:
            del self._sources[source.folder]
            del self._seen[source.folder]
            self._imported.pop(source.folder, None)
            self._file_links.pop(source.folder, None)
        for source in changes.present():
            self._sources[source.folder] = source
            self._note_seen(source.folder, changes.seen(source.folder))
        self.revision += bool(changes)
        if changes.added or changes.removed:
            self._ordered = None
        if self._has_links and (changes.added or changes.removed):
            self._linked = {os.path.realpath(folder): folder for folder in self._sources}

    def _note_seen(self, folder: str, seen: dict[str, SeenFile]) -> None:
        self._seen[folder] = seen
        links = {f"{folder}/{path}": file.stamp for path, file in seen.items() if file.is_link}
        lost = self._file_links.get(folder, {}).keys() - links.keys()
        links |= {path: NOTHING for path in lost if os.path.islink(path)}  # noqa: PTH114 - hot path
        if links or lost:
            self._file_links[folder] = links

    @property
    def file_links(self) -> dict[str, Stamp]:
        """The links to files in all plugin folders, each with the stamp of what was read there."""
        return {path: stamp for each in self._file_links.values() for path, stamp in each.items()}

    def _everything(self) -> tuple[dict[str, str], set[str], frozenset[str]]:
        """Folders to read with their roots, folders that are gone, files to distrust."""
        self._has_links = False
        found, gone = self._search({(root, root) for root in self.roots})
        return found, gone, frozenset()

    def _near(self, hints: Iterable[str]) -> tuple[dict[str, str], set[str], frozenset[str]]:
        """As `_everything`, but only where `hints` point."""
        owners: dict[str, str] = {}
        searches: set[tuple[str, str]] = set()
        fresh = set()
        for path in map(self._home, hints):
            root = self._root_of(path)
            if root is None:
                continue
            fresh.add(path)
            owner = self._owner(path, root)
            above, _, name = path.rpartition("/")
            may_be_manifest = name in MANIFEST_NAMES
            if owner is not None and (path == owner or (may_be_manifest and above == owner)):
                searches.add((owner, root))
            elif owner is not None:
                owners[owner] = root
            elif may_be_manifest:
                if is_plugin_folder(above):  # Else the file is a project's own, as often at a root.
                    searches.add((above, root))
            elif os.path.isdir(path) or self._known_below(path):  # noqa: PTH112 - hot path
                searches.add((path, root))
        found, gone = self._search({(self._start(path, root), root) for path, root in searches})
        if searches and self._has_links:
            # Which of several links to a folder counts can only be told from the whole.
            found, gone = self._search({(root, root) for _, root in searches})
        for owner, root in owners.items():
            if owner not in gone and _is_readable(root):
                found[owner] = root
        return found, gone, frozenset(fresh)

    def _start(self, path: str, root: str) -> str:
        """Where to search so that what happened at `path` is seen: there, or at a plugin above."""
        if not self._recursive:
            return root
        above = root
        for part in below(root, path).split(os.sep):  # noqa: PTH206 - hot path
            if is_plugin_folder(above):
                return above
            above = f"{above}{os.sep}{part}"
        return path

    def _search(self, searches: set[tuple[str, str]]) -> tuple[dict[str, str], set[str]]:
        """Plugin folders with their roots, and the known ones that are none any more.

        Args:
            searches: folders to search, each with its root.
        """
        nested = {
            (root, root)
            for start, _ in searches
            for root in self.roots
            if root.startswith(start + os.sep)
        }
        found: dict[str, str] = {}
        gone: set[str] = set()
        spared: set[str] = set()
        links: list[str] = []
        # Outer roots first: a folder below two roots belongs to the inner one.
        for start, root in sorted(searches | nested, key=lambda search: len(search[1])):
            if not _is_readable(root):
                spared |= self._known_below(root)
                if os.path.isdir(root):  # noqa: PTH112 - hot path
                    self._denied[root] = "Permission denied"
                continue
            gone |= self._known_below(start)
            if start == root or not self._ignore.folders(below(root, start)):
                inside = find_plugins(
                    root,
                    self._ignore,
                    recursive=self._recursive,
                    start=start,
                    links=links,
                    denied=self._denied,
                )
                found |= dict.fromkeys(inside, root)
        for folder in self._denied:
            spared |= self._known_below(folder)
        self._has_links = self._has_links or bool(links)
        return found, gone - found.keys() - spared

    def _home(self, path: str) -> str:
        """`path` as it is found below a root, should it be the real path of something linked."""
        if not self._linked or self._root_of(path) is not None:
            return path
        real = path
        while len(real) > 1:
            if real in self._linked:
                return self._linked[real] + path[len(real) :]
            real = os.path.dirname(real)  # noqa: PTH120 - hot path
        return path

    def _root_of(self, path: str) -> str | None:
        """The innermost root that `path` is or lies in."""
        roots = (root for root in self.roots if path == root or path.startswith(root + os.sep))
        return max(roots, key=len, default=None)

    def _owner(self, path: str, root: str) -> str | None:
        """The known plugin folder that `path` is or lies in."""
        while True:
            if path in self._sources:
                return path
            if len(path) <= len(root):
                return None
            path = os.path.dirname(path)  # noqa: PTH120 - hot path

    def _known_below(self, path: str) -> set[str]:
        """The known plugin folders that are `path` or lie in it."""
        if self._ordered is None:
            self._ordered = sorted(self._sources)
        prefix = path + os.sep
        first = bisect_left(self._ordered, prefix)
        inside = takewhile(lambda each: each.startswith(prefix), islice(self._ordered, first, None))
        return {*inside, *({path} & self._sources.keys())}


def _is_readable(root: str) -> bool:
    return os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK)  # noqa: PTH112 - hot path


def _by_folder(paths: Iterable[str], folders: Collection[str]) -> Mapping[str, set[str]]:
    """Which of `paths` lie in which of `folders`, relative to it; empty for the folder itself."""
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder = path
        while folder not in folders:
            parent = os.path.dirname(folder)  # noqa: PTH120 - hot path
            if parent == folder:
                break
            folder = parent
        else:
            inside[folder].add(path[len(folder) + 1 :])
    return inside
