"""From facts to records of reloads: what each was for, what was planned, how the time went by."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.events import (
    PluginDrained,
    ReloadCommitted,
    ReloadFailed,
    ReloadPlanned,
    ReloadRolledBack,
    ReloadSkipped,
    Transition,
)
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.reloads import ReloadRecord
from dagstack_dev.core.timeline import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.events import Fact, ReloadEnd

_MOST_OPEN: Final = 100
"""Of how many reloads it is kept what was done so far; each part of one is reported by itself."""


@dataclass(slots=True)
class _Open:
    """A reload that may go on: the steps before its plan, and of the parts that have not ended."""

    planned: ReloadPlanned
    before: tuple[Span, ...] = ()
    steps: list[Span] = field(default_factory=list)


class Recorder:
    """Makes a record of each reload, or part of one, that has ended; an observer of a registry.

    It is called as soon as something has ended; so when that began, follows from how long it took.

    Args:
        takers: called with each record.
    """

    def __init__(self, *takers: Callable[[ReloadRecord], object]) -> None:
        self._takers = takers
        self._reloads: dict[int, _Open] = {}

    def __call__(self, fact: Fact, /) -> None:
        """Take a fact in."""
        match fact:
            case Transition(reload_id=number, duration_ms=ms):  # Nearly all of them.
                if number is not None and ms is not None:
                    why = {"reason": fact.reason, "error": fact.error}
                    self._add(number, _step_of(fact), perf_counter(), ms, ref=fact.ref, **why)
            case ReloadPlanned():
                self._begin(fact)
            case PluginDrained(reload_id=int(number), duration_ms=ms):
                self._add(number, "drain", fact.ended, ms, ref=fact.ref, held_by=fact.held_by)
            case ReloadCommitted() | ReloadRolledBack() | ReloadFailed() | ReloadSkipped():
                self._end(fact)
            case _:
                pass

    def _begin(self, fact: ReloadPlanned) -> None:
        before, begin_ms = list[Span](), 0.0
        for step, until in (*fact.looks, ("prepare", perf_counter())):
            before.append(Span(step, begin_ms, begin_ms := 1000 * (until - fact.began)))
        self._reloads[fact.reload_id] = _Open(fact, (*before,))
        if len(self._reloads) > _MOST_OPEN:
            del self._reloads[min(self._reloads)]

    def _add(self, number: int, step: str, ended: float, ms: float, **more: Any) -> None:
        reload = self._reloads.get(number)
        if reload is not None:
            end_ms = 1000 * (ended - reload.planned.began)
            reload.steps.append(Span(step, end_ms - ms, end_ms, **more))

    def _end(self, fact: ReloadEnd) -> None:
        reload = self._reloads.get(fact.reload_id)
        if reload is None:  # It had begun before anything was observed, or long ago.
            since = perf_counter() - fact.duration_ms / 1000
            reload = _Open(ReloadPlanned(reload_id=fact.reload_id, plan=(), paths=(), began=since))
        planned, concerned = reload.planned, {*fact.affected}
        spans = [*reload.before, *(each for each in reload.steps if each.ref in concerned)]
        reload.steps = [each for each in reload.steps if each.ref not in concerned]
        if isinstance(fact, ReloadRolledBack | ReloadFailed) and fact.roll_back_ms is not None:
            end_ms = fact.duration_ms
            spans.append(Span("roll_back", end_ms - fact.roll_back_ms, end_ms))
        began = time.time() - (perf_counter() - planned.began)
        record = ReloadRecord(fact, began, planned.paths, planned.plan, planned.edits, tuple(spans))
        for take in self._takers:
            take(record)


def _step_of(fact: Transition) -> str:
    """Return the step that a transition ends."""
    if fact.to_state is State.LOADED or fact.stage is Stage.IMPORT:
        return "import"
    return "teardown" if fact.from_state is State.TEARING_DOWN else "setup"
