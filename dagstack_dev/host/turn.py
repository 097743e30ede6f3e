"""Whose turn it is to change what runs: one for itself, or several that share it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turn:
    """Taken alone by `async with turn.alone()`, with others of its kind by `turn.shared()`."""

    def __init__(self) -> None:
        self._free = anyio.Semaphore(1)
        self._sharing = 0
        self._is_shared = anyio.Event()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody else has the turn inside this block."""
        async with self._free:
            yield

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Only others that share it have the turn inside this block."""
        self._sharing += 1
        try:
            if self._sharing == 1:
                await self._free.acquire()
                self._is_shared.set()
            await self._is_shared.wait()
            yield
        finally:
            self._sharing -= 1
            if not self._sharing and self._is_shared.is_set():
                self._is_shared = anyio.Event()
                self._free.release()
