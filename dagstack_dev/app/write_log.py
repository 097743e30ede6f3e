"""Which files plugins have written, renamed or removed, by the audit events of the interpreter."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.runtimes.shared.imports import followed_importer

if TYPE_CHECKING:
    from collections.abc import Iterator

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


_writes: Final[dict[str, _Write]] = {}
"""By the real path of the file, in the order of their first writes."""

_kept_open: Final[set[str]] = set()
_users = 0
_is_installed = False


@contextmanager
def writes_noted() -> Iterator[None]:
    """Note what the code of plugins in this process writes inside this block.

    Code counts that is on the stack, or whose context variables have reached a thread. What the
    app writes itself is no plugin's. An audit hook cannot be taken away again; outside of such
    blocks it does nothing.
    """
    global _users, _is_installed  # noqa: PLW0603 - the hook is one for the process, too
    if not _is_installed:
        sys.addaudithook(_hook)
        _is_installed = True
    _users += 1
    try:
        yield
    finally:
        _users -= 1


def is_own_write(folder: str, path: str, changed_ns: int) -> bool:
    """Return whether the last change of a file is that of the plugin it belongs to.

    Args:
        folder: the plugin's.
        path: of the file, absolute.
        changed_ns: when it was changed, as the file system says.
    """
    path = os.path.realpath(path)
    write = _writes.get(path)
    if write is None or (write.is_plugin and not lies_in(write.code, [folder])):
        return False
    if changed_ns <= write.at_ns + SOON_NS:
        return True
    if _is_open(path):
        _kept_open.add(path)
        return True
    was_open = path in _kept_open  # Then this may be what was written as it was closed.
    _kept_open.discard(path)
    return was_open


def _hook(event: str, args: tuple[Any, ...]) -> None:
    """Note a write; what is raised here would be raised where it is written."""
    paths = _PATHS.get(event)
    if paths is None or not _users:
        return
    with suppress(Exception):
        if event == "open" and not args[2] & _WRITING:
            return
        for each in args[:paths]:
            _note(os.fsdecode(each))


def _note(path: str) -> None:
    """Note that the code on the stack is about to write a file."""
    found = followed_importer()
    if found is None:
        return
    name = found[1]
    code = getattr(sys.modules.get(name), "__file__", None) or ""
    _writes[os.path.realpath(path)] = _Write(time.time_ns(), code, name.startswith(NAMESPACE))
    if len(_writes) > _LARGEST:
        _writes.pop(next(iter(_writes)), None)


def _is_open(path: str) -> bool:
    """Return whether this process has the file open; False where the system does not say."""
    with suppress(OSError):
        meant = os.stat(path)  # noqa: PTH116 - hot path
        for handle in os.listdir("/dev/fd"):  # noqa: PTH208 - a handful of numbers
            with suppress(OSError):
                if os.path.samestat(os.fstat(int(handle)), meant):
                    return True
    return False
