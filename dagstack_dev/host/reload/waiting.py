"""Reports what a start, a reload or an end waits for, when that takes longer than a second."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.life import Unfinished
from dagstack_dev.core.events import ReloadWaiting, Wait
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.calls.current import current_reload
from dagstack_dev.host.loop.limits import call_after, running_time
from dagstack_dev.host.loop.stacks import calls_through

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry
    from dagstack_dev.host.plugins.table import PluginTable

REPORTED_SECONDS: Final = 1.0
"""How long something has to last to be reported, and how often to look for it."""

_GROWTH: Final = 3
"""How many times as long it has to have lasted to be reported again."""

MOST: Final = 10
"""How much one fact names; the rest it counts."""

_BUSY: Final = (State.SETTING_UP, State.TEARING_DOWN)


@contextmanager
def watching(
    table: PluginTable, refs: Collection[PluginRef], reload_id: int | None = None
) -> Iterator[None]:
    """Keep an eye on plugins inside this block: on what blocks the loop, and what is waited for.

    Several tasks may do so at the same time, each for plugins of its own.

    Args:
        table: where the plugins are.
        refs: those that are to be set up or torn down.
        reload_id: the reload that what happens in this block, and in tasks that it starts, is
            part of; None when it is none.
    """
    waits = _Waits(table, refs, reload_id)
    token = current_reload.set(reload_id)
    try:
        with table.watchdog.watching():
            waits.look_later()
            yield
    finally:
        waits.stop()
        current_reload.reset(token)


class _Waits:
    """Looks every second, and reports each thing at 1 s, 3 s, 9 s and so on."""

    def __init__(
        self, table: PluginTable, refs: Collection[PluginRef], reload_id: int | None
    ) -> None:
        self._table = table
        self._refs = refs
        self._reload_id = reload_id
        self._reported: dict[tuple[PluginRef, str], float] = {}
        self.stop: Callable[[], object] = lambda: None

    def look_later(self) -> None:
        self.stop = call_after(1.1 * REPORTED_SECONDS, self._look)

    def _look(self) -> None:
        self.look_later()
        due = [each for each in self._waits() if self._is_due(each)]
        due.sort(key=lambda each: -each.seconds)
        if due:
            self._table.publish(
                ReloadWaiting(
                    waits=tuple(due[:MOST]),
                    more=len(due[MOST:]),
                    reload_id=self._reload_id,
                )
            )

    def _is_due(self, wait: Wait) -> bool:
        key = wait.ref, wait.what
        last = self._reported.get(key, 0.0)
        is_due = wait.seconds >= max(REPORTED_SECONDS, last * _GROWTH)
        if is_due or wait.seconds < last:  # It has begun again.
            self._reported[key] = wait.seconds
        return is_due

    def _waits(self) -> Iterator[Wait]:
        table, now = self._table, running_time()
        for ref in self._refs:
            if (since := table.draining.get(ref)) is not None:
                yield from _calls(table.entries[ref], now - since)
            running = table.entries[ref].running if table.states.get(ref) in _BUSY else None
            if running is not None and now - running.began >= REPORTED_SECONDS:
                what = running.under_way()
                yield Wait(ref, what.what, now - running.began, what.path, what.line)


def _calls(entry: Entry, seconds: float) -> Iterator[Wait]:
    """Yield the calls that hold up the drain of a plugin, those at one place once."""
    if not entry.gate.calls.in_flight or seconds < REPORTED_SECONDS:
        return
    calls = dict.fromkeys(calls_through(entry.gate, entry.revision.folder))
    for call in calls or [Unfinished("")]:
        what = f"a call of {call.what}()" if call.what else "a call"
        yield Wait(entry.ref, what, seconds, call.path, call.line)
