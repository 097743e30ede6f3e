"""Values in files, one per key, each written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
"""Bytes of a key that stand for themselves. No capitals: some disks do not tell them apart."""
_EMPTY: Final = "%"
"""Stands for nothing between two slashes."""
_GOES_ON: Final = "+"
"""Ends the name of a folder whose part of the key goes on in the next name."""
_LONGEST: Final = 200
"""Characters in one name; file systems take 255 bytes."""


class KeyedFiles:
    """A folder with one file per key.

    A key is any text of some hundred characters; what stands between its slashes makes folders, so
    that a person finds their way. A value is written beside its place, flushed to the disk and
    then renamed, so that whoever reads, even after a crash, finds the old one or the new one.

    Args:
        folder: where the files go; made, with its parents, when the first value is written.
        suffix: of each file, with its dot.
    """

    def __init__(self, folder: str | os.PathLike[str], *, suffix: str) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._suffix = suffix

    def write(self, key: str, value: bytes) -> None:
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

    def read(self, key: str) -> bytes | None:
        """The value of `key`, or None. Raises `OSError` when there is one that cannot be read."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._path(key).read_bytes()
        return None

    def remove(self, key: str) -> None:
        """Forget `key`; nothing happens when it is not there."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def has(self, key: str) -> bool:
        """Whether there is a value for `key`."""
        return self._path(key).is_file()

    def find(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, sorted."""
        paths = self.folder.rglob(f"*{self._suffix}")
        keys = (_key_of(path.relative_to(self.folder).with_suffix("").parts) for path in paths)
        return sorted(key for key in keys if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        *folders, name = _names_of(key)
        return self.folder.joinpath(*folders, name + self._suffix)


def _names_of(key: str) -> list[str]:
    """The folders and the file that stand for `key`, without suffix."""
    names = []
    for part in key.split("/"):
        spelled = "".join(map(_spelled, part.encode("utf-8", "surrogatepass"))) or _EMPTY
        pieces = [spelled[i : i + _LONGEST] for i in range(0, len(spelled), _LONGEST)]
        names += [piece + _GOES_ON for piece in pieces[:-1]] + pieces[-1:]
    return names


def _key_of(names: tuple[str, ...]) -> str:
    """The reverse of `_names_of`."""
    joined = "".join(
        name.removesuffix(_GOES_ON) if name.endswith(_GOES_ON) else name + "/" for name in names
    )
    parts = joined.removesuffix("/").split("/")
    return "/".join(
        "" if part == _EMPTY else unquote(part, errors="surrogatepass") for part in parts
    )


def _spelled(byte: int) -> str:
    return chr(byte) if byte in _PLAIN else f"%{byte:02x}"


def _flush_folder(folder: Path) -> None:
    """Have the renaming itself outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
