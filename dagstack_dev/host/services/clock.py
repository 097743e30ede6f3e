"""The standard resource `clock` (contract, section 9)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, runtime_checkable

_NANOSECONDS: Final = 1_000_000_000


@runtime_checkable
class Clock(Protocol):
    """What time it is. A plugin that asks it, and not the system, can be tested at any time."""

    def now(self) -> datetime:
        """Return this moment, with a time zone."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds since some moment, for measuring; never goes back."""


class SystemClock:
    """The system's clock, in UTC."""

    def now(self) -> datetime:
        """Return this moment in UTC."""
        return datetime.now(tz=UTC)

    def monotonic_ns(self) -> int:
        """Return what `time.monotonic_ns` does."""
        return time.monotonic_ns()


class FrozenClock:
    """A clock for tests: it stands still until `advance`.

    Args:
        at: the moment that it shows.

    Raises:
        ValueError: `at` has no time zone.
    """

    def __init__(self, *, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("at needs a time zone: datetime(2026, 5, 4, tzinfo=UTC)")
        self._at = at
        self._elapsed_ns = 0

    def now(self) -> datetime:
        """Return the moment that it stands at."""
        return self._at

    def monotonic_ns(self) -> int:
        """Return how far it has been advanced, in nanoseconds."""
        return self._elapsed_ns

    def advance(self, *, seconds: float = 0.0) -> None:
        """Go on by some time.

        Args:
            seconds: how far; below zero, `now` goes back and `monotonic_ns` stays.
        """
        self._at += timedelta(seconds=seconds)
        self._elapsed_ns += max(0, round(seconds * _NANOSECONDS))
