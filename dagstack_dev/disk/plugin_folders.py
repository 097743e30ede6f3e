"""The plugin folders below some roots, as last looked at: where to look, and what counts."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.manifests import is_plugin_folder
from dagstack_dev.disk.paths import below, folders_above, is_searchable
from dagstack_dev.disk.reading import (
    NOTHING,
    SeenFile,
    Stamp,
    read_plugin,
    read_some,
    rules_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.sources import PluginSource, SourceFile
    from dagstack_dev.disk.gitignore import FolderRules
    from dagstack_dev.disk.ignore import IgnoreRules

RULE_FILES: Final = (*MANIFEST_NAMES, ".gitignore")
"""What says which files of a plugin count."""

MANY_FILES: Final = 1000
"""Files of one plugin from which only those that events name are looked at."""


class PluginFolders:
    """The plugin folders below some roots, as last looked at.

    Args:
        roots: absolute folders, as `root_folder` returns them.
        ignore: what does not count.

    Attributes:
        sources: what each folder holds.
        denied: folders that the last look found and could not search, with the reason. What was
            known below them counts as unchanged.
        touched: files that were saved since they were last read, changed or not; see
            `Snapshot.take_touched`.
    """

    def __init__(self, roots: Sequence[str], ignore: IgnoreRules) -> None:
        self.roots = tuple(roots)
        self.sources: dict[str, PluginSource] = {}
        self.denied: dict[str, str] = {}
        self.touched: set[str] = set()
        self._ignore = ignore
        self._seen: dict[str, dict[str, SeenFile]] = {}
        self._links: set[str] = set()  # The files in whose place there is a link.
        self._imported: dict[str, set[str]] = {}  # By folder: what counts, ignored or not.
        self._has_linked_folders = False
        self._linked: dict[str, str] = {}  # Folders behind links, by their real path.
        self._ordered: list[str] | None = None  # The folders of `sources`, sorted.
        self._rules: dict[str, FolderRules] = {}  # As they were at the last look.

    def counts(self, path: str) -> bool:
        """Return whether an event at `path` may matter: below a root, not ignored."""
        path = self._home(path)
        root = self._root_of(path)
        if root is None or path == root:
            return root is not None
        owner = self._owner(path, root)
        if owner is not None:
            inside = path[len(owner) + 1 :]
            is_known = not inside or inside in self._imported.get(owner, ())
            return is_known or not self._rules_of(owner, root).path(inside)
        relative = below(root, path)
        if not self._ignore.path(relative):
            return True
        # A folder may have the name of an ignored kind of file.
        return os.path.isdir(path) and not self._ignore.folders(relative)  # noqa: PTH112 - hot path

    def _rules_of(self, folder: str, root: str) -> FolderRules:
        """Return what is left out of a plugin's folder."""
        if folder not in self._rules:
            self._rules[folder] = rules_for(self.sources[folder], root, self._ignore)
        return self._rules[folder]

    def plugin_at(self, path: str) -> str | None:
        """Return the plugin folder that `path` is or lies in."""
        path = self._home(path)
        root = self._root_of(path)
        return None if root is None else self._owner(path, root)

    def seen(self, folder: str) -> Mapping[str, SeenFile]:
        """Return the files of a folder with their stamps, by relative path."""
        return self._seen.get(folder, {})

    def stamps_of_links(self) -> dict[str, Stamp]:
        """Return what was seen behind each link to a file."""
        return {path: self._stamp(path) for path in self._links}

    def _stamp(self, path: str) -> Stamp:
        folder = self.plugin_at(path)
        seen = None if folder is None else self.seen(folder).get(path[len(folder) + 1 :])
        return NOTHING if seen is None else seen.stamp

    def add_imported(self, found: Mapping[tuple[str, str], SourceFile | None]) -> None:
        """Let files count whatever is ignored, for a plugin has imported them, or tried to.

        Args:
            found: what it got of each, by the plugin's folder and the path below it; None for
                what it did not find.
        """
        for (folder, relative), file in found.items():
            source = self.sources.get(folder)
            if source is None:
                continue
            self._imported.setdefault(folder, set()).add(relative)
            if relative not in source.files and file is not None:
                self.sources[folder] = replace(source, files={**source.files, relative: file})

    def look(self, hints: AbstractSet[str] | None) -> dict[str, PluginSource | None]:
        """Look at what is there, and take it.

        Args:
            hints: absolute paths where something may have happened; None looks everywhere.

        Returns:
            The folders that hold something else than before, each with what it held.
        """
        self._rules.clear()
        self.denied = {}
        inside: Mapping[str, set[str]] = {}
        if hints is None:
            self._has_linked_folders = False
            found, gone = self._search({(root, root) for root in self.roots})
        else:
            found, gone, inside = self._near(map(self._home, filter(self.counts, hints)))
        before: dict[str, PluginSource | None] = {}
        for folder, root in found.items():
            source, seen = self._read(folder, root, inside.get(folder, frozenset()))
            if source.manifest is None:
                gone.add(folder)
                continue
            known = self._seen.get(folder, {})
            self.touched.update(
                f"{folder}/{path}"
                for path, each in seen.items()
                if (old := known.get(path, each)) is not each and each.stamp != old.stamp
            )
            self._seen[folder] = seen
            self._links.update(f"{folder}/{path}" for path, each in seen.items() if each.is_link)
            if source != self.sources.get(folder):
                before[folder] = self.sources.get(folder)
                self.sources[folder] = source
        for folder in gone & self.sources.keys():
            before[folder] = self.sources.pop(folder)
            del self._seen[folder]
        links = self._links if hints is None else self._links.intersection(hints)
        self._links.difference_update([path for path in links if not os.path.islink(path)])  # noqa: PTH114 - hot path
        if any(old is None or folder in gone for folder, old in before.items()):
            self._ordered = None
            if self._has_linked_folders:
                self._linked = {os.path.realpath(folder): folder for folder in self.sources}
        return before

    def _read(
        self, folder: str, root: str, inside: AbstractSet[str]
    ) -> tuple[PluginSource, dict[str, SeenFile]]:
        """Read one plugin folder; the files `inside`, relative paths, whatever their stamps.

        The empty path is the folder itself: then anything in it may have changed, or may count by
        now, as after an edit of what says so.
        """
        known = self._seen.get(folder, {})
        is_all = any(not each or each.endswith(RULE_FILES) for each in inside)
        if len(known) > MANY_FILES and inside and not is_all:
            some = read_some(self.sources[folder], inside, known)
            if some is not None:
                return some
        if inside:
            known = {path: seen for path, seen in known.items() if path not in inside}
        imported = self._imported.get(folder, ())
        return read_plugin(folder, root, self._ignore, known, imported)

    def _near(
        self, paths: Iterable[str]
    ) -> tuple[dict[str, str], set[str], Mapping[str, set[str]]]:
        """As `_search`, for what may have happened at `paths`; and which they are in which folder.

        The empty path is the folder itself.
        """
        inside: defaultdict[str, set[str]] = defaultdict(set)
        searches: set[tuple[str, str]] = set()
        for path in paths:
            root = self._root_of(path) or ""
            owner = self._owner(path, root)
            above, _, name = path.rpartition("/")
            if owner is not None:
                relative = path[len(owner) + 1 :]
                inside[owner].add(relative)
                if not relative or relative in MANIFEST_NAMES:
                    searches.add((owner, root))
            elif name in MANIFEST_NAMES:
                if is_plugin_folder(above):  # Else the file is a project's own, as often at a root.
                    searches.add((above, root))
            elif os.path.isdir(path) or self._known_below(path):  # noqa: PTH112 - hot path
                searches.add((path, root))
        found, gone = self._search({(_start(path, root), root) for path, root in searches})
        if searches and self._has_linked_folders:
            # Which of several links to a folder counts, only the whole can show.
            found, gone = self._search({(root, root) for _, root in searches})
        for owner in inside.keys() - gone:
            root = self._root_of(owner) or ""
            if is_searchable(root):
                found[owner] = root
        return found, gone, inside

    def _search(self, searches: set[tuple[str, str]]) -> tuple[dict[str, str], set[str]]:
        """Plugin folders with their roots, and the known ones that are none any more.

        Args:
            searches: folders to search, each with its root.
        """
        inner = {
            (root, root)
            for start, _ in searches
            for root in self.roots
            if root.startswith(f"{start}/")
        }
        found: dict[str, str] = {}
        gone: set[str] = set()
        links: list[str] = []
        away: list[str] = []
        # Outer roots first: a folder below two roots belongs to the inner one.
        for start, root in sorted(searches | inner, key=lambda search: len(search[1])):
            if not is_searchable(root):
                away.append(root)
                if os.path.isdir(root):  # noqa: PTH112 - hot path
                    self.denied[root] = "Permission denied"
                continue
            gone |= self._known_below(start)
            if start == root or not self._ignore.folders(below(root, start)):
                inside = find_plugins(
                    root, self._ignore, start=start, links=links, denied=self.denied
                )
                found |= dict.fromkeys(inside, root)
        self._has_linked_folders = self._has_linked_folders or bool(links)
        spared = (self._known_below(folder) for folder in (*away, *self.denied))
        return found, gone.difference(found, *spared)

    def _home(self, path: str) -> str:
        """Return `path` as it is found below a root, if it is the real path of something linked."""
        if not self._linked or self._root_of(path) is not None:
            return path
        real = path
        while len(real) > 1:
            if real in self._linked:
                return self._linked[real] + path[len(real) :]
            real = os.path.dirname(real)  # noqa: PTH120 - hot path
        return path

    def _root_of(self, path: str) -> str | None:
        """Return the innermost root that `path` is or lies in."""
        roots = (root for root in self.roots if path == root or path.startswith(root + os.sep))
        return max(roots, key=len, default=None)

    def _owner(self, path: str, root: str) -> str | None:
        """Return the known plugin folder that `path` is or lies in."""
        while True:
            if path in self.sources:
                return path
            if len(path) <= len(root):
                return None
            path = os.path.dirname(path)  # noqa: PTH120 - hot path

    def _known_below(self, path: str) -> set[str]:
        """Return the known plugin folders that are `path` or lie in it."""
        if self._ordered is None:
            self._ordered = sorted(self.sources)
        prefix = path + os.sep
        first = bisect_left(self._ordered, prefix)
        inside = takewhile(lambda each: each.startswith(prefix), islice(self._ordered, first, None))
        return {*inside, *({path} & self.sources.keys())}


def _start(path: str, root: str) -> str:
    """Find where to search so that what happened at `path` is seen: there or above."""
    return next(filter(is_plugin_folder, folders_above(root, path)), path)
