"""Facts as an asynchronous iterator."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Self

import anyio
import anyio.from_thread
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.events import Fact


class EventStream:
    """Every fact from the moment it was made on, for `async for`; it ends with the server.

    Facts wait here until they are asked for. `close` it, or use it as a context manager, when
    you stop reading before the end.
    """

    def __init__(self, observe: Callable[[Callable[[Fact], None]], Callable[[], None]]) -> None:
        self._facts: deque[Fact] = deque()
        self._arrived = anyio.Event()
        self._ended = False
        self._thread = threading.get_ident()
        self._token = anyio.lowlevel.current_token()
        self._stop_observing = observe(self._receive)

    def _receive(self, fact: Fact) -> None:
        self._facts.append(fact)
        if threading.get_ident() == self._thread:
            self._wake()
        else:  # The watchdog reports from its own thread while the loop is busy.
            anyio.from_thread.run_sync(self._wake, token=self._token)

    def _wake(self) -> None:
        self._arrived.set()

    @property
    def ended(self) -> bool:
        """Whether it collects nothing more."""
        return self._ended

    def end(self) -> None:
        """Collect nothing more; what waits can still be read."""
        if not self._ended:
            self._ended = True
            self._stop_observing()
            self._arrived.set()

    def close(self) -> None:
        """Stop collecting."""
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Fact:
        while not self._facts:
            if self._ended:
                raise StopAsyncIteration
            if self._arrived.is_set():
                self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._facts.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
