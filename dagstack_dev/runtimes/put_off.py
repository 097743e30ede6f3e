"""What is left to do when something is not held any more, put off until that disturbs nobody.

A finalizer runs in the midst of whatever has let go of the last reference, or of what the garbage
collector has interrupted: code that walks through `sys.modules`, say. So it only notes that the
time has come, and whoever enters this package next does it.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

_left: Final[set[Callable[[], object]]] = set()
_due: Final[deque[Callable[[], object]]] = deque()


def when_gone(
    thing: object, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
) -> None:
    """Call `function` once nobody holds `thing`, at the next `clear_up`; at the exit at the latest.

    What it is called with must not hold `thing`.
    """
    call = partial(function, *args, **kwargs)
    _left.add(call)
    weakref.finalize(thing, _due.append, call).atexit = False


def clear_up() -> None:
    """Do what is due. To be called where the import system and files may change."""
    while _due:
        try:
            call = _due.popleft()
        except IndexError:  # Another thread was faster.
            return
        if call in _left:
            _left.remove(call)
            call()


os.register_at_fork(after_in_child=_left.clear)  # What there is to do is the parent's.


@atexit.register
def _clear_up_all() -> None:
    _due.extend(_left)
    clear_up()
