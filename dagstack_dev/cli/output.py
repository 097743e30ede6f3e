"""Where the command line writes: descriptors of its own, and text that does nothing there."""

from __future__ import annotations

import errno
import os
import re
import select
import sys
import threading
from contextlib import suppress
from io import TextIOBase
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

STANDARD_DESCRIPTORS: Final = (0, 1, 2)

_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO})
"""Errors by which a pipe or a terminal says that its reader is gone."""


_ACTING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f"  # C0, without tab and newline, with which lines are laid out
    "\x7f-\x9f"  # DEL and C1
    "\u2028-\u202e\u2066-\u2069"  # ends of lines; what overrides the direction of text
    "\ud800-\udfff]"  # halves of characters, which no encoding can write
)
"""Characters that do something, or make what they stand in unreadable for others.

File names, source lines, log messages and what servers answer may hold characters that a terminal
obeys: they move its cursor, change its title, reverse the order of a line.
"""


_WIPE: Final = "\r\x1b[K"


class OutputFile(TextIOBase):
    """Text straight to a descriptor.

    Nothing is buffered, so that nothing waits for the end and a full disk spoils no later line.
    What cannot be written is lost; that is reported once, on standard error.

    Args:
        descriptor: where to; it is never closed.
        name: for the message.
        encoding: of the text; what it has no character for is written as an escape.
    """

    def __init__(self, descriptor: int, name: str, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._name = name
        self._encoding = encoding
        self._torn = False
        self._reported = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has a plain attribute
        """The name of the encoding."""
        return self._encoding

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write all of `text`, or report why not.

        Raises:
            OSError: its reader is gone.
        """
        data = ("\n" if self._torn else "").encode() + text.encode(
            self._encoding, "backslashreplace"
        )
        whole = len(data)
        try:
            while data:
                data = data[self._write_some(data) :]
            self._torn = False
        except OSError as error:
            self._torn = self._torn or len(data) < whole
            if error.errno in _GONE:
                raise
            self._report(error)
        return len(text)

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # Someone shares the terminal and has made it non-blocking.
            select.select([], [self._descriptor], [])
            return 0

    def _report(self, error: OSError) -> None:
        if not self._reported:
            self._reported = True
            say(f"{self._name} cannot be written: {error.strerror}; the server goes on without it")

    def to_nowhere(self) -> None:
        """Write into the void from now on."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor, inheritable=False)
            os.close(nowhere)


class StandardOutput(OutputFile):
    """Standard output, on a descriptor that plugins do not know.

    Args:
        shared: whether what plugins print is to come out there too; else it goes to standard
            error, and so does what C code and child processes write.
        on_closed: called when its reader is gone.
    """

    def __init__(self, *, shared: bool, on_closed: Callable[[], None]) -> None:
        stream = sys.stdout
        encoding = "utf-8"
        if stream is not None:
            stream.flush()
            if shared:
                encoding = stream.encoding
        super().__init__(os.dup(1), "standard output", encoding)
        self._lock = threading.RLock()
        self._is_passing = False
        self._on_closed = on_closed
        os.register_at_fork(after_in_child=self._leave_to_parent)
        if shared:
            _write_lines_at_once(stream)
        else:
            os.dup2(2, 1)
            sys.stdout = sys.stderr

    def _leave_to_parent(self) -> None:
        """Write to standard error from now on: our reader is to see our end, not a child's."""
        with suppress(OSError):
            os.dup2(2, self._descriptor, inheritable=False)
        self._on_closed = lambda: None

    def write(self, text: str) -> int:
        """Write `text`; call `on_closed` for a reader that is gone, which is no error."""
        with self._lock:
            self.wipe()
            return self._write(text)

    def write_passing(self, line: Callable[[], str], is_late: Callable[[], bool]) -> None:
        """Write a line to a terminal that goes with the next output, unless it `is_late`."""
        with self._lock:
            if not is_late():
                self._write(f"{_WIPE}{line()}\r")
                self._is_passing = True

    def wipe(self) -> None:
        """Remove what `write_passing` has written."""
        with self._lock:
            if self._is_passing:
                self._is_passing = False
                self._write(_WIPE)

    def _write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            self.to_nowhere()
            self._on_closed()
            return len(text)


def _write_lines_at_once(stream: object) -> None:
    """Keep what is printed in order with what is written beside it, and whole."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:  # A file name that is no text must not break a line.
        reconfigure(errors="backslashreplace", line_buffering=True)


def say(message: str) -> None:
    """Write one line to standard error, unless a plugin has closed that."""
    with suppress(OSError, ValueError, AttributeError):
        click.echo(printable(f"dagstack-dev: {message}"), err=True)


def open_missing_descriptors() -> None:
    """Let descriptors that the caller has closed lead nowhere.

    Otherwise the next file opened would become standard output, and be written to as such.
    """
    for number in STANDARD_DESCRIPTORS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free.


def printable(text: str) -> str:
    r"""Return `text` with what a terminal would obey written as Python would, as in `\x1b`."""
    return _ACTING.sub(_as_escape, text)


def printable_styled(line: str) -> str:
    """Return `line` likewise, but for our own colours."""
    return "\x1b".join(map(printable, line.split("\x1b")))


def printable_json(line: str) -> str:
    r"""Return the same for one line of JSON, which stays JSON and says the same.

    Only the half of a character becomes text, as in `\udc80`: many parsers refuse the whole line
    over one.
    """
    return line if line.isprintable() else _ACTING.sub(_as_json_escape, line)


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - one byte


def _as_json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"  # noqa: PLR2004
