"""How editors put a file on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

LONG_AGO = 1_600_000_000
"""A modification time as an older commit or an archive brings it, in seconds."""


class Save(StrEnum):
    """A way of saving one file."""

    IN_PLACE = "in place"
    TRUNCATE = "truncate, then write"
    TORN = "half now, half later"
    EMPTY_FIRST = "empty now, text later"
    ATOMIC = "atomic rename"
    BACKUP = "rename to a backup, then write"
    VIM = "as vim does"
    GONE_FIRST = "delete now, write later"
    OLD_TIME = "in place, with an old modification time"


def save(path: Path, text: str, style: Save) -> Callable[[], None] | None:
    """Save `text` at `path`; the answer, if any, has to be called for the save to be complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if style is Save.IN_PLACE or not path.exists():
        path.write_text(text)
        return None
    return _STYLES[style](path, text)


def _truncate(path: Path, text: str) -> None:
    os.truncate(path, 0)
    path.write_text(text)


def _later(path: Path, text: str) -> Callable[[], None]:
    """Write at a moment when the folder may have been removed or moved meanwhile."""

    def write() -> None:
        if path.parent.is_dir():
            path.write_text(text)

    return write


def _torn(path: Path, text: str) -> Callable[[], None]:
    # Not a class without its end, for that may be a plugin that never stops what it starts.
    beginning = text.partition("\nclass ")[0]
    path.write_text(beginning[: len(text) // 2])
    return _later(path, text)


def _empty_first(path: Path, text: str) -> Callable[[], None]:
    path.write_text("")
    return _later(path, text)


def _gone_first(path: Path, text: str) -> Callable[[], None]:
    path.unlink()
    return _later(path, text)


def _atomic(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.tmp")
    new.write_text(text)
    new.replace(path)


def _backup(path: Path, text: str) -> None:
    path.replace(path.with_name(f"{path.name}.bak"))
    path.write_text(text)


def _vim(path: Path, text: str) -> None:
    probe, backup = path.with_name("4913"), path.with_name(f"{path.name}~")
    probe.touch()
    probe.unlink()
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def _old_time(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (LONG_AGO, LONG_AGO))


_STYLES: dict[Save, Callable[[Path, str], Callable[[], None] | None]] = {
    Save.TRUNCATE: _truncate,
    Save.TORN: _torn,
    Save.EMPTY_FIRST: _empty_first,
    Save.ATOMIC: _atomic,
    Save.BACKUP: _backup,
    Save.VIM: _vim,
    Save.GONE_FIRST: _gone_first,
    Save.OLD_TIME: _old_time,
}
