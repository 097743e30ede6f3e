"""From a root to the plugin folders below it."""

from __future__ import annotations

import os
from itertools import filterfalse
from typing import TYPE_CHECKING

from dagstack_dev.core.manifest_forms import MANIFEST_NAME, MANIFEST_NAMES
from dagstack_dev.disk.manifests import is_plugin_folder
from dagstack_dev.disk.paths import (
    ABSENT,
    below,
    folders_above,
    is_file,
    is_folder,
    is_searchable,
    lies_in,
    reason_of,
)
from dagstack_dev.disk.reading import read_plugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.ignore import IgnoreRules


def plugin_sources(
    roots: Iterable[str], ignore: IgnoreRules, *, recursive: bool = True
) -> Iterator[PluginSource]:
    """Read the plugins at and below `roots`, as they are on disk now; see `find_plugins`."""
    for root in roots:
        for folder in find_plugins(root, ignore, recursive=recursive):
            yield read_plugin(folder, root, ignore)[0]


def find_plugins(
    root: str,
    ignore: IgnoreRules,
    *,
    recursive: bool = True,
    start: str | None = None,
    links: list[str] | None = None,
    denied: dict[str, str] | None = None,
) -> Iterator[str]:
    """Yield the plugin folders at and below `start` (by default `root`), sorted by path.

    A folder with a `dagstack.toml`, or another form of it, is a plugin, and nothing below it is
    searched (ADR-6). A file of another tool makes it one only if it has the table for that.
    Links to folders are followed, once per real folder. `recursive=False` looks at the folder
    itself only. Folders that vanish or deny access while they are searched count as empty.
    The links that were met are added to `links`, the outermost folders that are there but cannot
    be searched to `denied`, with the reason.
    """
    start = start or root
    walked = [os.path.realpath(root)]  # and the targets of links, each with all below it
    todo = [(start, os.path.realpath(start), False)]
    if links is not None and todo[0][1] != os.path.normpath(walked[0] + start[len(root) :]):
        links.append(start)
    while todo:
        folder, real, is_link = todo.pop()
        if is_link:
            if lies_in(real, walked):
                continue
            walked.append(real)
        elif folder != start and real in walked:  # A link led to a folder around that one.
            continue
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if denied is not None and error.errno not in ABSENT:
                around = filterfalse(is_searchable, folders_above(root, folder))
                denied[next(around, folder)] = reason_of(error)
            continue
        if _is_plugin(folder, entries, root, ignore):
            yield folder
            continue
        if not recursive:
            return
        place = below(root, folder)
        if place and ignore.is_environment(place, (each.name for each in entries)):
            continue
        for entry in entries:
            if not is_folder(entry) or ignore.folder(entry.name, below(root, entry.path)):
                continue
            is_link = entry.is_symlink()
            if is_link and links is not None:
                links.append(entry.path)
            target = os.path.realpath(entry.path) if is_link else f"{real}{os.sep}{entry.name}"
            todo.append((entry.path, target, is_link))


def _is_plugin(
    folder: str, entries: Iterable[os.DirEntry[str]], root: str, ignore: IgnoreRules
) -> bool:
    names = {each.name for each in entries if each.name in MANIFEST_NAMES and is_file(each)}
    if not names or MANIFEST_NAME in names:
        return bool(names)
    place = below(root, folder)
    above = f"{place}/" if place else ""
    return is_plugin_folder(folder, {name for name in names if not ignore.file(name, above + name)})
