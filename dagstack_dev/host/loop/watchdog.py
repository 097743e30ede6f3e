"""Names the synchronous plugin method that keeps the event loop busy, and breaks into it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import ReferenceType, ref

from dagstack_dev.core.errors.life import BlockedOutdated, BlockedTooLong
from dagstack_dev.core.events import PluginBlocking
from dagstack_dev.host.loop import limits
from dagstack_dev.host.loop.stacks import frame_of, running_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from dagstack_dev.core.refs import PluginRef

BLOCKING_SECONDS: Final = 1.0
"""How long a synchronous method may keep the loop before it is named."""

LINGER_SECONDS: Final = 10.0
"""How long the watching thread outlives the last run that it watched."""


class _Call(NamedTuple):
    plugin: PluginRef
    method: str
    folder: str
    began: float
    seconds: float


class Watchdog:
    """Looks from a thread of its own at what the loop's thread is doing.

    The thread exists only while something is watched (`with watchdog.watching():`, which covers a
    whole setup or teardown run) and for some seconds after, since starting a thread takes longer
    than a whole small reload. A single call costs two assignments.

    Args:
        report: called from the watchdog's thread, at once, for the loop may stay busy for long.

    Attributes:
        interrupt: makes the watched thread call `break_off`, whatever it does; None, as in an
            app, which has its own signals: then a method that never returns is only named.
        is_outdated: tells of a plugin and the seconds that its import or `setup` has taken
            whether that need not go on, for it was edited.
    """

    interrupt: Callable[[], None] | None = None
    is_outdated: Callable[[PluginRef, float], bool] = staticmethod(lambda *_: False)

    def __init__(self, report: Callable[[PluginBlocking], None]) -> None:
        self._report = report
        self._call: _Call | None = None
        self._reported: _Call | None = None
        self._overdue: _Call | None = None
        self._watched = 0
        self._depth = 0
        self._needed_until = 0.0
        self._lock = threading.Lock()
        self.wake = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep an eye on the calling thread."""
        self._depth += 1
        self._watched = threading.get_ident()
        self._needed_until = inf
        with self._lock:
            self.wake.clear()  # It may be set still, by a `stop` that did not wait long enough.
            if self._thread is None:
                name = "dagstack-dev watchdog"
                thread = threading.Thread(target=_watch, args=(ref(self),), name=name, daemon=True)
                # Debuggers suspend every thread but these; this one has to see that they do.
                vars(thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)
                with suppress(RuntimeError):  # No thread can be had: then nothing is watched.
                    thread.start()
                    self._thread = thread
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._needed_until = monotonic() + LINGER_SECONDS

    def calling(
        self, plugin: PluginRef, method: str, folder: str | None, seconds: float
    ) -> Calling:
        """Return a context manager in which a synchronous method of `plugin` runs.

        Raises:
            BlockedTooLong: it took longer than `seconds`, and there is `interrupt`.
        """
        return Calling(self, _Call(plugin, method, folder or "", limits.running_time(), seconds))

    def swap(self, call: _Call | None) -> _Call | None:
        """Make `call` the one under way, and return which one was."""
        outer, self._call = self._call, call
        return outer

    def look(self) -> None:
        """Report the call under way once, when it has taken long; break into it when too long.

        Not while a debugger holds the program, nor does that time count.
        """
        call = self._call
        is_held = limits.look()
        if is_held:
            self._needed_until = max(self._needed_until, monotonic() + LINGER_SECONDS)
        if call is None or is_held:
            return
        seconds = limits.running_time() - call.began
        if self.interrupt is not None and (
            seconds >= call.seconds or self._is_useless(call, seconds)
        ):
            self._overdue = call  # Again with every look: plugin code may catch what is raised.
            self.interrupt()
        if call is self._reported or seconds < BLOCKING_SECONDS:
            return
        at = running_at(call.method, frame_of(self._watched), call.folder)
        if call is self._call:
            self._reported = call
            self._report(
                PluginBlocking(
                    ref=call.plugin,
                    method=call.method,
                    seconds=seconds,
                    path=at.path or "",
                    line=at.line or 0,
                )
            )

    def _is_useless(self, call: _Call, seconds: float) -> bool:
        if seconds < BLOCKING_SECONDS or call.method not in {"import", "setup"}:
            return False
        try:
            return self.is_outdated(call.plugin, seconds)
        except (KeyError, RuntimeError):  # The loop goes on, and changes what is looked at.
            return False

    def break_off(self, frame: FrameType | None) -> None:
        """Raise in the midst of the call that is overdue, in the watched thread, at `frame`."""
        call, self._overdue = self._overdue, None
        if call is not None and call is self._call:
            seconds = limits.running_time() - call.began
            kind = BlockedTooLong if seconds >= call.seconds else BlockedOutdated
            at = running_at(call.method, frame, call.folder)
            raise kind(call.seconds, at.path or "", at.line or 0)

    def stop(self) -> None:
        """End the thread, if nothing is being watched; the next run starts another one."""
        thread = self._thread
        if self._depth == 0 and thread is not None:
            self._needed_until = 0.0
            self.wake.set()
            thread.join(BLOCKING_SECONDS / 5)

    def is_needed(self) -> bool:
        """Return whether its thread is to go on; if not, the next run starts another one."""
        with self._lock:
            if monotonic() < self._needed_until:
                return True
            self._thread = None
            limits.look_no_more()
            return False

    def thread_ended(self) -> None:
        """Its thread ends with an exception; the next run starts another one."""
        with self._lock:
            self._thread = None


class Calling:
    """A call is under way inside this block.

    A class, as `contextmanager` takes several times as long, thrice for each plugin of a reload.

    Attributes:
        seconds: how long it took, less the calls in its midst.
    """

    __slots__ = ("_call", "_watchdog", "seconds")

    def __init__(self, watchdog: Watchdog, call: _Call) -> None:
        self._watchdog = watchdog
        self._call: _Call | None = call
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._call = self._watchdog.swap(self._call)

    def __exit__(self, *_: object) -> None:
        outer = self._call
        inner = self._watchdog.swap(outer)
        if inner is not None:
            self.seconds = limits.running_time() - inner.began
        if outer is not None and inner is not None:  # The time of the one is not the other's.
            began = outer.began + self.seconds
            self._watchdog.swap(outer._replace(began=began))


def _watch(watchdog: ReferenceType[Watchdog]) -> None:
    """Run the thread; it holds the watchdog, and so the registry, only while it looks."""
    while (found := watchdog()) is not None and found.is_needed():
        try:
            found.look()
        except BaseException:
            found.thread_ended()
            raise
        wake = found.wake
        del found
        wake.wait(BLOCKING_SECONDS / 5)
