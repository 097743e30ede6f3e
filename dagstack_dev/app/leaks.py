"""Reports what old generations leave behind, without getting in the way of what runs."""

from __future__ import annotations

import gc
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from dagstack_dev.core.events import Leaks, PluginLeaked
from dagstack_dev.host.services.guarding import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable
    from dagstack_dev.host.reload.transaction import Retired

IDLE_SECONDS: Final = 1.0
"""How long nothing may happen before old generations are looked at, and looked at again."""

LOOKS: Final = 3
"""How often a generation is found to be held before that is reported: it may be about to end."""

LAST_LOOKS_SECONDS: Final = 0.1
"""The time between looks when the server ends."""

MANY: Final = 10
"""Generations of one plugin that wait at most: reload upon reload, and never a moment to look."""


class LeakCheck:
    """Looks at retired generations until they are gone or reported.

    On the way of a reload there is nothing but `add`. A look at one generation takes
    milliseconds, however many plugins there are. Only what is held at every look costs more: one
    collection of all garbage, and a search for the holders. What goes wrong with it is reported,
    and ends nothing else.

    Args:
        table: its observers get the reports.
        leaks: what to do about leaks.
    """

    def __init__(self, table: PluginTable, leaks: Leaks) -> None:
        self._table = table
        self._leaks = leaks
        self._waiting: dict[PluginRef, deque[tuple[Retired, int]]] = {}
        self._has_collected = False
        self._guard = Guard("the search for leaks")

    @property
    def idle_seconds(self) -> float | None:
        """How long nothing should happen before `look`, None when it has nothing to do."""
        return IDLE_SECONDS if self._waiting else None

    def add(self, retired: Iterable[Retired]) -> None:
        """Take what a reload has retired."""
        if self._leaks is not Leaks.OFF:
            for each in retired:
                self._wait(each, LOOKS)

    def _wait(self, retired: Retired, looks: int) -> None:
        self._waiting.setdefault(retired.ref, deque(maxlen=MANY)).append((retired, looks))

    async def look(self, is_wanted: Callable[[], bool]) -> None:
        """Look once at everything that waits, until this `is_wanted` elsewhere."""
        self._has_collected = False
        for ref in list(self._waiting):
            waiting = self._waiting[ref] = self._waiting.pop(ref)  # The last when it is broken off.
            for _ in range(len(waiting)):
                if is_wanted():
                    return
                self._guard.call(self._look_at, *waiting.popleft())
                await anyio.lowlevel.checkpoint()
            if not waiting:
                del self._waiting[ref]

    def _look_at(self, retired: Retired, looks: int) -> None:
        """Have it wait for the next look, report it, or let it go."""
        if retired.generation.is_gone():
            return
        if looks > 1:
            self._wait(retired, looks - 1)
            return
        if not self._has_collected:
            gc.collect()
            self._has_collected = True
        if not retired.generation.is_gone():
            self._report(retired)

    async def finish(self) -> None:
        """Come to an end with what waits, where a leak counts as an error."""
        while self._waiting and self._leaks is Leaks.ERROR:
            await anyio.sleep(LAST_LOOKS_SECONDS)
            await self.look(lambda: False)

    def _report(self, retired: Retired) -> None:
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
