"""The files of a generation, kept so that it can come back when its folder holds others."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes.finalizers import clear_up, when_gone

if TYPE_CHECKING:
    from dagstack_dev.core.sources import PluginSource

MOST_FILES: Final = 2000
MOST_BYTES: Final = 32 * 1024 * 1024
"""What is copied at most; a larger plugin cannot be rolled back to what it was."""

_LOOKED_FOR_ABOVE: Final = ("node_modules", "package.json")
"""What a program may look for in the folders above its own: Node does, for packages."""

_LARGE_FILE: Final = 1024 * 1024
"""Bytes of a file that is looked up where it is: it is data, and not what was edited."""


_roots: dict[str, int] = {}
"""The temporary folders that copies are in, each with the process that made it."""


def remove_all() -> None:
    """Remove every copy: the process is about to end at once."""
    for root in [*_roots]:
        _remove(root)


def _remove(root: str) -> None:
    if _roots.pop(root, None) == os.getpid():  # And no copy of it.
        shutil.rmtree(root, ignore_errors=True)


class SnapshotCopy:
    """A plugin's folder as it was read.

    A process reads its files itself, and at any time. So the old generation of such a plugin,
    which comes back when a new one fails, needs the files that it was made of: a copy of them,
    made before they run for the first time. What does not count in the folder (`node_modules`,
    databases) is linked into the copy.
    """

    def __init__(self, source: PluginSource) -> None:
        clear_up()
        self._source = source
        self._later: set[str] = set()
        self._copy: str | None = None

    def note_later(self, source: PluginSource) -> None:
        """Note that the folder has come to hold `source`, whose new files this must not meet."""
        self._later |= source.files.keys() - self._source.files.keys()

    def place(self) -> str:
        """Return where to run from: the plugin's folder while it holds what was read, or the copy.

        May take some milliseconds: it reads every file. The folder it is, too, where there is no
        copy: there is too much in it, or it held something else from the start.
        """
        if not self._is_on_disk():
            return self._copy or self._source.home
        if self._copy is None and self._is_small():
            self._copy = self._make_copy()
        self._drop_old_bytecode()
        return self._source.home

    @property
    def folder(self) -> str:
        """The plugin's own folder."""
        return self._source.home

    def holds(self, relative: str) -> bool:
        """Return whether a change of this file is noticed, unless it lies elsewhere."""
        return relative in self._source.files or relative.startswith((os.sep, os.pardir))

    def _is_on_disk(self) -> bool:
        home = self._source.home
        return not any(Path(home, relative).exists() for relative in self._later) and all(
            _is_same(Path(home, relative), file)
            for relative, file in self._source.files.items()
            if relative != self._source.manifest_name  # Which the process does not read.
        )

    def _drop_old_bytecode(self) -> None:
        """Have Python compile anew what was edited since it last did.

        It looks at whole seconds and the size, and so would run what a quick edit has replaced.
        """
        for relative in self._source.files:
            path = Path(self._source.home, relative)
            if path.suffix != ".py":
                continue
            for old in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                with suppress(OSError):
                    if old.stat().st_mtime_ns <= path.stat().st_mtime_ns:
                        old.unlink()

    def _is_small(self) -> bool:
        if len(self._source.files) > MOST_FILES:
            return False
        sizes = (
            Path(self._source.home, relative).stat().st_size
            for relative, file in self._source.files.items()
            if file.error is None
        )
        return sum(size for size in sizes if size <= _LARGE_FILE) <= MOST_BYTES

    def _make_copy(self) -> str:
        root = tempfile.mkdtemp(prefix="dagstack-dev-copy-")
        _roots[root] = os.getpid()
        when_gone(self, _remove, root)
        copy = _below_what_is_above(self._source.home, root)
        copy.mkdir()
        self._copy_below(self._source.home, str(copy), "")
        return str(copy)

    def _copy_below(self, folder: str, copy: str, prefix: str) -> None:
        for entry in os.scandir(folder):
            relative, target = prefix + entry.name, f"{copy}/{entry.name}"
            file = self._source.files.get(relative)
            if file is not None and file.error is None and entry.stat().st_size <= _LARGE_FILE:
                shutil.copy2(entry.path, target)
            elif any(each.startswith(relative + "/") for each in self._source.files):
                Path(target).mkdir()
                self._copy_below(entry.path, target, relative + "/")
            elif entry.name != "__pycache__":
                Path(target).symlink_to(entry.path)


def _below_what_is_above(folder: str, root: str) -> Path:
    """Return a path below `root` for a copy of `folder`; programs find above it what they look for.

    Folders above that hold nothing of that kind are left out.
    """
    place = Path(root)
    for above in reversed(Path(folder).parents):
        found = [above / name for name in _LOOKED_FOR_ABOVE if (above / name).exists()]
        if found:
            place /= above.name or "root"
            place.mkdir()
        for each in found:
            (place / each.name).symlink_to(each)
    return place / Path(folder).name


def _is_same(path: Path, file: SourceFile) -> bool:
    try:
        if path.stat().st_size > _LARGE_FILE:
            return True
        return SourceFile.of(path.read_bytes(), keep=False).fingerprint == file.fingerprint
    except OSError:
        return file.error is not None
