"""What plugins leave running at the end: named, and not waited for."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn

from dagstack_dev.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS: Final = 0.5
"""How long a thread or a task may take to end with the rest before it is named."""


_last_steps: Final[list[Callable[[], object]]] = []


def at_the_end(step: Callable[[], object]) -> None:
    """Have `step` called also where the process is ended at once."""
    _last_steps.append(step)


def threads_left() -> list[str]:
    """Return the threads that do not end although everything else has, by name."""
    others = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    deadline = monotonic() + PATIENCE_SECONDS
    for thread in others:
        thread.join(max(0.0, deadline - monotonic()))
    return [thread.name for thread in others if thread.is_alive()]


def end_in_spite_of(left: list[str], code: int) -> None:
    """Name what is left and end the process at once; return when nothing is."""
    if left:
        say(f"ended in spite of {', '.join(left)}, left running by plugins")
        end_at_once(code)  # They would keep the process for as long as they please.


def end_at_once(code: int) -> NoReturn:
    """End the process, and the servers that are plugins with it, whatever else is going on."""
    # Not above, for it would slow down `--help`.
    from dagstack_dev.runtimes import process_groups  # noqa: PLC0415
    from dagstack_dev.runtimes.mcp import snapshot_copy  # noqa: PLC0415

    for step in _last_steps:
        step()
    process_groups.kill_all()
    snapshot_copy.remove_all()
    with suppress(OSError, RuntimeError, ValueError, AttributeError):
        sys.stdout.flush()  # It may be closed, replaced, or interrupted while it writes.
    os._exit(code)
