"""The calls of plugins, and how those end that are to be torn down."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from dagstack_dev.host.loop.limits import move_on_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.timeline import Call

_FIRST_LOOK_SECONDS: Final = 0.001
POLL_SECONDS: Final = 0.01
"""How often a drain looks for calls that end in other threads, which cannot wake it."""

_STUCK_SECONDS: Final = 0.01
"""How long no call may end before a drain lets in those that wait: others may wait for them."""

_SILENT_SECONDS: Final = 0.05
"""How long no call may end before those in flight count as held by a draining plugin itself."""

_SILENT_LOOKS: Final = 10
"""How many looks, too, that silence has to last: on a busy machine the loop may not have run."""

_LETTING_IN_SHARE: Final = 0.25
"""The part of a drain's time in which it lets in calls that wait; the rest is for them to end."""


class Calls:
    """The calls of one plugin: those in flight, and those that wait at its gate.

    Args:
        ref: the plugin.

    Attributes:
        in_flight: a mark for each. Appending and popping are atomic, so threads need no lock.
        waiting: likewise.
        times_let_in: how often those that waited have been let in.
        drain: what waits for them to end, as long as the plugin still answers.
    """

    __slots__ = (
        "_opened",
        "_threads",
        "drain",
        "in_flight",
        "ref",
        "times_let_in",
        "waiting",
    )

    def __init__(self, ref: PluginRef) -> None:
        self.ref = ref
        self.in_flight: list[None] = []
        self.waiting: list[None] = []
        self.times_let_in = 0
        self.drain: Drain | None = None
        self._opened: anyio.Event | None = None
        self._threads: list[threading.Event] = []  # What each of them waits for.

    def look_again(self) -> None:
        """Have the calls that wait find out whether they may pass now."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(RuntimeError):  # Their loop has been closed, and nothing waits any more.
                opened.set()
        while self._threads:
            self._threads.pop().set()

    def change(self) -> anyio.Event:
        """Return what is set when those that wait are to look again; for the loop's thread."""
        self._opened = self._opened or anyio.Event()
        return self._opened

    def change_for_threads(self) -> threading.Event:
        """Return what is set then, for the calling thread alone."""
        change = threading.Event()
        self._threads.append(change)
        return change

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Count a call as one that waits, and not as in flight, inside this block.

        It is marked again at the end, and looks at the gate after that, as any other does.
        """
        self.waiting.append(None)
        self.in_flight.pop()
        try:
            yield
        finally:
            self.in_flight.append(None)
            self.waiting.pop()


class CallEnd(NamedTuple):
    """That the last call of a plugin has ended, or is not waited for any more.

    Attributes:
        at: when, on the clock of `time.perf_counter`.
        call: which call that was; None where it is unknown.
    """

    at: float
    call: Call | None


class Drain:
    """Plugins that are about to be torn down together: until their calls have ended, they answer.

    New calls wait at their gates. A call that comes from one of them passes, for it is part of what
    is waited for. One from a task that such a call has started looks like a new one; so when no
    call has ended for a while, those that wait are let in together.

    Args:
        plugins: their calls, in the order of the teardowns.

    Attributes:
        began: when, on the clock of `time.perf_counter`.
        draining: the plugins.
        ended: the plugins that had calls in flight, each with the end of the last one.
        has_news: whether a call of any of them has ended since the last look.
        is_over: whether the teardowns have begun.
        token: stands for it where it must not be kept alive.
    """

    __slots__ = (
        "_call_ended",
        "_plugins",
        "began",
        "draining",
        "ended",
        "has_news",
        "is_over",
        "token",
    )

    def __init__(self, plugins: Iterable[Calls]) -> None:
        self._plugins = (*plugins,)
        self._call_ended = anyio.Event()
        self.began = perf_counter()
        self.ended: dict[PluginRef, CallEnd] = {}
        self.draining = frozenset(calls.ref for calls in self._plugins)
        self.has_news = False
        self.is_over = False
        self.token = object()

    async def wait_for_all(self, seconds: float) -> None:
        """Wait until no call is in flight, or none ends any more.

        What does not end, a task of one of the plugins may hold, such as one that reads a stream of
        what it depends on: only the teardown of the one ends it.

        Args:
            seconds: the longest wait.
        """
        await self._wait(self._plugins, seconds, silence=_SILENT_SECONDS)

    async def wait_for(self, calls: Calls, seconds: float) -> int:
        """Wait until no call of one plugin is in flight, and return how many still are.

        Args:
            calls: those of the plugin.
            seconds: the longest wait.
        """
        await self._wait((calls,), seconds)
        return len(calls.in_flight)

    async def _wait(
        self, plugins: Sequence[Calls], seconds: float, *, silence: float = inf
    ) -> None:
        """Wait until no call is in flight at the closed gates of `plugins`.

        When none ends for a while, those in flight may be waiting for calls that are held back:
        then these are let in, as long as there is time for them to end.

        Args:
            plugins: their calls.
            seconds: the longest wait.
            silence: how long no call may end, in seconds, before the wait is over.
        """
        busy = [calls for calls in plugins if calls.in_flight]
        if not busy:  # Nearly always, and there may be thousands of plugins.
            return
        now = quiet_since = anyio.current_time()
        let_in_until = now + seconds * _LETTING_IN_SHARE
        pause, looks = _FIRST_LOOK_SECONDS, 0
        with move_on_after(seconds):
            while busy:
                if not busy[-1].in_flight:
                    busy.pop()  # When all are gone, some may have been called again.
                    busy = busy or [calls for calls in plugins if calls.in_flight]
                    continue
                self._call_ended = anyio.Event()
                with anyio.move_on_after(pause):
                    await self._call_ended.wait()
                pause = min(2 * pause, POLL_SECONDS)
                now, looks = anyio.current_time(), looks + 1
                quiet = now - quiet_since
                if self.has_news or (
                    quiet >= _STUCK_SECONDS and now < let_in_until and self._let_in()
                ):
                    self.has_news, quiet_since, looks = False, now, 0
                elif quiet >= silence and looks >= _SILENT_LOOKS:
                    return

    def _let_in(self) -> bool:
        """Let the calls that wait now go on to the instances that still answer; if any do."""
        waited_for = [calls for calls in self._plugins if calls.waiting and calls.drain is self]
        for calls in waited_for:
            calls.times_let_in += 1
            calls.look_again()
        return bool(waited_for)

    def note_end(self, ref: PluginRef, call: Call | None) -> None:
        """Note that no call of `ref` is waited for now; `call` was the last. Of any thread."""
        self.ended[ref] = CallEnd(perf_counter(), call)

    def wake(self) -> None:
        """Look again, for no call of one plugin is in flight. To be called on the loop's thread."""
        self._call_ended.set()

    def finish(self) -> None:
        """Hold threads back no longer.

        A teardown that joins a thread keeps the loop from opening the gate that the thread
        waits at.
        """
        self.is_over = True
        for calls in self._plugins:
            calls.look_again()
