"""Which news are taken, and what yields and stays as it runs since they would lose it.

    1. The plugin's own news. In a cycle of news, those that have been on disk longest.
    2. Else, of what it depends on or imports: what does not run yet; then the news that have been
       on disk longest, for what is new is what its author wants tried.
    3. In the end whatever need not have yielded is taken after all, and so is what yielded for
       something that is lost anyway.

What is gone from disk, or renamed, holds nothing back: its dependents are blocked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.registry import DependencyBlocked
from dagstack_dev.core.target import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dagstack_dev.core.plan import Given
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.target import Unit

    Yielding = Mapping[Unit, BaseException]


def choose(given: Given) -> Target:
    """Decide what is built from its news, and what stays as it runs; see the module."""
    target = Target(given, {})
    rounds: list[Sequence[Unit]] = []
    while more := yielding(target):
        before, target = target, Target(given, {**target.yielded, **more})
        new = target.yielded.keys() - before.yielded.keys()
        rounds.append(sorted(new, key=partial(_turn, before)))
    for units in rounds:
        target = take_after_all(target, units)
    return target


def _turn(target: Target, unit: Unit) -> tuple[int, int, int, str]:
    """When `unit` is taken after all: the newest first; what does not run after what it needs.

    Where imported code closes a circle with dependencies, these decide. Else a plugin that waits
    could be taken first, since it does no harm as long as it waits, and keep down what it needs.
    """
    needs, waiting = 0, 0
    if not isinstance(unit, str) and not target.given.goes_on(unit):
        needs, waiting = len(target.upstream(unit)), len(target.graph.downstream([unit]))
    return -target.given.seen(unit), needs, -waiting, str(unit)


def take_after_all(target: Target, units: Sequence[Unit]) -> Target:
    """`target` with as many of `units`, which yielded, as can be taken: all, or those of each half.

    Those that would fail by themselves are left alone at once: there may be many.
    """
    yielded = {unit: error for unit, error in target.yielded.items() if unit not in {*units}}
    other, lost = Target(target.given, yielded), target.lost
    if not yielding(other, lost):
        return other if other.yielded.keys() < target.yielded.keys() else target
    names = {each.name for each in other.graph.refs ^ target.graph.refs}
    failing = {ref for ref in _roots(other, lost) if _is_alike(ref, other, target, names)}
    left = [unit for unit in units if unit not in failing]
    half = (len(left) + 1) // 2 if left == units else len(left)
    for each in (left[:half], left[half:]) if half < len(units) else ():
        target = take_after_all(target, each) if each else target
    return target


def _is_alike(ref: PluginRef, one: Target, other: Target, names: Collection[str]) -> bool:
    """Whether all that `ref` is built with in `one` is so in `other`, where `names` differ."""
    needed = one.upstream(ref) - {ref}
    return (
        needed <= one.graph.refs & other.graph.refs
        and all(one.key(each) == other.key(each) for each in needed)
        and one.finds_alike(ref, other)
        and not any(getattr(want, "name", want) in names for want in one.graph.wants(ref))
    )


def yielding(target: Target, lost: Collection[PluginRef] = ()) -> Yielding:
    """What has to stay as it runs, too, lest something be lost; empty when all is well.

    Args:
        target: how things would be.
        lost: what is lost anyway, so that nothing has to yield for it.
    """
    return _reasons(target, _roots(target, lost)) or _oldest(target, lost)


def _roots(target: Target, lost: Collection[PluginRef]) -> Sequence[PluginRef]:
    """The candidates that would lose something, whatever becomes of the others.

    One that only waits for another may be fine once that one stays as it runs. So may a plugin
    that did not change at all, once the candidate stays that took a name.
    """
    hopeless = _hopeless(target, lost)
    roots = [ref for ref in hopeless if not _waits(target, ref, hopeless)]
    return [ref for ref in roots if ref not in target.renamed] or roots


def _oldest(target: Target, lost: Collection[PluginRef]) -> Yielding:
    """Where news do harm only together, those that have been on disk longest."""
    if hopeless := _hopeless(target, lost):  # They close cycles.
        oldest = min(hopeless.values())
        return _reasons(target, [ref for ref, seen in hopeless.items() if seen == oldest])
    found: dict[Unit, BaseException] = {}
    for ref in sorted(ref for ref, candidate in target.lost.items() if candidate is None):
        error = target.verdicts[ref].error
        if error is None or target.verdicts[ref].blockers or ref in lost:
            continue
        news = _news_upstream(target, ref)
        oldest = min(map(target.given.seen, news), default=0)
        found |= {unit: error for unit in news if target.given.seen(unit) == oldest}
    return found


def _hopeless(target: Target, lost: Collection[PluginRef]) -> Mapping[PluginRef, int]:
    """The candidates that would fail and lose something, and when each was first seen."""
    return {
        each.ref: each.seen
        for ref, each in target.lost.items()
        if each is not None and ref not in lost
    }


def _waits(target: Target, ref: PluginRef, others: Collection[PluginRef]) -> bool:
    """Whether `ref` waits for any of `others`, or closes a cycle with it."""
    seen = {ref}
    frontier = [ref]
    while frontier:
        verdict = target.verdicts.get(frontier.pop())
        more = {*verdict.blocking} - seen if verdict is not None else set()
        if not more.isdisjoint(others):
            return True
        seen |= more
        frontier += more
    return False


def _news_upstream(target: Target, ref: PluginRef) -> set[Unit]:
    """What would be other than it runs of all that `ref` depends on or imports."""
    upstream = target.upstream(ref)
    found: set[Unit] = {
        each
        for each in filter(target.is_news, upstream)
        # To leave it down would not help what depends on it.
        if target.given.goes_on(each) or ref not in target.graph.downstream([each])
    }
    return found | {change.name for each in upstream for change in target.changes.get(each, ())}


def _reasons(target: Target, refs: Iterable[PluginRef]) -> Yielding:
    verdicts = {ref: target.verdicts[ref] for ref in refs}
    return {
        ref: each.error or DependencyBlocked(ref, each.blocking) for ref, each in verdicts.items()
    }
