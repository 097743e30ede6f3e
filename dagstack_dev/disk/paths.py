"""Paths below roots, and the entries of folders, whatever becomes of them meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.refs import closest

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE}
)
"""Errors that mean that there is nothing to be read, now or later."""


def below(root: str, path: str) -> str:
    """Return `path` relative to `root`, empty for the root itself; both absolute and normal."""
    return path[len(root) :].lstrip(os.sep)


def folders_above(root: str, path: str) -> Iterator[str]:
    """Yield the folders from `root` down to that which holds `path`; all absolute and normal."""
    above = root
    for part in below(root, path).split(os.sep):  # noqa: PTH206 - plain strings
        yield above
        above = f"{above}{os.sep}{part}"


def is_searchable(folder: str) -> bool:
    """Return whether `folder` is one, and this process may find what is in it."""
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)  # noqa: PTH112 - hot path


def lies_in(path: str, folders: list[str]) -> bool:
    """Return whether `path` is one of `folders` or below one; all absolute and normal."""
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def root_folder(path: str | os.PathLike[str], *, holds: str = "plugins") -> str:
    """Return `path` as an absolute folder, with `~` expanded.

    Args:
        path: of the folder.
        holds: what it is to have in it, for the message.

    Raises:
        FileNotFoundError: when there is no such folder, as in the dagstack plugin system.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        msg = f"{path}: {found}; a folder with {holds} was expected{_did_you_mean(Path(path))}"
        raise FileNotFoundError(msg)
    return os.path.normpath(root)


def _did_you_mean(path: Path) -> str:
    """Return the folder that differs from `path` where that begins to be none, if there is one."""
    missing = path
    with suppress(OSError):
        while not missing.parent.is_dir() and missing != missing.parent:
            missing = missing.parent
        folders = [each.name for each in missing.parent.iterdir() if each.is_dir()]
        name = closest(missing.name, folders)
        meant = name and missing.with_name(name) / path.relative_to(missing)
        if meant and meant.is_dir():
            return f"; did you mean {str(meant)!r}?"
    return ""


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether `entry` is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether `entry` is a file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:
        return False


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Read a file that a person has named.

    Raises:
        OSError: it cannot be read, or is something else: opening a named pipe would wait for a
            writer, and what it holds could be read once only.
    """
    with open(path, "rb", opener=open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return file.read()


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, whatever `path` is; an `opener` for `open`."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def reason_of(error: OSError) -> str:
    """Return what the system says, without number and path."""
    return error.strerror or str(error)


def git_folder(folder: Path) -> Path | None:
    """Return where the repository around `folder` keeps its index."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_dir():
            return git
        if git.is_file():  # A work tree or submodule: the file names the folder.
            try:
                text = git.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                return None
            return (parent / text.removeprefix("gitdir:").strip()).resolve()
    return None
