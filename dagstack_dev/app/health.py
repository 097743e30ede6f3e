"""Asks plugins how they are, again and again, and says who is not well (ADR-2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from dagstack_dev.core.errors.life import PluginUnhealthy
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.loop.limits import running_time
from dagstack_dev.host.registry.health import ask, can_be_asked, did_not_end, has_health

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from anyio.abc import TaskGroup

    from dagstack_dev.app.settings import Settings
    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.events import Transition
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry
    from dagstack_dev.host.plugins.table import PluginTable

AT_ONCE: Final = 16
"""Checks that begin before the event loop gets a turn."""


GRACE_SECONDS: Final = 1.0
"""How long a check whose time is over may take to end, before it fails without having ended."""


@dataclass(eq=False, slots=True)
class _Poll:
    """A check under way."""

    instance: object
    began: float
    scope: anyio.CancelScope


class HealthWatch:
    """Polls the health of the plugins that have a health check; the others cost nothing.

    No plugin is asked while its last poll is under way, nor during a reload: a poll that a reload
    interrupts says nothing. A plugin that fails is degraded, and well again with the next poll
    that it passes; one that fails several times in a row is given up.

    Args:
        table: the plugins.
        settings: how often, for how long, and how many failures.
        building: the plugins that are being reloaded, by now.
        on_unhealthy: called with a plugin that is to be torn down, and why.
    """

    def __init__(
        self,
        table: PluginTable,
        settings: Settings,
        *,
        building: AbstractSet[PluginRef],
        on_unhealthy: Callable[[PluginRef, PluginRegistryError], None],
    ) -> None:
        self._table = table
        self._seconds = settings.health_seconds
        self._timeout = settings.health_timeout_seconds
        self._limit = settings.health_failures
        self._building = building
        self._on_unhealthy = on_unhealthy
        self._failures: dict[PluginRef, int] = {}
        self._polls: dict[PluginRef, _Poll] = {}
        self._has_any = anyio.Event()
        for ref in table.setup_order:
            self._consider(ref)

    def note(self, fact: Transition) -> None:
        """Note that a plugin is in another state."""
        if fact.to_state is State.READY:
            self._consider(fact.ref)
        elif self._failures:
            self._failures.pop(fact.ref, None)

    def _consider(self, ref: PluginRef) -> None:
        if has_health(self._table.entries[ref]):
            self._failures[ref] = 0
            self._polls.pop(ref, None)  # One that could not be cancelled is of no interest now.
            self._has_any.set()

    def interrupt(self, refs: AbstractSet[PluginRef]) -> None:
        """Let the polls of `refs` that are under way come to nothing."""
        for ref in refs & self._polls.keys():
            self._polls[ref].scope.cancel()

    async def run(self) -> None:
        """Ask everybody, rest, and so on; without end."""
        if not self._seconds:
            return
        async with anyio.create_task_group() as group:
            while True:
                if not self._failures:
                    self._has_any = anyio.Event()
                    await self._has_any.wait()
                await anyio.sleep(self._seconds)
                await self._ask_all(group)

    async def _ask_all(self, group: TaskGroup) -> None:
        for number, ref in enumerate([*self._failures], 1):
            entry = self._table.entries[ref]
            if ref not in self._building and can_be_asked(self._table, entry):
                poll = self._polls.get(ref)
                if poll is None:
                    self._begin(entry, group)
                elif running_time() - poll.began >= self._timeout + GRACE_SECONDS:
                    self._judge(entry, poll, did_not_end(entry, self._timeout))
            if not number % AT_ONCE:
                await anyio.lowlevel.checkpoint()

    def _begin(self, entry: Entry, group: TaskGroup) -> None:
        poll = _Poll(entry.instance, running_time(), anyio.CancelScope())
        self._polls[entry.ref] = poll
        group.start_soon(self._poll, entry, poll)

    async def _poll(self, entry: Entry, poll: _Poll) -> None:
        try:
            with poll.scope:
                error = await ask(self._table, entry, seconds=self._timeout)
        finally:
            if self._polls.get(entry.ref) is poll:
                del self._polls[entry.ref]
        if not poll.scope.cancel_called:
            self._judge(entry, poll, error)

    def _judge(self, entry: Entry, poll: _Poll, error: PluginRegistryError | None) -> None:
        ref = entry.ref
        if entry.instance is not poll.instance or ref not in self._failures:
            return
        if error is None:
            self._failures[ref] = 0
            self._table.recover(entry)
            return
        error = recorded(error)
        self._table.degrade(entry, error)
        if isinstance(error, PluginUnhealthy):
            self._failures[ref] += 1
            if self._failures[ref] >= self._limit:
                self._on_unhealthy(ref, error)
