"""Breaks off setups that an edit has made useless."""

from __future__ import annotations

from pathlib import PurePath
from time import monotonic
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.events import from_anywhere
from dagstack_dev.app.reload.collect import EDITED
from dagstack_dev.app.reload.inbox import CRASHED
from dagstack_dev.core.errors.life import RetryPreempted, SetupPreempted
from dagstack_dev.core.graph import reach
from dagstack_dev.core.lifecycle import State
from dagstack_dev.disk.reading import has_changed
from dagstack_dev.host.loop.limits import process_clock
from dagstack_dev.host.reload.transaction import ROLLED_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.app.reload.collect import Collector
    from dagstack_dev.app.reload.inbox import Batch, Inbox
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.app.reload.state import ReloadState
    from dagstack_dev.core.events import Transition
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable

PAUSE_SECONDS: Final = 0.25
"""How long the second of several setups in a row lasts before it is preempted; twice as long each
further one. So a plugin comes up that writes its own code anew with each setup. Also how often it
is looked whether what may not be broken off yet may be by now."""


class Preemption:
    """Breaks off setups that an edit has made useless, and retries for anything newer.

    A setup is useless as soon as what it was made from differs on disk: the plugin's own files,
    what it depends on or imports, its configuration. A retry is only a try: it yields to whatever
    people do. Only setups towards what is new are broken off, never those of a roll-back, and none
    while a debugger's prompt is open.

    Args:
        table: the plugins.
        state: what is under way, and what of that is only a retry.
        inbox: takes in what the watchdog's thread has found.
        collector: looks what of that differs.
        shared: likewise.
        later: called with seconds and a function, to have the function called then.
    """

    def __init__(
        self,
        table: PluginTable,
        state: ReloadState,
        *,
        inbox: Inbox,
        collector: Collector,
        shared: SharedFiles,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._table = table
        self._state = state
        self._collector = collector
        self._shared = shared
        self._later = later
        self._report_paths = from_anywhere(inbox.put_paths)
        self._useless: dict[PluginRef, type[SetupPreempted]] = {}
        self._began: dict[PluginRef, float] = {}
        self._in_a_row: dict[PluginRef, int] = {}
        self._looks_again = False

    def note_input(self, news: Batch) -> None:
        """Note what has come in, or had when setups were begun."""
        building = self._state.building
        if not building:
            return
        asked = news.requests or any(each.reason == CRASHED for each in news.happened)
        if asked or any(path.endswith(EDITED) for path in news.paths):
            retried = self._state.retried & building
            self._useless = dict.fromkeys(retried, RetryPreempted) | self._useless
        elif all(PurePath(path).suffix for path in news.paths):
            return  # Data, which is not read for this; no folder has moved either.
        self.note_outdated(self._differing(news))

    def planned(self, refs: Iterable[PluginRef]) -> None:
        """Note that `refs` are to be set up from what is there now."""
        for ref in self._useless.keys() & set(refs):
            del self._useless[ref]

    def note_outdated(self, refs: Iterable[PluginRef]) -> None:
        """Note that `refs` differ on disk from what they are set up from."""
        self._useless |= dict.fromkeys(self._table.reached_by(refs), SetupPreempted)
        self._look()

    def note(self, fact: Transition) -> None:
        """Note that a plugin came into another state."""
        if fact.to_state is State.SETTING_UP:
            if fact.ref in self._state.building and fact.reason != ROLLED_BACK:
                self._began[fact.ref] = monotonic()
                self._look()
            return
        self._began.pop(fact.ref, None)
        if type(fact.error) is SetupPreempted:
            self._in_a_row[fact.ref] = self._in_a_row.get(fact.ref, 0) + 1
        elif self._in_a_row and fact.to_state in {State.READY, State.FAILED, State.REMOVED}:
            self._in_a_row.pop(fact.ref, None)

    def is_outdated(self, ref: PluginRef, seconds: float) -> bool:
        """Return whether a setup of `ref` that blocks the loop for `seconds` now is useless.

        Called from the watchdog's thread, as events do not get through. Configuration is not
        looked at.
        """
        if not self._may_break_off(ref, seconds):
            return False
        needed = reach([ref], self._table.graph.dependencies)
        sources = (self._table.entries[each].revision.source for each in needed)
        edited = {
            f"{source.home}/{path}"
            for source in sources
            if source is not None
            for path, file in source.files.items()
            if path.endswith(EDITED) and has_changed(f"{source.home}/{path}", file.fingerprint)
        }
        shared = self._shared.changed_on_disk()
        if not needed.isdisjoint(self._shared.importers(shared)):
            edited |= shared
        if edited:  # To be there before the plugin would be tried again.
            self._report_paths(edited)
        return bool(edited)

    def _may_break_off(self, ref: PluginRef, seconds: float) -> bool:
        """Return whether an import or setup of `ref` may be preempted after `seconds`."""
        is_setup = self._table.states[ref] is State.SETTING_UP
        may_be = ref in self._state.building and (not is_setup or ref in self._began)
        return may_be and seconds >= self._pause(ref)

    def _pause(self, ref: PluginRef) -> float:
        in_a_row = self._in_a_row.get(ref, 0)
        return PAUSE_SECONDS * 2.0 ** min(in_a_row - 1, 60) if in_a_row else 0.0

    def _look(self) -> None:
        """Break off what is under way and need not go on."""
        useless = self._useless.keys() & self._began.keys()
        now = monotonic()
        due = {ref for ref in useless if now - self._began[ref] >= self._pause(ref)}
        if useless and process_clock.is_held():
            due = set()
        for ref in due:
            running = self._table.entries[ref].running
            if running is not None:
                running.preempt(self._useless[ref](ref))
        if due != useless and not self._looks_again:
            self._looks_again = True
            self._later(PAUSE_SECONDS, self._look_again)

    def _differing(self, batch: Batch) -> set[PluginRef]:
        """Return the plugins that are set up from something else than what is on disk now."""
        folders, files = self._collector.edited(batch)
        refs = {ref for folder in folders for ref in self._table.code.owners(folder)}
        return refs | self._shared.importers(self._shared.news_at(files))

    def _look_again(self) -> None:
        self._looks_again = False
        self._look()
