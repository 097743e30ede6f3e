"""Tells what old generations leave behind, without getting in the way of what runs."""

from __future__ import annotations

import gc
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from dagstack_dev.core.events import Leaks, PluginLeaked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.host.table import PluginTable
    from dagstack_dev.host.transaction import Retired

IDLE_SECONDS: Final = 1.0
"""How long nothing may happen before old generations are looked at, and looked at again."""

LOOKS: Final = 3
"""How often a generation is found to be held before that is told: it may be about to end."""

LAST_LOOKS_SECONDS: Final = 0.1
"""The time between looks when the server ends."""

MANY: Final = 100
"""Generations that may wait; then each reload drops old ones that are gone, unseen."""

_YOUNG: Final = 1
_ALL: Final = 2
"""Arguments of `gc.collect`."""


class LeakCheck:
    """Looks at retired generations until they are gone or told of.

    On the way of a reload there is nothing but `add`. A look at one generation takes
    milliseconds, however many plugins there are. Only what is held at every look costs more: a
    collection of all garbage, and a search for the holders.

    Args:
        table: its plugins' errors are asked for, and its observers are told.
        leaks: what to do about leaks.
    """

    def __init__(self, table: PluginTable, leaks: Leaks) -> None:
        self._table = table
        self._leaks = leaks
        self._waiting: deque[tuple[Retired, int]] = deque()
        self._kept: list[Retired] = []

    @property
    def idle_seconds(self) -> float | None:
        """How long nothing should happen before `look`, None when it has nothing to do."""
        return IDLE_SECONDS if self._waiting else None

    def add(self, retired: Iterable[Retired]) -> None:
        """A reload has ended, and has retired these."""
        if self._leaks is not Leaks.OFF:
            self._waiting.extend((each, LOOKS) for each in (*self._kept, *retired))
            self._kept.clear()
        if len(self._waiting) > MANY:  # Reload upon reload, and never a moment to look.
            for _ in range(2):
                if self._waiting[0][0].generation.is_gone():
                    self._waiting.popleft()

    async def look(self, is_wanted: Callable[[], bool]) -> None:
        """Look once at everything that waits, as long as nobody `is_wanted` for something else."""
        collected = -1
        for _ in range(len(self._waiting)):
            if is_wanted():
                return
            retired, looks = self._waiting[0]
            if self._is_kept_for_author(retired):
                self._kept.append(retired)
            elif not retired.generation.is_gone():
                # What a teardown has left is young; what is old is many times as much.
                needed = _YOUNG if looks > 1 else _ALL
                if collected < needed:
                    gc.collect(needed)
                    collected = needed
                if not retired.generation.is_gone():
                    if looks > 1:
                        self._waiting.append((retired, looks - 1))
                    else:
                        self._tell(retired)
            self._waiting.popleft()
            await anyio.lowlevel.checkpoint()

    async def finish(self) -> None:
        """Come to an end with what waits, where a leak counts as an error."""
        while self._waiting and self._leaks is Leaks.ERROR:
            await anyio.sleep(LAST_LOOKS_SECONDS)
            await self.look(lambda: False)

    def _is_kept_for_author(self, retired: Retired) -> bool:
        """Whether the plugin has an error, which its author has still to see: it keeps much.

        The error is of the last generation; those of earlier tries have been replaced by it.
        """
        entry = self._table.entries.get(retired.ref)
        if entry is None or entry.error is None:
            return False
        return retired.number == entry.imports

    def _tell(self, retired: Retired) -> None:
        holders = retired.generation.survivors()
        if holders:
            self._table.publish(
                PluginLeaked(
                    ref=retired.ref,
                    generation=retired.number,
                    holders=holders,
                    is_error=self._leaks is Leaks.ERROR,
                )
            )
