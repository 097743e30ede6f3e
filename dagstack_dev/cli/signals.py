"""Ctrl-C: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.cli.leftovers import at_the_end, end_at_once
from dagstack_dev.core.frames import is_at_prompt

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import FrameType

INTERRUPTED: Final = 130
"""Exit code of a program that was ended at once: 128 and the number of SIGINT."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Whether the program has been asked to end, by a signal or because its reader is gone."""

    def __init__(self) -> None:
        self.asked = False
        self._stop: Callable[[], object] = lambda: None
        self._answered: list[signal.Signals] = []

    def on_signals(self) -> None:
        """From now on SIGINT, SIGTERM and SIGHUP ask; a second one ends the program at once.

        The handlers run between two bytecodes of the main thread, so that the second signal works
        even while a plugin blocks the event loop. They stay for the rest of the process: a thread
        that a plugin left behind must not make it deaf.
        """
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is signal.SIG_DFL:  # not nohup
                answer(number, self._handle)
                self._answered.append(number)

    @property
    def answers_ctrl_c(self) -> bool:
        """Whether Ctrl-C still comes here, and not to a handler that plugin code has put in."""
        return signal.getsignal(signal.SIGINT) == self._handle

    def take_back(self) -> Iterator[tuple[signal.Signals, Any]]:
        """Put the handlers back that something has replaced; those signals, and by what."""
        for number in self._answered:
            found = signal.getsignal(number)
            if found != self._handle:
                signal.signal(number, self._handle)
                yield number, found

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if is_at_prompt(frame):  # It is for the debugger, which takes it for its own affair.
                raise KeyboardInterrupt
            _wipe_echo()
        if self.asked:
            end_at_once(INTERRUPTED)
        self.ask()

    def ask(self) -> None:
        """Ask for an orderly end; from any thread."""
        self.asked = True
        with suppress(RuntimeError):  # The loop has ended already.
            self._stop()

    @contextmanager
    def calling(self, stop: Callable[[], None], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Inside this block, asking calls `stop` in `loop`; at once if that was before it."""
        self._stop = partial(loop.call_soon_threadsafe, stop)
        if self.asked:
            stop()
        try:
            yield
        finally:
            self._stop = lambda: None


_answered: Final[dict[signal.Signals, Callable[[int, FrameType | None], object]]] = {}


def answer(number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> None:
    """Have `handler` answer a signal here, and not in children that plugin code forks."""
    signal.signal(number, handler)
    if not _answered:
        os.register_at_fork(after_in_child=_leave_to_default)
        at_the_end(_ignore)
    _answered[number] = handler


def _leave_to_default() -> None:
    """Answer no signal any more, and wake no event loop: they are those of the parent."""
    signal.set_wakeup_fd(-1)
    for number, handler in _answered.items():
        if signal.getsignal(number) == handler:
            is_ctrl_c = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)


def _ignore() -> None:
    """Let nothing break into the end of the process, as what the watchdog raises would."""
    for number in _answered:
        signal.signal(number, signal.SIG_IGN)


def _wipe_echo() -> None:
    """Write over the `^C` that a terminal shows, for what is printed next begins behind it."""
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\r  \r")
