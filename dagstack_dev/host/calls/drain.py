"""The calls of plugins, and how those end that are to be torn down."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from dagstack_dev.host.loop.limits import move_on_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dagstack_dev.core.refs import PluginRef

_FIRST_LOOK_SECONDS: Final = 0.001
POLL_SECONDS: Final = 0.01
"""How often a drain looks for calls that end in other threads, which cannot wake it."""

_STUCK_SECONDS: Final = 0.01
"""How long no call may end before a drain lets in those that wait: others may wait for them."""

_SILENT_SECONDS: Final = 0.05
"""How long no call may end before what is in flight counts as held by a draining plugin itself."""

_SILENT_LOOKS: Final = 10
"""How many looks, too, that silence has to last: on a busy machine the loop may not have run."""

_LETTING_IN_SHARE: Final = 0.25
"""The part of a drain's time in which it lets in calls that wait; the rest is for them to end."""


_making: Final = threading.Lock()
"""Held by the one of several threads that makes what all of them wait for."""


class Calls:
    """The calls of one plugin: those in flight, and those that wait.

    Args:
        ref: the plugin.

    Attributes:
        in_flight: a mark for each. Appending and popping are atomic, so threads need no lock.
        waiting: likewise.
        times_let_in: how often those that waited have been let in.
        has_news: whether one has ended lately.
        drain: what waits for them to end, as long as the plugin still answers.
    """

    __slots__ = (
        "_opened",
        "_opened_for_threads",
        "drain",
        "has_news",
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
        self.has_news = False
        self.drain: Drain | None = None
        self._opened: anyio.Event | None = None
        self._opened_for_threads: threading.Event | None = None

    def look_again(self) -> None:
        """Have the calls that wait find out whether they may pass now."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(RuntimeError):  # Their loop has been closed, and nothing waits any more.
                opened.set()
        for_threads, self._opened_for_threads = self._opened_for_threads, None
        if for_threads is not None:
            for_threads.set()

    def change(self) -> anyio.Event:
        """Return what is set when those that wait are to look again; for the loop's thread."""
        self._opened = self._opened or anyio.Event()
        return self._opened

    def change_for_threads(self) -> threading.Event:
        """Return what threads wait for; it is made when the first of them comes."""
        with _making:
            if self._opened_for_threads is None:
                self._opened_for_threads = threading.Event()
            return self._opened_for_threads

    def step_back(self) -> None:
        """Lift the mark of a call that has to wait."""
        self.waiting.append(None)
        self.in_flight.pop()

    def step_forward(self) -> None:
        """Mark the call again; it looks at the gate after that, as any other does."""
        self.in_flight.append(None)
        self.waiting.pop()


class Drain:
    """Plugins that are about to be torn down together: until their calls have ended, they answer.

    New calls wait at their gates. A call that comes from one of them passes, for it is part of what
    is waited for. One that comes from a task which such a call has started cannot be told from a
    new one; so when no call has ended for a while, those that wait are let in together.

    Args:
        plugins: their calls, in the order of the teardowns.

    Attributes:
        draining: the plugins.
        is_over: whether the teardowns have begun.
        token: stands for it where it must not be kept alive.
    """

    __slots__ = ("_call_ended", "_plugins", "draining", "is_over", "token")

    def __init__(self, plugins: Iterable[Calls]) -> None:
        self._plugins = (*plugins,)
        self._call_ended = anyio.Event()
        self.draining = frozenset(calls.ref for calls in self._plugins)
        self.is_over = False
        self.token = object()

    async def wait_for_all(self, seconds: float) -> None:
        """Wait until no call is in flight, or none ends any more.

        What does not end, a task of one of the plugins may hold, such as one that reads a stream of
        what it depends on: only the teardown of the one ends it.
        """
        await self._wait(self._plugins, seconds, silence=_SILENT_SECONDS)

    async def wait_for(self, calls: Calls, seconds: float) -> int:
        """Wait until no call of one plugin is in flight, and return how many still are."""
        await self._wait((calls,), seconds)
        return len(calls.in_flight)

    async def _wait(
        self, plugins: Sequence[Calls], seconds: float, *, silence: float | None = None
    ) -> None:
        """Wait until no call is in flight at the closed gates of `plugins`.

        When none ends for a while, those in flight may be waiting for calls that are held back:
        then these are let in, as long as there is time for them to end.

        Args:
            plugins: their calls.
            seconds: the longest wait.
            silence: how long no call of a plugin may end, in seconds, before they are waited for
                no longer.
        """
        busy = [calls for calls in plugins if calls.in_flight]
        if not busy:  # Nearly always, and there may be thousands of plugins.
            return
        silent: set[Calls] = set()
        now = quiet_since = anyio.current_time()
        let_in_until = now + seconds * _LETTING_IN_SHARE
        pause, looks = _FIRST_LOOK_SECONDS, 0
        with move_on_after(seconds):
            while busy:
                calls = busy[-1]
                if not calls.in_flight or calls in silent:
                    busy.pop()  # When all are gone, some may have been called again.
                    busy = busy or [
                        each for each in plugins if each.in_flight and each not in silent
                    ]
                    continue
                self._call_ended = anyio.Event()
                with anyio.move_on_after(pause):
                    await self._call_ended.wait()
                pause = min(2 * pause, POLL_SECONDS)
                now, looks = anyio.current_time(), looks + 1
                quiet = now - quiet_since
                if calls.has_news or (
                    quiet >= _STUCK_SECONDS and now < let_in_until and self._let_in()
                ):
                    calls.has_news, quiet_since, looks = False, now, 0
                elif silence is not None and quiet >= silence and looks >= _SILENT_LOOKS:
                    silent.add(calls)

    def _let_in(self) -> bool:
        """Let the calls that wait now go on to the instances that still answer; if any do."""
        waited_for = [calls for calls in self._plugins if calls.waiting and calls.drain is self]
        for calls in waited_for:
            calls.times_let_in += 1
            calls.look_again()
        return bool(waited_for)

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
