"""Limits in running time: they do not count while a debugger has stopped the program.

The time is taken from the watchdog's thread (`host.loop.watchdog`), which looks several times a
second whether some thread is at a debugger's prompt. Where it does not get to look for longer than
that, everything has been stopped, as by an IDE or by `SIGSTOP`, and that does not count either.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from dagstack_dev.core.frames import callers
from dagstack_dev.host.loop.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_LONGEST_GAP: Final = 1.0
"""How long there may be no look, on a busy machine, before the program counts as stopped."""

_STANDARD_LIBRARY: Final = f"{os.path.dirname(os.__file__)}/"  # noqa: PTH120 - compared with names


class _Looks(NamedTuple):
    """What the looks have found: replaced as a whole, since several threads read it.

    Attributes:
        last: when the last look was, None while the watchdog is off.
        is_held: whether a debugger held the program then.
        lost: the seconds that have not counted.
    """

    last: float | None = None
    is_held: bool = False
    lost: float = 0.0

    def lost_at(self, now: float) -> float:
        if self.last is None:
            return self.lost
        gap = now - self.last
        return self.lost + (gap if self.is_held else max(0.0, gap - _LONGEST_GAP))


_looks = _Looks()


def running_time() -> float:
    """Read a clock in seconds that stands still while a debugger has stopped the program."""
    now = monotonic()
    return now - _looks.lost_at(now)


def ms_since(began: float) -> float:
    """Return the milliseconds since `began`, which `perf_counter` told."""
    return (perf_counter() - began) * 1000


def lost_seconds() -> float:
    """Return how long debuggers have stopped the program."""
    return _looks.lost_at(monotonic())


def is_held() -> bool:
    """Return whether a debugger held the program at the last look."""
    return _looks.is_held


def look() -> bool:
    """Note whether a debugger holds the program; from a thread of its own, again and again."""
    global _looks  # noqa: PLW0603 - it is about the process
    before, now = _looks, monotonic()
    is_held = any(is_at_prompt(frame) for frame in sys._current_frames().values())  # noqa: SLF001 - no other way
    lost = before.lost_at(now)
    if is_held and not before.is_held and before.last is not None:
        lost = before.lost + now - before.last
    _looks = _Looks(now, is_held, lost)
    return is_held


def look_no_more() -> None:
    """Stop counting, until the next `look`."""
    global _looks  # noqa: PLW0603 - it is about the process
    _looks = _Looks(lost=_looks.lost_at(monotonic()))


def is_at_prompt(frame: FrameType | None) -> bool:
    """Return whether a thread that is at `frame` waits for a person: in a debugger or a console.

    Debuggers that derive from `bdb`, as pdb, ipdb and pudb do, wait within their trace function;
    pydevd, which is in debugpy and PyCharm, in a function of its own.
    """
    codes = (each.f_code for each in callers(frame))
    return any(
        each.co_name in _WAITING and _waits(each.co_name, each.co_filename) for each in codes
    )


_WAITING: Final = {
    "trace_dispatch": f"{_STANDARD_LIBRARY}bdb.py",
    "interaction": "",
    "cmdloop": "",
    "_do_wait_suspend": "pydevd.py",
    "do_wait_suspend": "pydevd.py",
    "interact": f"{_STANDARD_LIBRARY}code.py",
    "mainloop": "IPython/terminal/embed.py",
}
"""The functions in which they wait, and how the names of their files end."""


def _waits(name: str, path: str) -> bool:
    return path.endswith(_WAITING[name] or ("/pdb.py", "/debugger.py", "/pdbpp.py"))


@contextmanager
def move_on_after(seconds: float) -> Iterator[anyio.CancelScope]:
    """As `anyio.move_on_after`, in running time."""
    with anyio.CancelScope() as scope:
        stop = call_after(seconds, scope.cancel)
        try:
            yield scope
        finally:
            stop()


def call_after(seconds: float, function: Callable[[], object]) -> Callable[[], object]:
    """Call `function` after `seconds` of running time; what is returned keeps it from that."""
    ends = running_time() + seconds
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # On trio.
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                while (left := ends - running_time()) > 0:
                    await anyio.sleep(left)
                function()

        spawn(wait, "dagstack limit")
        return scope.cancel

    return _Timer(loop, ends, function).stop


class _Timer:
    """Calls `function` on `loop` when the running time is `ends`, and leaves no circle behind."""

    __slots__ = ("_ends", "_function", "_handle", "_loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ends: float, function: Callable[[], object]
    ) -> None:
        self._loop, self._ends, self._function = loop, ends, function
        self._handle: asyncio.Handle | None = None
        self._wait()

    def _wait(self) -> None:
        self._handle = self._loop.call_later(max(self._ends - running_time(), 0), self._look)

    def _look(self) -> None:
        if running_time() < self._ends:
            self._wait()
        else:
            self._handle = None
            self._function()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
