"""Which files plugins have written, renamed or removed, as the interpreter's audit events tell."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.runtimes.shared.import_hooks import followed_importer

SOON_NS: Final = 2_000_000_000
"""How long after it was opened a file may still be written, in nanoseconds."""

_LARGEST: Final = 10_000
"""Files that are remembered at most."""

_WRITING: Final = os.O_WRONLY | os.O_RDWR

_PATHS: Final = {"open": 1, "os.remove": 1, "os.rename": 2, "os.truncate": 1, "sqlite3.connect": 1}
"""How many of the first arguments of an audit event are paths that are written."""


class _Write(NamedTuple):
    """When a file was opened or removed, on the system's clock, and the file whose code did it."""

    at_ns: int
    code: str
    is_plugin: bool


class WriteLog:
    """What the code of plugins in this process writes.

    Code counts that is on the stack, or whose context variables have reached a thread. What the
    app writes itself is no plugin's. An audit hook cannot be taken away again; without a log it
    does nothing.
    """

    def __init__(self) -> None:
        self._writes: dict[str, _Write] = {}  # By the real path of the file.
        self._kept_open: set[str] = set()

    def open(self) -> None:
        """Note what is written from now on."""
        if not _installed:
            _installed.append(_hook)
            sys.addaudithook(_hook)
        _logs.append(self)

    def close(self) -> None:
        """Note nothing any more."""
        if self in _logs:
            _logs.remove(self)

    def note(self, path: str) -> None:
        """Note that the code on the stack is about to write a file."""
        found = followed_importer()
        if found is None:
            return
        name = found[1]
        code = getattr(sys.modules.get(name), "__file__", None) or ""
        self._writes[os.path.realpath(path)] = _Write(
            time.time_ns(), code, name.startswith(NAMESPACE)
        )
        if len(self._writes) > _LARGEST:
            self._writes.pop(next(iter(self._writes)), None)

    def is_own(self, folder: str, path: str, changed_ns: int) -> bool:
        """Return whether the last change of a file is that of the plugin it belongs to.

        Args:
            folder: the plugin's.
            path: of the file, absolute.
            changed_ns: when it was changed, as the file system says.
        """
        path = os.path.realpath(path)
        write = self._writes.get(path)
        if write is None or (write.is_plugin and not lies_in(write.code, [folder])):
            return False
        if changed_ns <= write.at_ns + SOON_NS:
            return True
        was_open = path in self._kept_open  # Then this may be what was written as it was closed.
        (self._kept_open.add if _is_open(path) else self._kept_open.discard)(path)
        return was_open or path in self._kept_open


_installed: Final[list[object]] = []
_logs: Final[list[WriteLog]] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    """Note a write; what is raised here would be raised where it is written."""
    paths = _PATHS.get(event)
    if paths is None or not _logs:
        return
    with suppress(Exception):
        if event == "open" and not args[2] & _WRITING:
            return
        for each in args[:paths]:
            for log in _logs:
                log.note(os.fsdecode(each))


def _is_open(path: str) -> bool:
    """Return whether this process has the file open; False where the system does not tell."""
    with suppress(OSError):
        meant = os.stat(path)  # noqa: PTH116 - hot path
        for handle in os.listdir("/dev/fd"):  # noqa: PTH208 - a handful of numbers
            with suppress(OSError):
                if os.path.samestat(os.fstat(int(handle)), meant):
                    return True
    return False
