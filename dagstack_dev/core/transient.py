"""Which failures are transient: they may go away by themselves, so that a retry is worth while."""

from __future__ import annotations

import errno
import re
import warnings
from contextlib import suppress
from typing import Final

from dagstack_dev.core.blame import related

_TRANSIENT_ERRNO: Final = frozenset(
    {
        # Another process still has it.
        errno.EADDRINUSE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ETXTBSY,
        # The network, or what is called, is not there.
        errno.EADDRNOTAVAIL,
        errno.ECONNREFUSED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    }
)
_SEVERAL: Final = re.compile(r"Multiple exceptions: \[Errno (\d+)\]")
"""How asyncio says that no address of a host could be connected to, without an `errno`."""


def is_transient(error: BaseException | None) -> bool:
    """Return whether what failed with `error` may work when it is tried again, without an edit.

    So it is with an exception whose class says `is_transient = True`, as some of this package do
    and any of a plugin's own may, and with what the system or SQLite says when something else has
    what is wanted, or when what is called is not there. What an exception was raised from, or while
    handling it, counts too, and each exception of a group.
    """
    return any(says_transient(type(each)) or _is_temporary(each) for each in related(error))


def says_transient(cls: type[BaseException]) -> bool:
    """Return whether a class of exceptions says that they are transient."""
    for each in cls.__mro__:
        if "is_transient" in vars(each):
            return vars(each)["is_transient"] is True
        if "is_passing" in vars(each):
            with suppress(DeprecationWarning):  # The server goes on where warnings are errors.
                warnings.warn(
                    f"{each.__module__}.{each.__qualname__} says `is_passing`; write "
                    "`is_transient` instead, the old name goes with the next release",
                    DeprecationWarning,
                    stacklevel=2,
                )
            return vars(each)["is_passing"] is True
    return False


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, OSError):
        if type(error).__name__ == "gaierror":  # A service that has not started may have no name.
            return True
        several = _SEVERAL.match(str(error)) if error.errno is None else None
        number = int(several[1]) if several else error.errno
        return isinstance(error, ConnectionError) or number in _TRANSIENT_ERRNO
    return str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
