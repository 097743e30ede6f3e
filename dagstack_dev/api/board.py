"""What the event loop of the plugins publishes, and the API's thread reads.

A writer never waits for a reader: snapshots replace each other, and of events, log lines and
reloads the newest are kept. A reader that lags behind misses the oldest, and can see how many; one
that has much to read lets the writer have the interpreter in between.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.reloads import Reload
from dagstack_dev.core.snapshot import ServerSnapshot

if TYPE_CHECKING:
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.reloads import ReloadRecord

T = TypeVar("T")

MOST_EVENTS: Final = 10_000
MOST_RELOADS: Final = 200

HELD_SECONDS: Final = 0.001
BREATH_SECONDS: Final = 0.001


class Breath:
    """Lets other threads have the interpreter: one that holds it delays them by up to 5 ms."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def draw(self) -> None:
        """Pause for `BREATH_SECONDS` if the last pause ended `HELD_SECONDS` ago or longer."""
        if time.perf_counter() - self._since >= HELD_SECONDS:
            await asyncio.sleep(BREATH_SECONDS)
            self._since = time.perf_counter()

    async def between(self, items: Iterable[T]) -> AsyncIterator[T]:
        """Yield `items`, and draw between them."""
        for each in items:
            await self.draw()
            yield each


class Numbered(NamedTuple, Generic[T]):
    """Something that was published.

    Attributes:
        id: counts from 1.
        at: when, in seconds since the epoch.
        value: what.
    """

    id: int
    at: float
    value: T


class Feed(Generic[T]):
    """The newest of what has been published, each with its number.

    Args:
        most: how many are kept.

    Attributes:
        last: the number of the newest.
        has_ended: whether there will be nothing more.
    """

    def __init__(self, most: int) -> None:
        self._kept: deque[Numbered[T]] = deque(maxlen=most)
        self._lock = threading.RLock()  # A finalizer may publish while it is held.
        self._wakers: set[Callable[[], object]] = set()
        self.last = 0
        self.has_ended = False

    def publish(self, value: T) -> None:
        """Add `value`, from any thread, and wake the readers that wait for more."""
        with self._lock:
            self.last += 1
            self._kept.append(Numbered(self.last, time.time(), value))
        self._wake()

    def end(self) -> None:
        """Wake the readers that wait for more: there will be none."""
        self.has_ended = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            wakers, self._wakers = self._wakers, set()
        for wake in wakers:
            with suppress(RuntimeError):  # The loop of the reader has ended.
                wake()

    def after(self, number: int) -> list[Numbered[T]]:
        """Return what is kept of all that came after `number`, the oldest first."""
        with self._lock:
            missing = min(self.last - number, len(self._kept))
            newest = [each for each, _ in zip(reversed(self._kept), range(missing), strict=False)]
        return newest[::-1]

    def wake_after(self, number: int, wake: Callable[[], object]) -> None:
        """Have `wake` called once, when anything comes after `number` or the end does."""
        with self._lock:
            if self.last <= number and not self.has_ended:
                self._wakers.add(wake)
                return
        wake()

    def let_sleep(self, wake: Callable[[], object]) -> None:
        """Have `wake` called no more."""
        with self._lock:
            self._wakers.discard(wake)


class Reloads:
    """The last reloads, each with those of its parts that have ended.

    Args:
        most: how many are kept, however many parts they have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[int, list[ReloadRecord]] = OrderedDict()
        self._lock = threading.Lock()

    def publish(self, part: ReloadRecord) -> None:
        """Add a reload that has ended, or a part of one."""
        with self._lock:
            self._kept.setdefault(part.id, []).append(part)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def all(self) -> list[Reload]:
        """Return what is kept, the oldest first."""
        with self._lock:
            return [Reload(tuple(parts)) for parts in self._kept.values()]


class Board:
    """All that is published.

    Attributes:
        snapshot: the newest.
        events: the lifecycle events.
        logs: what was logged, events included, as fields.
        reloads: those that have ended.
    """

    def __init__(self) -> None:
        self.snapshot = ServerSnapshot(0, {}, DependencyGraph())
        self.events: Feed[Fact] = Feed(MOST_EVENTS)
        self.logs: Feed[dict[str, object]] = Feed(MOST_EVENTS)
        self.reloads = Reloads(MOST_RELOADS)

    def end(self) -> None:
        """End all streams."""
        for feed in (self.events, self.logs):
            feed.end()
