"""Names the synchronous plugin method that keeps the event loop busy, and breaks into it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import ReferenceType, ref

import anyio

from dagstack_dev.core.blame import innermost_of_plugins
from dagstack_dev.core.errors.life import BlockedOutdated, BlockedTooLong
from dagstack_dev.core.events import PluginBlocking, PluginBlockingEnded
from dagstack_dev.core.frames import never_suspend
from dagstack_dev.host.loop.limits import process_clock, running_time
from dagstack_dev.host.loop.stacks import frame_of, running_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from dagstack_dev.core.refs import PluginRef

LINGER_SECONDS: Final = 10.0
"""How long the watching thread outlives the last run that it watched."""

BEAT_SECONDS: Final = 0.5
"""How often a loop that is watched as a whole shows that it answers."""


@dataclass(slots=True, eq=False)
class _Call:
    """A call of the server's own; without a `plugin`, whatever the loop does between two beats.

    Attributes:
        began: in running time, without the calls in its midst.
        seconds: how long it may take.
        reported: that it keeps the loop busy, if it does.
    """

    plugin: PluginRef | None
    method: str
    folder: str
    began: float
    seconds: float
    reported: PluginBlocking | None = None


class Watchdog:
    """Looks from a thread of its own at what the loop's thread is doing.

    The thread exists only while something is watched (`with watchdog.watching():`, which covers a
    whole setup or teardown run, or `watch_all`) and for some seconds after, since starting a thread
    takes longer than a whole small reload. A single call costs two assignments.

    Args:
        report: called from the watchdog's thread, at once, for the loop may stay busy for long; in
            the loop when it no longer is.
        plugin_at: returns the plugin that the file at a path belongs to.
        blocking_seconds: how long a synchronous method may keep the loop before it is named.

    Attributes:
        interrupt: makes the watched thread call `break_off`, whatever it does; None, as in an
            app, which has its own signals: then a method that never returns is only named.
        while_blocked: called from the watchdog's thread with what keeps the loop busy, again and
            again for as long as it does.
        is_outdated: returns, for a plugin and the seconds that its import or `setup` has taken,
            whether that need not go on, for the plugin was edited.
        call: the one under way.
        pause: the seconds between two looks.
        wake: ends a pause.
    """

    interrupt: Callable[[], None] | None = None
    while_blocked: Callable[[PluginBlocking], None] = staticmethod(lambda _: None)
    is_outdated: Callable[[PluginRef, float], bool] = staticmethod(lambda *_: False)

    def __init__(
        self,
        report: Callable[[PluginBlocking | PluginBlockingEnded], None],
        plugin_at: Callable[[str], PluginRef | None],
        *,
        blocking_seconds: float = 1.0,
    ) -> None:
        self._report = report
        self._plugin_at = plugin_at
        self._blocking_seconds = blocking_seconds
        self.pause = blocking_seconds / 5
        self.call: _Call | None = None
        self._overdue: _Call | None = None
        self._watched = 0
        self._depth = 0
        self._needed_until = 0.0
        self._reporting = threading.Lock()
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
            if self._thread is None or not self._thread.is_alive():  # A report may have ended it.
                name = "dagstack-dev watchdog"
                thread = threading.Thread(target=_watch, args=(ref(self),), name=name, daemon=True)
                never_suspend(thread)  # It has to see that all others are.
                with suppress(RuntimeError):  # No thread can be had: then nothing is watched.
                    thread.start()
                    self._thread = thread
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._needed_until = monotonic() + LINGER_SECONDS

    async def watch_all(self) -> None:
        """Report what keeps the running event loop busy, whoever has called it, until cancelled."""
        with self.watching():
            try:
                while True:
                    self._beat(_Call(None, "", "", running_time() + BEAT_SECONDS, inf))
                    await anyio.sleep(BEAT_SECONDS)
            finally:
                self._beat(None)

    def _beat(self, call: _Call | None) -> None:
        if self.call is not None:
            self.note_end(self.call)
        self.call = call

    def note_end(self, call: _Call) -> None:
        """Report that `call` does not keep the loop busy any more, if it was reported to."""
        if call.reported is None:
            return
        seconds = running_time() - call.began
        with self._reporting:  # The one report follows the other, at every observer.
            before = call.reported
        if before is not None:
            self._report(PluginBlockingEnded(ref=before.ref, method=before.method, seconds=seconds))

    def calling(
        self, plugin: PluginRef, method: str, folder: str | None, seconds: float
    ) -> Calling:
        """Return a context manager in which a synchronous method of `plugin` runs.

        Raises:
            BlockedTooLong: it took longer than `seconds`, and there is `interrupt`.
        """
        return Calling(self, _Call(plugin, method, folder or "", running_time(), seconds))

    def busy_seconds(self) -> tuple[float, bool]:
        """Return how long the loop has been busy if it is now, and whether maybe longer.

        Of any thread.
        """
        call = self.call
        if call is None:
            return 0.0, True
        return max(0.0, running_time() - call.began), call.plugin is None

    def look(self) -> None:
        """Report the call under way once, when it has taken long; break into it when too long.

        Not while a debugger holds the program, nor does that time count.
        """
        call = self.call
        is_held = process_clock.look()
        if is_held:
            self._needed_until = max(self._needed_until, monotonic() + LINGER_SECONDS)
        if call is None or is_held:
            return
        seconds = running_time() - call.began
        if self.interrupt is not None and (
            seconds >= call.seconds or self._is_useless(call, seconds)
        ):
            self._overdue = call  # Again with every look: plugin code may catch what is raised.
            self.interrupt()
        if call.reported is None and seconds >= self._blocking_seconds:
            self._report_blocking(call, seconds)
        if (fact := call.reported) is not None:
            self.while_blocked(fact)

    def _report_blocking(self, call: _Call, seconds: float) -> None:
        fact = self._blocking(call, seconds)
        with self._reporting:
            call.reported = fact  # Before the look whether it has ended: that asks for this.
            if call is not self.call:
                call.reported = None
            elif fact is not None:
                self._report(fact)

    def _blocking(self, call: _Call, seconds: float) -> PluginBlocking | None:
        """Return where `call` is; None where it is no plugin's code that keeps the loop busy."""
        frame, ref, method = frame_of(self._watched), call.plugin, call.method
        if ref is None:
            frame = innermost_of_plugins(frame)
            if frame is None:
                return None
            ref, method = self._plugin_at(frame.f_code.co_filename), frame.f_code.co_name
        at = running_at(method, frame, call.folder)
        path, line = at.path or "", at.line or 0
        return PluginBlocking(ref=ref, method=method, seconds=seconds, path=path, line=line)

    def _is_useless(self, call: _Call, seconds: float) -> bool:
        if call.plugin is None or call.method not in {"import", "setup"}:
            return False
        if seconds < self._blocking_seconds:
            return False
        try:
            return self.is_outdated(call.plugin, seconds)
        except (KeyError, RuntimeError):  # The loop goes on, and changes what is looked at.
            return False

    def break_off(self, frame: FrameType | None) -> None:
        """Raise in the midst of the call that is overdue, in the watched thread, at `frame`."""
        call, self._overdue = self._overdue, None
        if call is not None and call is self.call:
            seconds = running_time() - call.began
            kind = BlockedTooLong if seconds >= call.seconds else BlockedOutdated
            at = running_at(call.method, frame, call.folder)
            raise kind(call.seconds, at.path or "", at.line or 0)

    def stop(self) -> None:
        """End the thread, if nothing is being watched; the next run starts another one."""
        thread = self._thread
        if self._depth == 0 and thread is not None:
            self._needed_until = 0.0
            self.wake.set()
            thread.join(self.pause)

    def is_needed(self) -> bool:
        """Return whether its thread is to go on; if not, the next run starts another one."""
        with self._lock:
            if monotonic() < self._needed_until:
                return True
            self._thread = None
            process_clock.look_no_more()
            return False


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
        self._call, self._watchdog.call = self._watchdog.call, self._call

    def __exit__(self, *_: object) -> None:
        watchdog, outer = self._watchdog, self._call
        inner, watchdog.call = watchdog.call, outer
        if inner is not None:
            self.seconds = running_time() - inner.began
            watchdog.note_end(inner)
        if outer is not None:  # The time of the one is not the other's.
            outer.began += self.seconds


def _watch(watchdog: ReferenceType[Watchdog]) -> None:
    """Run the thread; it holds the watchdog, and so the registry, only while it looks."""
    while (found := watchdog()) is not None and found.is_needed():
        found.look()
        wake, pause = found.wake, found.pause
        del found
        wake.wait(pause)
