"""Facts as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from dagstack_dev.core.events import EventsMissed

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.events import Fact

EVENTS_LIMIT: Final = 10_000
"""Facts that wait for a reader at most; a start of two thousand plugins makes as many."""


class EventStream:
    """Every fact from the moment it was made on, for `async for`; it ends with the server.

    Facts wait here until they are asked for, by whichever task, in whichever event loop; nothing
    that happens waits for a reader. One that lags too far behind misses the oldest facts, and
    reads an `EventsMissed` in their place. `close` it, or use it as a context manager, when you
    stop reading before the end.

    Args:
        observe: has a function called with every fact, and returns what ends that.
        limit: how many facts wait at most.

    Attributes:
        ended: whether it collects nothing more.
    """

    def __init__(
        self,
        observe: Callable[[Callable[[Fact], None]], Callable[[], object]],
        limit: int = EVENTS_LIMIT,
    ) -> None:
        self._facts: deque[Fact] = deque(maxlen=limit)
        self._missed = 0
        self._lock = threading.RLock()  # A finalizer may publish while it is held.
        self._readers: list[Callable[[], Any]] = []
        self.ended = False
        self._stop_observing = observe(self._receive)

    def _receive(self, fact: Fact) -> None:
        """Take a fact, from any thread."""
        with self._lock:
            self._missed += len(self._facts) == self._facts.maxlen
            self._facts.append(fact)
        self._wake()

    def _wake(self) -> None:
        """Let every reader that waits look again, each in the loop that it waits in."""
        with self._lock:
            readers, self._readers = self._readers, []
        for wake in readers:
            with suppress(RuntimeError):  # Its loop has ended, and with it what waited there.
                wake()

    def close(self) -> None:
        """Collect nothing more; what waits can still be read."""
        if not self.ended:
            self.ended = True
            self._stop_observing()
            self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Fact:
        while True:
            with self._lock:
                if self._missed:
                    missed, self._missed = self._missed, 0
                    return EventsMissed(count=missed)
                if self._facts:
                    return self._facts.popleft()
                if self.ended:
                    raise StopAsyncIteration
                arrived = anyio.Event()
                self._readers.append(from_anywhere(arrived.set))
            await arrived.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def from_anywhere(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that calls `function` in the running event loop, from any thread.

    It raises a `RuntimeError` when that loop has ended.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - only where trio runs the loop, and then it is there

        token = trio.lowlevel.current_trio_token()
        return lambda *args: token.run_sync_soon(function, *args)
    return lambda *args: loop.call_soon_threadsafe(function, *args)
