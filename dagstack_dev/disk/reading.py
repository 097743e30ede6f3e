"""From a plugin folder to its bytes."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.documents import DocumentInvalid
from dagstack_dev.core.manifest_forms import (
    EMBEDDED_NAMES,
    LARGEST_MANIFEST,
    MANIFEST_NAME,
    MANIFEST_NAMES,
)
from dagstack_dev.core.sources import PluginSource, SourceFile
from dagstack_dev.disk.gitignore import FolderRules
from dagstack_dev.disk.paths import (
    ABSENT,
    below,
    is_folder,
    lies_in,
    open_at_once,
    read_regular,
    reason_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from dagstack_dev.disk.ignore import IgnoreRules

LARGE_FILE: Final = 8 * 1024 * 1024
"""Bytes from which a file that is not code is compared by size and time, not by content."""

LARGEST_CODE: Final = 4 * 1024 * 1024
"""Bytes of a Python file that are compiled at most: some seconds of work."""

RACY_NS: Final = 20_000_000
"""How young a change may be for its time stamp to be trusted, in nanoseconds."""

_MANIFESTS: Final = tuple(MANIFEST_NAMES)
_EMBEDDED: Final = tuple(EMBEDDED_NAMES)
_KEEP_CONTENT: Final = (".py", *_MANIFESTS)
_LARGEST_SCHEMA: Final = 1 << 16  # A manifest may name a JSON file as its `config_schema`.


class Stamp(NamedTuple):
    """What the file system says of a file without reading it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Make the stamp of a stat result."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


NOTHING: Final = Stamp(0, 0, 0, 0)
"""The stamp of no file."""


class SeenFile(NamedTuple):
    """A file as it was read.

    `is_link` is whether there is a link to the file in its place. `racy` is true when it was read
    so soon after its last change that another change of the same length might not alter the
    stamp, whose clock ticks in milliseconds.
    """

    stamp: Stamp
    file: SourceFile
    racy: bool
    is_link: bool = False


def read_plugin(
    folder: str,
    root: str,
    ignore: IgnoreRules,
    known: Mapping[str, SeenFile] | None = None,
    imported: Collection[str] = (),
) -> tuple[PluginSource, dict[str, SeenFile]]:
    """Read a plugin's folder, all of it.

    Args:
        folder: the plugin's folder.
        root: the root it was found in, for the ignore rules.
        ignore: what does not count.
        known: files as they were read before; one whose stamp is still the same, and tells
            enough, is not read again.
        imported: files that count whatever `ignore` says, relative to the folder.

    Returns:
        The source, and its files as seen, to be passed as `known` next time.
    """
    known = known or {}
    walk = Walk(folder, imported)
    manifests = {}  # They say what of the rest counts.
    for name in _MANIFESTS:
        if name not in walk.names:
            continue
        seen = _see(f"{folder}/{name}", known.get(name))
        if seen is not None and not ignore.file(name, below(root, f"{folder}/{name}")):
            manifests[name] = seen
    rules = rules_for(_source(folder, manifests), root, ignore)
    read: dict[str, SeenFile] = {}
    for path, relative, is_link in walk.files(rules):
        seen = manifests.get(relative) or _see(path, known.get(relative))
        if seen is not None:
            read[relative] = seen._replace(is_link=True) if is_link else seen
    for relative, error in walk.denied.items():
        read[relative] = SeenFile(NOTHING, _unreadable(error), racy=True)
    return _source(folder, read), read


def _source(folder: str, seen: Mapping[str, SeenFile]) -> PluginSource:
    return PluginSource(folder, {path: each.file for path, each in seen.items()})


def rules_for(source: PluginSource, root: str, ignore: IgnoreRules) -> FolderRules:
    """Return what of a plugin's folder does not count, by the manifest that it has.

    Args:
        source: the folder as it was read.
        root: the one it was found in.
        ignore: what is ignored everywhere.
    """
    name = source.manifest_name
    text = source.manifest_text(name) or b""
    return FolderRules(source.folder, root, ignore, name, text)


def read_some(
    source: PluginSource, paths: Iterable[str], known: Mapping[str, SeenFile]
) -> tuple[PluginSource, dict[str, SeenFile]] | None:
    """As `read_plugin`, for a folder with so many files that only some of them are looked at.

    Args:
        source: the folder as it was read before.
        paths: of the files to be read again, relative to the folder; none that is ignored.
        known: files as they were read before.

    Returns:
        As `read_plugin`; None when one of `paths` is or was a folder, so that all has to be read.
    """
    read = dict(known)
    files = dict(source.files)
    for relative in paths:
        path = f"{source.folder}/{relative}"
        seen = see_file(path, keep=False)
        if seen is not None:
            read[relative], files[relative] = seen, seen.file
        elif relative in read:
            del read[relative], files[relative]
        elif os.path.isdir(path) or any(name.startswith(relative + "/") for name in read):  # noqa: PTH112 - hot path
            return None
    return PluginSource(source.folder, files), read


def stamp_of(path: str) -> Stamp:
    """Return the stamp of the regular file at `path`, that of nothing when there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - hot path
    except OSError:
        return NOTHING
    return Stamp.of(status) if stat.S_ISREG(status.st_mode) else NOTHING


def see_file(path: str, before: SeenFile | None = None, *, keep: bool = True) -> SeenFile | None:
    """Read one file by itself; None where there is no regular file.

    Args:
        path: of the file.
        before: the file as it was read before; it is not read again if its stamp says enough.
        keep: whether to keep what it holds, whatever its name.
    """
    seen = _see(path, before, keep=keep)
    is_link = seen is not None and os.path.islink(path)  # noqa: PTH114 - hot path
    return seen._replace(is_link=True) if seen is not None and is_link else seen


def _see(path: str, before: SeenFile | None, *, keep: bool = False) -> SeenFile | None:
    """Read one file of a plugin, unless its stamp says enough; None if it does not count."""
    try:
        status = os.stat(path)  # noqa: PTH116 - per file on the hot path
    except OSError as error:
        absent = error.errno in ABSENT
        return None if absent else SeenFile(NOTHING, _unreadable(error), racy=True)
    if not stat.S_ISREG(status.st_mode):
        return None
    stamp = Stamp.of(status)
    if before is not None and before.stamp == stamp and not before.racy:
        return before
    # A time stamp from the future, as after the clock was set back, is not trusted either.
    racy = time.time_ns() - max(stamp.mtime_ns, stamp.ctime_ns) < RACY_NS
    file = read_file(path, stamp, keep=keep)
    return SeenFile(stamp, file, racy or file.error is not None)


def read_file(path: str, stamp: Stamp, *, keep: bool = False) -> SourceFile:
    """Read one file, or say why it cannot be read.

    Never waits for a writer, as opening a named pipe would, and reads no more than it takes. What
    is no code is kept only if `keep` says so.
    """
    keep = (
        keep
        or path.endswith(_KEEP_CONTENT)
        or (path.endswith(".json") and stamp.size <= _LARGEST_SCHEMA)
    )
    if stamp.size > LARGE_FILE and not keep:
        return SourceFile(b"%d %d" % (stamp.size, stamp.mtime_ns))
    limit = LARGEST_MANIFEST if path.endswith(_MANIFESTS) else LARGEST_CODE
    try:
        with open(path, "rb", 0, opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return SourceFile(b"no file", error="it is no regular file")
            if status.st_size > limit and path.endswith(_EMBEDDED):
                keep = False  # As large as this it is another tool's file and nothing else.
            if keep and status.st_size > limit:
                stamp_only = b"large %d %d" % (status.st_size, status.st_mtime_ns)
                return SourceFile(stamp_only, error=f"it is larger than {limit >> 20} MiB")
            content = file.read()
    except OSError as error:
        return _unreadable(error)
    return SourceFile.of(content, keep=keep)


def content_of(path: str, file: SourceFile | None = None) -> bytes:
    """Return what a file that a person has named holds.

    Args:
        path: of the file.
        file: what is known of it; None to read it now.

    Raises:
        DocumentInvalid: it cannot be read.
    """
    if file is None:
        try:
            return read_regular(path)
        except OSError as error:
            raise DocumentInvalid(f"cannot be read: {reason_of(error)}") from error
    if file.content is None:
        raise DocumentInvalid(f"cannot be read: {file.error}")
    return file.content


def changed_at(path: str) -> int:
    """Return when the file at `path` was last written, in nanoseconds; or 0.

    As the system noted it: a program may set the modification time of what it writes.
    """
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116 - as all over here
    except OSError:
        return 0


def has_changed(path: str, fingerprint: bytes | None) -> bool:
    """Return whether a file holds something else by now; one that is empty or gone is being saved.

    Args:
        path: of the file.
        fingerprint: that of what it held; None if it was not there.
    """
    seen = see_file(path, keep=False)
    return seen is not None and not seen.file.is_empty and seen.file.fingerprint != fingerprint


def _unreadable(error: OSError) -> SourceFile:
    reason = reason_of(error)
    return SourceFile(b"unreadable " + reason.encode(), error=reason)


class Walk:
    """Walks through a plugin's folder. What is in the folder itself is looked up at once.

    Args:
        folder: the plugin's.
        imported: files that come in any case, there or not, relative to the folder.

    Attributes:
        names: of what is in the folder itself.
        denied: folders that are there but cannot be read, by their relative path.
    """

    def __init__(self, folder: str, imported: Collection[str] = ()) -> None:
        self.denied: dict[str, OSError] = {}
        self._folder = folder
        self._imported = imported
        self._top = self._entries(folder, "")
        self.names = {entry.name for entry in self._top}

    def files(self, rules: FolderRules) -> Iterator[tuple[str, str, bool]]:
        """Yield each file that counts: path, relative path, and whether it is a link.

        Args:
            rules: what of the folder does not count.
        """
        top = self._folder
        todo: list[tuple[str, str, str | None]] = [(top, "", None)]
        left = set(self._imported)
        linked: list[str] = []  # The real folder of the plugin and those of its links.
        while todo:
            current, above, real = todo.pop()
            entries = self._entries(current, above) if above else self._top
            if above and rules.is_environment(above[:-1], (each.name for each in entries)):
                continue
            for entry in entries:
                relative = above + entry.name
                of_folder = is_folder(entry)
                if rules.leaves_out(relative, is_folder=of_folder):
                    continue
                if not of_folder:
                    left.discard(relative)
                    yield entry.path, relative, entry.is_symlink()
                    continue
                target = real and f"{real}{os.sep}{entry.name}"
                if entry.is_symlink():
                    linked = linked or [os.path.realpath(top)]
                    target = os.path.realpath(entry.path)
                    if lies_in(target, linked):
                        continue
                    linked.append(target)
                elif target in linked:
                    continue
                todo.append((entry.path, relative + "/", target))
        for relative in sorted(left):
            path = f"{top}/{relative}"
            yield path, relative, os.path.islink(path)  # noqa: PTH114 - hot path

    def _entries(self, folder: str, relative: str) -> list[os.DirEntry[str]]:
        """Return what is in a folder; nothing in one that cannot be read."""
        try:
            with os.scandir(folder) as scan:
                return list(scan)
        except OSError as error:
            if error.errno not in ABSENT:
                self.denied[relative.rstrip("/") or MANIFEST_NAME] = error
            return []
