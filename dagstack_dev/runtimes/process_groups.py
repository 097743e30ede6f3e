"""Process groups: whether one still lives, and how it is ended, whatever happens to us."""

from __future__ import annotations

import atexit
import os
import signal
from contextlib import suppress
from pathlib import Path

_ours: dict[int, int] = {}
"""The groups that are to go with this process, each with the process that started it."""


def keep(group: int) -> None:
    """Let `group` be killed when this process ends, unless it is let go of before."""
    _ours[group] = os.getpid()


def release(group: int) -> None:
    """`group` is gone, or nothing that we can help."""
    _ours.pop(group, None)


def kill_all() -> None:
    """Kill every group that is kept: the process is about to end at once."""
    for group, parent in [*_ours.items()]:
        if parent == os.getpid():  # And no copy of it.
            kill(group, signal.SIGKILL)


atexit.register(kill_all)


def kill(group: int, number: signal.Signals) -> None:
    """Send a signal to every process of the group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def is_alive(group: int) -> bool:
    """Return whether any process of the group still runs; a zombie does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _has_running_member(group)


def _has_running_member(group: int) -> bool:
    """Return whether the group consists of more than zombies, where the system shows that.

    Orphans that no parent collects, as in a container without an init, would else look alive.
    """
    processes = Path("/proc")
    if not (processes / "self" / "stat").exists():
        return True
    for stat in processes.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in {"Z", "X"}:
            return True
    return False


def ended(returncode: int) -> str:
    """Return how a process ended, in words."""
    if returncode >= 0:
        return f"exited with code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"
