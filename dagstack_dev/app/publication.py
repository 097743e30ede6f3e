"""Publishes what a server does, for the thread that answers for it."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.generations import Generations
from dagstack_dev.core.events import (
    PluginDegraded,
    PluginFixed,
    PluginLeaked,
    PluginRecovered,
    PluginRejected,
    PluginRequiresRestart,
    ReloadCommitted,
    ReloadFailed,
    ReloadPlanned,
    ReloadRolledBack,
    ReloadSkipped,
    Transition,
    WatchProblem,
    WatchRecovered,
    WatchStarted,
)
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.snapshot import PluginSnapshot, StateRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.api.board import Board
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.app.reload.state import ReloadState
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable

SOON_SECONDS: Final = 0.02
"""The least time between two snapshots, so that a reload of many plugins costs few of them."""

MOST_STATES: Final = 50
"""How many are kept of what a plugin was in."""

MOST_LEAKS: Final = 50
"""How many sentences are kept of what was left of a plugin."""


@dataclass(slots=True)
class _Past:
    """What a plugin has been through.

    Attributes:
        states: the last that it was in.
        leaks: what was left of its last generations.
        setup_ms: how long its last setup took, in milliseconds.
    """

    states: deque[StateRecord] = field(default_factory=lambda: deque(maxlen=MOST_STATES))
    leaks: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LEAKS))
    setup_ms: float | None = None

    def note(self, fact: Transition) -> None:
        self.states.append(StateRecord(fact.to_state, time.time(), fact.reason, fact.error))
        if fact.to_state is State.READY and fact.duration_ms is not None:
            self.setup_ms = fact.duration_ms

    def note_status(self, status: PluginStatus, now: float) -> None:
        """Note what is the case now, if it is not known yet."""
        if not self.states:  # It was there before the server.
            self.states.append(StateRecord(status.state, now, error=status.error))


class Publication:
    """Keeps a board up to date; an observer of a registry.

    Args:
        board: what is kept up to date.
        table: the plugins.
        state: what is on disk.
        shared: the code that they share.
        held: returns the plugins of which edits are held back.
        later: called with seconds and a function, to have the function called then.

    Attributes:
        board: what is kept up to date.
        is_due: whether something has changed that is not published yet.
    """

    def __init__(
        self,
        board: Board,
        table: PluginTable,
        state: ReloadState,
        shared: SharedFiles,
        held: Callable[[], frozenset[PluginRef]],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.board = board
        self._table = table
        self._state = state
        self._shared = shared
        self._held = held
        self._later = later
        self._changed: dict[PluginRef, None] = {}
        self._outdated: frozenset[PluginRef] = frozenset()
        self._waiting: frozenset[PluginRef] = frozenset()
        self._refused: dict[str, BaseException] = {}
        self.is_due = False
        self._next_flush = 0.0
        self._past: defaultdict[PluginRef, _Past] = defaultdict(_Past)
        self._generations = Generations()

    def __call__(self, fact: Fact, /) -> None:
        """Publish a fact, and soon what has changed by it."""
        if isinstance(fact, ReloadPlanned):
            return  # The records have it; far fewer of them are kept than of events.
        self.board.events.publish(fact)
        match fact:
            case Transition():
                self._past[fact.ref].note(fact)
                self.touch(fact.ref)
            case ReloadCommitted() | ReloadRolledBack() | ReloadFailed() | ReloadSkipped():
                self.touch(*fact.affected)
            case PluginRejected() | PluginFixed():
                self._refused.pop(fact.path, None)
                if isinstance(fact, PluginRejected) and fact.ref is None:
                    self._refused[fact.path] = fact.error
                self.touch(*(() if fact.ref is None else (fact.ref,)))
            case WatchProblem(path=str(path), error=BaseException() as error):
                self._refused[path] = error
                self.touch()
            case WatchRecovered(path=str(path)):
                self._refused.pop(path, None)
                self.touch()
            case PluginLeaked():
                self._past[fact.ref].leaks += (
                    f"generation {fact.generation}: {who}" for who in fact.holders
                )
                self.touch(fact.ref)
            case PluginDegraded() | PluginRecovered() | PluginRequiresRestart():
                self.touch(fact.ref)
            case WatchStarted():  # Some may have run before.
                self._changed = {each.ref: None for each in self._table.present()}
                self.flush(has_started=True)
            case _:
                pass

    def touch(self, *refs: PluginRef) -> None:
        """Publish what has changed: at once, unless that has just been done."""
        self._changed |= dict.fromkeys(refs)
        if self.is_due:
            return
        left = self._next_flush - time.monotonic()
        if left <= 0:
            self.flush()
        else:
            self.is_due = True
            self._later(left, self.flush)

    def flush(self, *, has_started: bool = False) -> None:
        """Publish what has changed now."""
        self.is_due, self._next_flush = False, time.monotonic() + SOON_SECONDS
        before, outdated = self.board.snapshot, self._shared.importers(self._shared.known)
        waiting = self._held()
        changed = self._changed | dict.fromkeys(outdated | self._outdated)
        changed |= dict.fromkeys(waiting ^ self._waiting)
        self._changed, self._outdated, self._waiting = {}, outdated, waiting
        snapshots = {ref: self._snapshot_of(ref) for ref in changed}
        for each in filter(None, snapshots.values()):  # A plugin says itself how it is.
            self._refused.pop(each.status.path or "", None)
        self.board.snapshot = before.updated(
            snapshots,
            self._table.graph,
            has_started=before.has_started or has_started,
            refused={**self._refused},
        )

    def _snapshot_of(self, ref: PluginRef) -> PluginSnapshot | None:
        entry, now = self._table.present_entry(ref), time.time()
        if entry is None:
            self._past.pop(ref, None)
            self._generations.forget(ref)
            return None
        past, status = self._past[ref], self._table.status(entry)
        known = self.board.snapshot.plugins.get(ref)
        pending_since = known.pending_since if known is not None else None
        code = self._table.code.imports_of(ref).code
        runs, on_disk = self._shared.imported_by(ref, (each for each in code if type(each) is str))
        running = self._state.running_inputs(ref, runs)
        past.note_status(status, now)
        if status.state is State.READY:
            since = past.states[-1].since
            self._generations.note(ref, status.generation, since, running.source)
        return PluginSnapshot(
            status=status,
            history=tuple(past.states),
            running=running,
            on_disk=self._state.inputs_on_disk(ref, on_disk),
            has_edit_waiting=ref in self._waiting,
            pending_since=(pending_since or now) if entry.pending else None,
            setup_ms=past.setup_ms,
            generations=self._generations.of(ref),
            leaks=tuple(past.leaks),
        )
