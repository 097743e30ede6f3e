"""The file of `--trace`: reloads in the Trace Event Format, one after the other."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from dagstack_dev.cli.output import say
from dagstack_dev.core.reloads import Reload
from dagstack_dev.core.trace import Trace

if TYPE_CHECKING:
    from dagstack_dev.core.reloads import ReloadRecord

_END: Final = b"\n]\n"


class TraceFile:
    """A file that is a whole JSON array after each reload, however the process ends.

    Viewers differ in whether they take an array without its end, so the end is written with each
    reload, and the next one over it.

    Args:
        path: the file; it is emptied, and one that is made is for its owner alone.

    Raises:
        OSError: it cannot be opened, or is no file in which one can write at any place.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._trace = Trace()
        self._length = 0
        self._is_broken = False
        self._write(b"[")

    def write(self, record: ReloadRecord) -> None:
        """Add a reload, or part of one.

        What cannot be written is reported, and the file ends before it.
        """
        if self._is_broken:
            return
        events = ",\n".join(map(json.dumps, self._trace.events(Reload((record,)))))
        try:
            self._write(f"{',' if self._length > 1 else ''}\n{events}".encode())
        except OSError as error:
            self._is_broken = True
            self._write(b"")
            os.ftruncate(self._descriptor, self._length + len(_END))
            say(f"--trace {self._path} cannot be written: {error.strerror}; the server goes on")

    def _write(self, text: bytes) -> None:
        at, left = self._length, text + _END
        while left:
            written = os.pwrite(self._descriptor, left, at)
            at, left = at + written, left[written:]
        self._length += len(text)
