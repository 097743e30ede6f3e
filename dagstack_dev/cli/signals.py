"""Ctrl-C: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import FrameType

INTERRUPTED: Final = 130
"""Exit code of a program that was ended at once: 128 and the number of SIGINT."""


@contextmanager
def stopping_with(stop: Callable[[], None], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Inside this block SIGINT and SIGTERM call `stop` on the loop, a second one exits.

    The handlers run between two bytecodes of the main thread, so that the second signal works
    even while a plugin blocks the event loop.
    """
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        asked = True
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
