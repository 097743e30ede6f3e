"""Reloads that have ended: a record of each part, and all parts of one together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.events import ReloadCommitted, ReloadFailed, ReloadRolledBack, ReloadSkipped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.events import ReloadEnd
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.timeline import Edit, Planned, Span

_WORST_FIRST: Final = (ReloadRolledBack, ReloadFailed, ReloadCommitted, ReloadSkipped)


@dataclass(frozen=True, slots=True)
class ReloadRecord:
    """One reload that has ended, or a part of one that has ended by itself.

    Attributes:
        fact: its end.
        began: when it began, in seconds since the epoch.
        paths: the files that it was for.
        plan: what was to be done, in this order.
        edits: what had been edited.
        spans: what was done.
    """

    fact: ReloadEnd
    began: float
    paths: tuple[str, ...] = ()
    plan: tuple[Planned, ...] = ()
    edits: tuple[Edit, ...] = ()
    spans: tuple[Span, ...] = ()

    @property
    def id(self) -> int:
        """The number of the reload; parts of one that end each by itself share it."""
        return self.fact.reload_id

    @property
    def affected(self) -> tuple[PluginRef, ...]:
        """The plugins that it touched."""
        return self.fact.affected


class Reload(NamedTuple):
    """One reload: what its parts have in common, and what is of each.

    Attributes:
        parts: those that have ended, in the order in which they have; at least one.
    """

    parts: tuple[ReloadRecord, ...]

    @property
    def first(self) -> ReloadRecord:
        """The part that has ended first; what was before the plan is the same in all."""
        return self.parts[0]

    @property
    def fact(self) -> ReloadEnd:
        """The worst end of a part: a failure that is news, a roll-back, what fails as before."""
        return min((each.fact for each in self.parts), key=_rank)

    @property
    def outcome(self) -> str:
        """The worst outcome of a part: "failed", "rolled_back", "committed" or "skipped"."""
        return self.fact.event.removeprefix("reload.")

    @property
    def duration_ms(self) -> float:
        """How long it took until the last part had ended, in milliseconds."""
        return max(each.fact.duration_ms for each in self.parts)

    @property
    def ended(self) -> float:
        """When the last part ended, in seconds since the epoch."""
        return self.first.began + self.duration_ms / 1000

    @property
    def reason(self) -> str | None:
        """Why there was nothing to do, if there was not."""
        return self.fact.reason if isinstance(self.fact, ReloadSkipped) else None

    @property
    def changed(self) -> frozenset[PluginRef]:
        """The plugins that were built again."""
        return frozenset().union(*(each.fact.changed for each in self.parts))

    @property
    def affected(self) -> frozenset[PluginRef]:
        """The plugins that it touched."""
        return frozenset().union(*(each.affected for each in self.parts))

    @property
    def errors(self) -> dict[PluginRef, BaseException]:
        """What went wrong, by plugin."""
        facts = (each.fact for each in self.parts)
        failures = (each for each in facts if isinstance(each, ReloadRolledBack | ReloadFailed))
        return {ref: error for each in failures for ref, error in each.errors.items()}

    @property
    def as_before(self) -> frozenset[PluginRef]:
        """Those of `errors` that had failed with the same message before."""
        failed = (each.fact for each in self.parts if isinstance(each.fact, ReloadFailed))
        return frozenset().union(*(each.as_before for each in failed))

    @property
    def spans(self) -> tuple[Span, ...]:
        """What was done: each step once, also where several parts have it."""
        found = dict.fromkeys(span for each in self.parts for span in each.spans)
        backs = [span for span in found if span.step == "roll_back"]
        return (*(span for span in found if span.step != "roll_back"), *_united(backs))


def _rank(fact: ReloadEnd) -> int:
    is_news = isinstance(fact, ReloadFailed) and not fact.errors.keys() <= {*fact.as_before}
    return -1 if is_news else _WORST_FIRST.index(type(fact))


def _united(spans: Iterable[Span]) -> list[Span]:
    """Return spans that overlap as one: parts that are rolled back together end one by one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda each: each.begin_ms):
        if found and span.begin_ms <= found[-1].end_ms:
            found[-1] = replace(found[-1], end_ms=max(found[-1].end_ms, span.end_ms))
        else:
            found.append(span)
    return found
