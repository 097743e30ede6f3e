"""What is left to do when something is not held any more, put off until that does no harm.

A finalizer runs in the midst of whatever has let go of the last reference, or of what the garbage
collector has interrupted: code that walks through `sys.modules`, say. So it only notes that the
time has come, and what enters this package next does it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

_due: Final[deque[tuple[int, Callable[[], object]]]] = deque()
"""What there is to do, each with the process that it is for."""


def when_gone(
    thing: object, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
) -> None:
    """Call `function` once nothing holds `thing`, at the next `clear_up` or at the exit.

    What it is called with must not hold `thing`. A forked child leaves it to its parent.
    """
    weakref.finalize(thing, _due.append, (os.getpid(), partial(function, *args, **kwargs)))


def clear_up() -> None:
    """Do what is due. To be called where the import system and files may change."""
    while _due:
        try:
            process, call = _due.popleft()
        except IndexError:  # Another thread was faster.
            return
        if process == os.getpid():
            call()


weakref.finalize(clear_up, clear_up)  # At the exit, the first one is called last.
