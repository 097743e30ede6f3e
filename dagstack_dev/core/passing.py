"""Which failures may pass by themselves, so that trying again is worth while."""

from __future__ import annotations

import errno
import re
from typing import Final

from dagstack_dev.core.blame import related

_PASSING_ERRNO: Final = frozenset(
    {
        # Somebody else still has it.
        errno.EADDRINUSE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ETXTBSY,
        # The network, or who is called, is not there.
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
"""How asyncio tells that no address of a host could be connected to, without an `errno`."""


def may_pass(error: BaseException | None) -> bool:
    """Whether what failed with `error` may work when it is tried again, though nothing was edited.

    So it is with an exception whose class says `is_passing = True`, as some of this package do and
    any of a plugin's own may, and with what the system or SQLite says when somebody else has what
    is wanted, or when who is called is not there. What an exception was raised from, or while
    handling it, counts too, and each exception of a group.
    """
    return any(
        getattr(type(each), "is_passing", False) is True or _is_temporary(each)
        for each in related(error)
    )


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, OSError):
        if type(error).__name__ == "gaierror":  # A service that has not started may have no name.
            return True
        several = _SEVERAL.match(str(error)) if error.errno is None else None
        number = int(several[1]) if several else error.errno
        return isinstance(error, ConnectionError) or number in _PASSING_ERRNO
    return str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
