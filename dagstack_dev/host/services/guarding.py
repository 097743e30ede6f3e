"""Calls what an app has handed in for its own use: that may fail, and stops nothing by it."""

from __future__ import annotations

import sys
import traceback
from asyncio import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Guard:
    """Contains what is raised by functions that only observe, and reports it once.

    `KeyboardInterrupt`, `SystemExit` and other exceptions that mean the whole program go through.
    A cancellation does not: what is called here awaits nothing, so it was not cancelled.

    Args:
        what: what the functions are, for the report.
    """

    __slots__ = ("_has_reported", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._has_reported = False

    def call(self, function: Callable[..., object], *args: object, **kwargs: Any) -> None:
        """Call a function; the first exception in the life of this guard goes to stderr.

        Args:
            function: called with the rest.
            args: its arguments.
            kwargs: likewise, by name.
        """
        try:
            function(*args, **kwargs)
        except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever the app raises
            if not self._has_reported:
                self._has_reported = True
                report(f"{self._what} raised; all else goes on, and this is said once", error)


def report(message: str, error: BaseException) -> None:
    """Write `message` and the traceback of `error`, just caught, to stderr, if there is one."""
    step = error.__traceback__
    below = None if step is None else step.tb_next  # The frame that has caught it is ours.
    lines = traceback.format_exception(type(error), error, below)
    with suppress(Exception):
        sys.stderr.write(f"dagstack-dev: {message}:\n{''.join(lines)}")
