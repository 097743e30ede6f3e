"""A lock that one task holds exclusively, or several share."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class SharedLock:
    """Taken by `async with lock.exclusive()`, or together with others by `lock.shared()`."""

    def __init__(self) -> None:
        self._free = anyio.Semaphore(1, fast_acquire=True)
        self._entry = anyio.Lock(fast_acquire=True)
        self._sharing = 0
        self._is_shared = False

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Keep all others out while inside this block."""
        async with self._free:
            yield

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Share the lock inside this block with others that do so."""
        self._sharing += 1
        try:
            async with self._entry:  # Should the first be cancelled, the next one takes the lock.
                if not self._is_shared:
                    await self._free.acquire()
                    self._is_shared = True
            yield
        finally:
            self._sharing -= 1
            if not self._sharing and self._is_shared:
                self._is_shared = False
                self._free.release()
