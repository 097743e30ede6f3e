"""Setups that are broken off for an edit."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import PurePath
from time import monotonic
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.collector import EDITED
from dagstack_dev.app.inbox import Batch
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.passing import RetryPreempted, SetupPreempted
from dagstack_dev.host.patience import is_held
from dagstack_dev.host.settlement import ROLLED_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from dagstack_dev.core.events import Transition
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.table import PluginTable

FIRST_PAUSE_SECONDS: Final = 0.25
"""How long the second of several setups in a row lasts before it is preempted; twice as long each
further one. So a plugin comes up that writes its own code anew with each setup."""

HELD_SECONDS: Final = 0.5
"""How often it is looked whether a debugger has gone on."""


class Preemption:
    """Breaks off setups that an edit has made useless, and retries for anything newer.

    A setup is useless as soon as what it was made from differs on disk: the plugin's own files,
    what it depends on or imports, its configuration. A retry is only a try: it yields to whatever
    people do. Only setups towards what is new are broken off, never those of a roll-back.

    Args:
        table: the plugins.
        outdated: given what has come in, returns the plugins that it changes by what is on disk
            now, without those that depend on them.
        later: called with seconds and a function, to have the function called then.
    """

    def __init__(
        self,
        table: PluginTable,
        *,
        outdated: Callable[[Batch], Iterable[PluginRef]],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._table = table
        self._outdated = outdated
        self._later = later
        self._is_watching = False
        self._retried: Collection[PluginRef] = ()
        self._is_pressed = False
        self._began: dict[PluginRef, float] = {}
        self._in_a_row: dict[PluginRef, int] = {}
        self._unseen = Batch()
        self._useless: set[PluginRef] = set()

    @contextmanager
    def watching(self, waiting: Batch, retried: Collection[PluginRef] = ()) -> Iterator[None]:
        """Setups that begin inside this block may be broken off.

        Args:
            waiting: what has come in already.
            retried: the plugins that are only tried again.
        """
        self._is_watching, self._retried, self._is_pressed = True, retried, False
        self._useless.clear()
        self._unseen = Batch()
        self.note_input(waiting)
        try:
            yield
        finally:
            self._is_watching, self._retried = False, ()

    def note_input(self, news: Batch) -> None:
        """Something has come in."""
        if not self._is_watching:
            return
        is_urgent = _is_urgent(news)
        if not is_urgent and all(PurePath(path).suffix for path in news.paths):
            return  # No folder has moved either.
        self._is_pressed |= is_urgent
        self._unseen.join(news)
        self._look()

    def note(self, fact: Transition) -> None:
        """A plugin came into another state."""
        if fact.to_state is State.SETTING_UP:
            if self._is_watching and fact.reason != ROLLED_BACK:
                self._began[fact.ref] = monotonic()
                self._look()
            return
        self._began.pop(fact.ref, None)
        if type(fact.error) is SetupPreempted:
            self._in_a_row[fact.ref] = self._in_a_row.get(fact.ref, 0) + 1
        elif self._in_a_row and fact.to_state in {State.READY, State.FAILED, State.REMOVED}:
            self._in_a_row.pop(fact.ref, None)

    def may_break_off(self, ref: PluginRef, seconds: float) -> bool:
        """Whether an import or setup of `ref` that has lasted for `seconds` may be preempted."""
        is_setup = self._table.states[ref] is State.SETTING_UP
        may_be = self._is_watching and (not is_setup or ref in self._began)
        return may_be and seconds >= self._pause(ref)

    def _pause(self, ref: PluginRef) -> float:
        in_a_row = self._in_a_row.get(ref, 0)
        return FIRST_PAUSE_SECONDS * 2.0 ** min(in_a_row - 1, 60) if in_a_row else 0.0

    def _look(self) -> None:
        """Break off what is under way and need not go on.

        Not before the first setup begins: until then what has changed may not be in force yet.
        """
        if self._began and self._unseen:
            unseen, self._unseen = self._unseen, Batch()
            self._useless |= self._table.reached_by(self._outdated(unseen))
        if is_held() and self._began:  # Somebody is at a prompt in what may be broken off.
            self._later(HELD_SECONDS, self._look)
            return
        for ref in self._useless & self._began.keys():
            left = self._began[ref] + self._pause(ref) - monotonic()
            if left > 0:
                self._later(left, self._look)
            else:
                self._preempt(ref, SetupPreempted(ref))
        if self._is_pressed:
            for ref in self._began.keys() & {*self._retried}:
                self._preempt(ref, RetryPreempted(ref))

    def _preempt(self, ref: PluginRef, error: SetupPreempted) -> None:
        running = self._table.entries[ref].running
        if running is not None:
            running.preempt(error)


def _is_urgent(news: Batch) -> bool:
    asked = news.everywhere or news.forced or news.crashed
    return bool(asked) or any(path.endswith(EDITED) for path in news.paths)
