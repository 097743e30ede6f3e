"""Waits that are measured in what this thread has had of the time, and not by the clock alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection

_STEPS: Final = 5


async def have_ended(awaited: Collection[asyncio.Future[Any]], seconds: float) -> bool:
    """Wait until all have ended, and return whether they have.

    A busy machine may let the whole process stand still for longer than that. Then both what is
    waited for and the wait are late, so it is made in steps, of which a standstill takes one.

    Args:
        awaited: at least one.
        seconds: how long it may take.
    """
    for _ in range(_STEPS):
        _, pending = await asyncio.wait(awaited, timeout=seconds / _STEPS)
        if not pending:
            return True
    return False
