"""Bytes by key in files, each written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
"""Bytes of a key that stand for themselves. No capitals: to some disks, they are the same."""
_EMPTY: Final = "%"
"""Stands for nothing between two slashes."""
_GOES_ON: Final = "+"
"""Ends the name of a folder whose part of the key goes on in the next name."""
_LONGEST: Final = 200
"""Characters in one name; file systems take 255 bytes."""


class KeyedFiles(MutableMapping[str, bytes]):
    """A folder with one file per key.

    A key is any text of some hundred characters; what stands between its slashes makes folders, so
    that a person finds their way. A value is written beside its place, flushed to the disk and
    then renamed, so that a reader, even after a crash, finds the old one or the new one.

    Args:
        folder: where the files go; made, with its parents, when the first value is written.
        suffix: of each file, with its dot.
    """

    def __init__(self, folder: str | os.PathLike[str], *, suffix: str) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._suffix = suffix

    def __setitem__(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`, in place of what was there.

        Raises:
            OSError: the disk is full, the folder read-only, the key a thousand characters long.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor has no path
                file.write(value)
                file.flush()
                os.fsync(handle)
            os.replace(draft, path)  # noqa: PTH105 - as fast as it gets; it is a plain path
        except BaseException:
            with suppress(FileNotFoundError):
                Path(draft).unlink()
            raise
        _flush_folder(path.parent)

    def __getitem__(self, key: str) -> bytes:
        """Return the value of `key`. Raises `OSError` when there is one that cannot be read."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._path(key).is_file()

    def __iter__(self) -> Iterator[str]:
        for path in self.folder.rglob(f"*{self._suffix}"):
            yield _key_of(path.relative_to(self.folder).with_suffix("").parts)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, key: str) -> Path:
        *folders, name = _names_of(key)
        return self.folder.joinpath(*folders, name + self._suffix)


def _names_of(key: str) -> list[str]:
    """Return the folders and the file that stand for `key`, without suffix."""
    names = []
    for part in key.split("/"):
        data = part.encode("utf-8", "surrogatepass")
        spelled = "".join(chr(b) if b in _PLAIN else f"%{b:02x}" for b in data) or _EMPTY
        pieces = [spelled[i : i + _LONGEST] for i in range(0, len(spelled), _LONGEST)]
        names += [piece + _GOES_ON for piece in pieces[:-1]] + pieces[-1:]
    return names


def _key_of(names: tuple[str, ...]) -> str:
    """Return the reverse of `_names_of`."""
    joined = "".join(
        name.removesuffix(_GOES_ON) if name.endswith(_GOES_ON) else name + "/" for name in names
    )
    parts = joined.removesuffix("/").split("/")
    return "/".join(
        "" if part == _EMPTY else unquote(part, errors="surrogatepass") for part in parts
    )


def _flush_folder(folder: Path) -> None:
    """Have the renaming itself outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
