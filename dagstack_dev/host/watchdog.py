"""Names the synchronous plugin method that keeps the event loop busy."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.events import PluginBlocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from dagstack_dev.core.refs import PluginRef

BLOCKING_SECONDS: Final = 1.0
"""How long a synchronous method may keep the loop before it is named."""


class _Call(NamedTuple):
    ref: PluginRef
    method: str
    folder: str
    began: float


class Watchdog:
    """Looks from a thread of its own at what the loop's thread is doing.

    The thread exists only while something is watched (`with watchdog.watching():`), which covers
    a whole setup or teardown run, so that a single call costs two assignments.

    Args:
        report: called from the watchdog's thread, at once, for the loop may stay busy for long.
    """

    def __init__(self, report: Callable[[PluginBlocking], None]) -> None:
        self._report = report
        self._call: _Call | None = None
        self._stop: threading.Event | None = None
        self._depth = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep an eye on the calling thread."""
        self._depth += 1
        if self._depth == 1:
            self._stop = threading.Event()
            threading.Thread(
                target=self._watch,
                args=(self._stop, threading.get_ident()),
                name="dagstack-dev watchdog",
                daemon=True,
            ).start()
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self._stop is not None:
                self._stop.set()

    @contextmanager
    def calling(self, ref: PluginRef, method: str, folder: str | None) -> Iterator[None]:
        """A synchronous method of `ref`, whose code lies in `folder`, runs inside this block."""
        outer = self._call
        self._call = _Call(ref, method, folder or "", monotonic())
        try:
            yield
        finally:
            self._call = outer

    def _watch(self, stop: threading.Event, thread: int) -> None:
        reported = None
        while not stop.wait(BLOCKING_SECONDS / 5):
            call = self._call
            if call is None or call is reported:
                continue
            seconds = monotonic() - call.began
            if seconds < BLOCKING_SECONDS:
                continue
            frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way
            path, line = _place(frame, call.folder)
            if call is self._call:
                reported = call
                self._report(
                    PluginBlocking(
                        ref=call.ref, method=call.method, seconds=seconds, path=path, line=line
                    )
                )


def _place(frame: FrameType | None, folder: str) -> tuple[str, int]:
    """The innermost line of the plugin's own code, else of any code."""
    innermost = frame
    while frame is not None:
        if folder and frame.f_code.co_filename.startswith(folder + "/"):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    if innermost is None:
        return "", 0
    return innermost.f_code.co_filename, innermost.f_lineno
