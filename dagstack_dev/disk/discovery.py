"""From a root to the plugin folders below it, and from a plugin folder to its bytes."""

from __future__ import annotations

import os
import stat
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.manifest import MANIFEST_NAME
from dagstack_dev.core.sources import PluginSource, SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dagstack_dev.disk.ignore import IgnoreRules

LARGE_FILE: Final = 8 * 1024 * 1024
"""Bytes from which a file that is not code is told apart by size and time, not by content."""

RACY_NS: Final = 20_000_000
"""How young a change may be for its time stamp to be trusted, in nanoseconds."""

_KEEP_CONTENT: Final = (".py", MANIFEST_NAME)


class Stamp(NamedTuple):
    """What the file system says of a file without reading it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp in a stat result."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class SeenFile(NamedTuple):
    """A file as it was read.

    `racy` is true when it was read so soon after its last change that another change of the same
    length might not alter the stamp, whose clock ticks in milliseconds.
    """

    stamp: Stamp
    file: SourceFile
    racy: bool


def below(root: str, path: str) -> str:
    """`path` relative to `root`, empty for the root itself; both absolute and normal."""
    return path[len(root) :].lstrip(os.sep)


def root_folder(path: str | os.PathLike[str]) -> str:
    """`path` as an absolute folder; `~` is expanded, relative paths start at the current folder.

    Raises:
        FileNotFoundError: when there is no such folder, as in the dagstack plugin system.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        msg = f"{path}: {found}; a folder with plugins was expected"
        raise FileNotFoundError(msg)
    return os.path.normpath(root)


def find_plugins(
    root: str,
    ignore: IgnoreRules,
    *,
    recursive: bool = True,
    start: str | None = None,
    links: list[str] | None = None,
) -> Iterator[str]:
    """The plugin folders at and below `start` (by default `root`), sorted by path.

    A folder with a `dagstack.toml` is a plugin, and nothing below it is searched (ADR-6).
    Links to folders are followed, once per real folder. `recursive=False` looks at the folder
    itself only. Folders that vanish or deny access while they are searched count as empty.
    The links that were met are added to `links`.
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
        except OSError:
            continue
        if any(entry.name == MANIFEST_NAME and _is_file(entry) for entry in entries):
            yield folder
            continue
        if not recursive:
            return
        for entry in entries:
            if not _is_folder(entry):
                continue
            if ignore.folder(entry.name, below(root, entry.path)):
                continue
            is_link = entry.is_symlink()
            if is_link and links is not None:
                links.append(entry.path)
            target = os.path.realpath(entry.path) if is_link else f"{real}{os.sep}{entry.name}"
            todo.append((entry.path, target, is_link))


def read_plugin(
    folder: str,
    root: str,
    ignore: IgnoreRules,
    known: Mapping[str, SeenFile] | None = None,
) -> tuple[PluginSource, dict[str, SeenFile]]:
    """Read a plugin's folder.

    Args:
        folder: the plugin's folder.
        root: the root it was found in, for the ignore rules.
        ignore: what does not count.
        known: files as they were read before; one whose stamp is still the same, and tells
            enough, is not read again.

    Returns:
        The source, and its files as seen, to be passed as `known` next time.
    """
    known = known or {}
    read: dict[str, SeenFile] = {}
    prefix = below(root, folder)
    for path, relative in _walk(folder, f"{prefix}/" if prefix else "", ignore):
        try:
            status = os.stat(path)  # noqa: PTH116 - per file on the hot path
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        before = known.get(relative)
        stamp = Stamp.of(status)
        if before is not None and before.stamp == stamp and not before.racy:
            read[relative] = before
        else:
            racy = time.time_ns() - max(stamp.mtime_ns, stamp.ctime_ns) < RACY_NS
            read[relative] = SeenFile(stamp, read_file(path, stamp), racy)
    return PluginSource(folder, {path: seen.file for path, seen in read.items()}), read


def read_file(path: str, stamp: Stamp) -> SourceFile:
    """The content of one file, or why it could not be read."""
    keep = path.endswith(_KEEP_CONTENT)
    if stamp.size > LARGE_FILE and not keep:
        return SourceFile(b"%d %d" % (stamp.size, stamp.mtime_ns))
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - per file on the hot path
            content = file.read()
    except OSError as error:
        reason = error.strerror or str(error)
        return SourceFile(b"unreadable " + reason.encode(), error=reason)
    digest = blake2b(content, digest_size=16).digest()
    return SourceFile(digest, content if keep else None, is_empty=not content.strip())


def _walk(folder: str, prefix: str, ignore: IgnoreRules) -> Iterator[tuple[str, str]]:
    """Each file of a plugin that counts, with its path relative to the plugin."""
    todo: list[tuple[str, str, str | None]] = [(folder, "", None)]
    linked: list[str] = []  # The real folder of the plugin and those of its links.
    while todo:
        current, below, real = todo.pop()
        try:
            with os.scandir(current) as scan:
                entries = list(scan)
        except OSError:
            continue
        for entry in entries:
            relative = below + entry.name
            if _is_folder(entry):
                if ignore.folder(entry.name, prefix + relative):
                    continue
                target = real and f"{real}{os.sep}{entry.name}"
                if entry.is_symlink():
                    linked = linked or [os.path.realpath(folder)]
                    target = os.path.realpath(entry.path)
                    if lies_in(target, linked):
                        continue
                    linked.append(target)
                elif target in linked:
                    continue
                todo.append((entry.path, relative + "/", target))
            elif not ignore.file(entry.name, prefix + relative):
                yield entry.path, relative


def lies_in(path: str, folders: list[str]) -> bool:
    """Whether `path` is one of `folders` or below one; all absolute and normal."""
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
