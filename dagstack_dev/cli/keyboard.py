"""The keyboard of the terminal: read key by key, and given back to whatever else reads it.

Who has it is not remembered but looked up, in the mode of the terminal: a key is ours only while
that is. So a debugger, and a shell that puts us into the background, need not know of us.
"""

from __future__ import annotations

import builtins
import os
import re
import signal
import sys
import termios
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dagstack_dev.cli.signals import answer
from dagstack_dev.core.frames import callers
from dagstack_dev.host.loop.limits import any_at_prompt

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

_Read = TypeVar("_Read")

_NO_KEYS: Final = re.compile(r"\x1b(\[[0-9;]*[@-~]|O.)?")
"""What arrows and the like send."""

_READS: Final = {"read", "readline", "readlines", "read1", "readinto", "readinto1"}


class Keyboard:
    """Calls a function for each key, unless something else reads the terminal.

    Args:
        on_key: called in the event loop, with one character.
        on_lost: called when plugin code reads the descriptor of standard input by itself: there
            are no keys from then on.

    Raises:
        OSError: the terminal cannot be opened.
    """

    def __init__(self, on_key: Callable[[str], object], on_lost: Callable[[], object]) -> None:
        # Opened again, for the descriptor that others share must not become non-blocking.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self._terminal = os.open(os.ttyname(0), flags)
        self._on_key, self._on_lost = on_key, on_lost
        self._found = termios.tcgetattr(self._terminal)
        self._ours: list[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.RLock()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read keys in `loop` from now on."""
        self._loop = loop
        builtins.input = partial(self._ask, builtins.input)
        sys.stdin = _Shared(sys.stdin, self)
        for number in (signal.SIGTSTP, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_DFL:
                answer(number, self._leave)
        self.keep()

    def keep(self) -> None:
        """Take the keyboard, unless something else uses it; in the event loop, now and then."""
        with self._lock, suppress(OSError, termios.error):  # The terminal is closed.
            if self._loop is None:
                return
            if self.is_lent():
                self._give_back()
            elif self._is_in_foreground():
                mode = termios.tcgetattr(self._terminal)
                # What we were started in may be that of a shell at its prompt.
                is_usual = mode[3] & termios.ICANON and mode[3] & termios.ECHO
                if mode == self._found or (mode != self._ours and is_usual):
                    self._found = mode
                    mode = self._take()
                if mode == self._ours:
                    self._loop.add_reader(self._terminal, self._read, self._loop)

    def end(self) -> None:
        """Leave the terminal as it was found; from anywhere, and more than once."""
        with self._lock:
            self._loop = None
            self._give_back()

    def is_lent(self) -> bool:
        """Return whether a plugin reads standard input, or a debugger is at its prompt."""
        threads = sys._current_frames().values()  # noqa: SLF001 - no other way
        return any(map(_reads, threads)) or any_at_prompt()

    def lend(self, read: Callable[..., _Read], *args: Any, **kwargs: Any) -> _Read:
        """Call `read` with the keyboard left to it; `keep` takes it again after it."""
        with self._lock:
            self._give_back()
        return read(*args, **kwargs)

    def give_away(self) -> None:
        """Leave the keyboard for good to code that asks for the descriptor, not to what reads."""
        if self._loop is not None and not self.is_lent():
            self.end()
            self._on_lost()

    def _ask(self, ask: Callable[..., str], *args: Any) -> str:
        """Call `input` with the keyboard left to it.

        It passes over whatever the methods of standard input raise, even for a Ctrl-C that comes
        while they run. Those of the real one are no Python code, and none answers it.
        """
        shared = sys.stdin
        if isinstance(shared, _Shared):
            sys.stdin = shared.stream
        try:
            return self.lend(ask, *args)
        finally:
            sys.stdin = shared

    def _take(self) -> list[Any]:
        mode = termios.tcgetattr(self._terminal)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._terminal, termios.TCSANOW, mode)
        self._ours = termios.tcgetattr(self._terminal)
        return self._ours

    def _give_back(self) -> None:
        with suppress(OSError, termios.error):  # The terminal is closed.
            if self._is_in_foreground() and termios.tcgetattr(self._terminal) == self._ours:
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._found)

    def _is_in_foreground(self) -> bool:
        """Return whether the terminal is ours; in the background, to touch it would stop us."""
        try:
            return os.tcgetpgrp(self._terminal) == os.getpgrp()
        except OSError:  # It controls no session: there are no jobs.
            return True

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        keys = self.take()
        if keys is None:
            loop.remove_reader(self._terminal)
        for key in keys or "":
            if self._loop is not None:  # Else a key has ended the reading.
                self._on_key(key)

    def take(self) -> str | None:
        """Take the keys that wait, in any thread; None where the terminal is not ours."""
        with self._lock:
            try:
                is_ours = (
                    self._loop is not None
                    and not self.is_lent()  # A debugger prints before it reads.
                    and self._is_in_foreground()
                    and termios.tcgetattr(self._terminal) == self._ours
                )
                keys = os.read(self._terminal, 1024) if is_ours else b""
            except BlockingIOError:
                return ""
            except (OSError, termios.error):  # The terminal is closed.
                keys = b""
        return _NO_KEYS.sub("", keys.decode(errors="replace")) if keys else None

    def _leave(self, number: int, _: FrameType | None) -> None:
        """Stop as by Ctrl-Z, or end as by SIGQUIT, with the terminal as the shell expects it.

        Python calls this when the C code that is under way returns. A thread behind a wake-up
        descriptor would not have to wait where that has released the interpreter, but event loops
        set that descriptor, too, and only the main thread can let the signal do its usual work.
        """
        with self._lock:
            self._give_back()
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), number)  # Goes on here after `fg`.
        signal.signal(number, self._leave)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.keep)


class _Shared:
    """Standard input, whose reads have the keyboard.

    Args:
        stream: what it is.
        keyboard: the keyboard.
    """

    def __init__(self, stream: Any, keyboard: Keyboard) -> None:
        self.stream, self._keyboard = stream, keyboard

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.stream, name)
        if name in {"buffer", "raw"}:
            return _Shared(found, self._keyboard)
        return partial(self._keyboard.lend, found) if name in _READS else found

    def __iter__(self) -> _Shared:
        return self

    def __next__(self) -> Any:
        return self._keyboard.lend(next, self.stream)

    def fileno(self) -> int:
        """Return the descriptor, with which anything may be done."""
        self._keyboard.give_away()
        return self.stream.fileno()  # type: ignore[no-any-return]


def _reads(thread: FrameType) -> bool:
    """Return whether a thread that is at this frame has been lent the keyboard."""
    return any(frame.f_code is Keyboard.lend.__code__ for frame in callers(thread))
