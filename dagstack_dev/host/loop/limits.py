"""Limits in running time: they do not count while a debugger has stopped the program.

The time is taken from the watchdog's thread (`host.loop.watchdog`), which looks several times a
second whether some thread is at a debugger's prompt. Where it does not get to look for longer than
that, everything has been stopped, as by an IDE or by `SIGSTOP`, and that does not count either.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from dagstack_dev.core.frames import is_at_prompt
from dagstack_dev.host.loop.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST_GAP: Final = 1.0
"""How many seconds without a look, as on a busy machine, still count."""


class _Looks(NamedTuple):
    """What the looks have found: replaced as a whole, since several threads read it.

    Attributes:
        last: when the last look was, None while there are none.
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


def any_at_prompt() -> bool:
    """Return whether any thread of this process waits for a person at a prompt."""
    return any(map(is_at_prompt, sys._current_frames().values()))  # noqa: SLF001 - no other way


class RunningClock:
    """A clock that stands still while a debugger has stopped the program.

    Args:
        monotonic: what it shows while nothing stops it, in seconds.
        is_stopped: returns whether a debugger holds the program now.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = monotonic,
        is_stopped: Callable[[], bool] = any_at_prompt,
    ) -> None:
        self._monotonic = monotonic
        self._is_stopped = is_stopped
        self._looks = _Looks()

    def now(self) -> float:
        """Return the seconds that have counted."""
        now = self._monotonic()
        return now - self._looks.lost_at(now)

    def lost_seconds(self) -> float:
        """Return how long debuggers have stopped the program."""
        return self._looks.lost_at(self._monotonic())

    def is_held(self) -> bool:
        """Return whether a debugger held the program at the last look."""
        return self._looks.is_held

    def look(self) -> bool:
        """Note whether a debugger holds the program; from a thread of its own, again and again."""
        before, now = self._looks, self._monotonic()
        is_held = self._is_stopped()
        lost = before.lost_at(now)
        if is_held and not before.is_held and before.last is not None:
            lost = before.lost + now - before.last
        self._looks = _Looks(now, is_held, lost)
        return is_held

    def look_no_more(self) -> None:
        """Stop counting what is lost, until the next `look`."""
        self._looks = _Looks(lost=self.lost_seconds())


process_clock: Final = RunningClock()
"""The one that all limits go by, for a debugger stops the process as a whole."""

running_time: Final = process_clock.now


def ms_since(began: float) -> float:
    """Return the milliseconds since `began`, a reading of `perf_counter`."""
    return (perf_counter() - began) * 1000


@contextmanager
def move_on_after(seconds: float) -> Iterator[anyio.CancelScope]:
    """Cancel what is in this block after some time, as `anyio.move_on_after` does.

    Args:
        seconds: of running time.
    """
    with anyio.CancelScope() as scope:
        stop = call_after(seconds, scope.cancel)
        try:
            yield scope
        finally:
            stop()


def call_after(seconds: float, function: Callable[[], object]) -> Callable[[], object]:
    """Call `function` after some time, unless what is returned has been called by then.

    Args:
        seconds: of running time.
        function: called in the running event loop.
    """
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
