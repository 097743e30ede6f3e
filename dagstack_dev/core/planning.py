"""What a reload has to do, decided from facts alone.

The planner sees what runs (`World`) and what the disk now offers (`Candidate`, removed refs) and
answers with a `ReloadPlan`. It touches nothing; the reloader of the host carries the plan out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dagstack_dev.core.errors import AmbiguousPlugin, DependencyCycle, PluginRegistryError
from dagstack_dev.core.plan import (
    Candidate,
    DependencyBlocked,
    Load,
    ReloadPlan,
    Step,
    Transaction,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.plan import World
    from dagstack_dev.core.refs import PluginRef


def plan_reload(
    world: World,
    candidates: Iterable[Candidate] = (),
    removed: Iterable[PluginRef] = (),
) -> ReloadPlan:
    """Decide how `world` becomes what the disk offers.

    A candidate that cannot be prepared, closes a cycle or depends on what is not to be had is
    rejected while its old generation runs, and fails or is blocked where none does. A plugin
    that is removed is removed: its dependents are blocked.

    Steps:
        1. Reject what could not be prepared.
        2. Build the graph as it would be; collect the subgraph downstream of every change.
        3. Judge each plugin of it: can it be set up, and if not, why?
        4. A live candidate that cannot is rejected: pin its old dependencies, go to 2.
        5. Order what remains and split it into connected transactions.
    """
    draft = _Draft(world, candidates, removed)
    while True:
        draft.build_graph()
        verdicts = draft.judge()
        faulty = draft.reject_from(verdicts)
        if not faulty:
            break
    return ReloadPlan(draft.graph, draft.transactions(verdicts), dict(draft.rejected))


def _by_ref(candidate: Candidate) -> PluginRef:
    return candidate.ref


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether a plugin can be set up: neither `error` (its own fault) nor `blockers`.

    `blockers` are what it waits for, in words; `blocking` are the plugins that have to come right
    first, those it closes a cycle with included.
    """

    error: PluginRegistryError | None = None
    blockers: tuple[str, ...] = ()
    blocking: tuple[PluginRef, ...] = ()

    @property
    def viable(self) -> bool:
        return self.error is None and not self.blockers


class _Draft:
    """A plan in the making; `rejected` grows until every verdict holds."""

    def __init__(
        self, world: World, candidates: Iterable[Candidate], removed: Iterable[PluginRef]
    ) -> None:
        self.world = world
        self.graph = world.graph
        self.rejected: dict[PluginRef, PluginRegistryError] = {}
        self.offers = {each.ref: each for each in sorted(candidates, key=_by_ref)}
        self.gone = set(removed)
        self.replacing: defaultdict[PluginRef, list[Candidate]] = defaultdict(list)
        for candidate in self.offers.values():
            if candidate.replaces is not None:
                self.replacing[candidate.replaces].append(candidate)
        self.affected: set[PluginRef] = set()
        self.renamed: set[PluginRef] = set()
        for candidate in list(self.offers.values()):
            if candidate.error is not None and self._risks(candidate):
                self._reject(candidate, candidate.error)

    def _risks(self, candidate: Candidate) -> bool:
        """Whether something that runs would be lost, should `candidate` fail."""
        if candidate.is_lost:
            return False
        return self.world.is_live(candidate.keeps) or self.world.is_live(candidate.ref)

    def _reject(self, candidate: Candidate, error: PluginRegistryError) -> None:
        """Leave `candidate` out, and every other that would take what it leaves running."""
        if self.offers.get(candidate.ref) is not candidate:
            return
        del self.offers[candidate.ref]
        self.rejected[candidate.keeps] = error
        kept = {candidate.keeps}
        if self.world.is_live(candidate.ref):
            self.rejected.setdefault(candidate.ref, error)
            kept.add(candidate.ref)
        claims = [(held, other) for held in sorted(kept) for other in self._claiming(held)]
        for held, other in claims:
            because = f"{other.ref} has to wait: {held} goes on running, since {error}"
            self._reject(other, AmbiguousPlugin(because, ref=other.ref, candidates=[held]))

    def _claiming(self, ref: PluginRef) -> Iterator[Candidate]:
        """Every candidate left that is to be `ref`, or to take its place."""
        if ref in self.offers:
            yield self.offers[ref]
        for other in self.replacing.get(ref, ()):
            if self.offers.get(other.ref) is other:
                yield other

    def build_graph(self) -> None:
        """The graph with every remaining offer in force, and what it affects."""
        world = self.world
        for ref in self.renamed:  # They may have been so only because of what is rejected now.
            self.offers.pop(ref, None)
        replaced = {offer.replaces for offer in self.offers.values() if offer.replaces is not None}
        self.leaving = (self.gone | replaced) - self.rejected.keys() - self.offers.keys()
        wants: dict[PluginRef, Sequence[str | PluginRef]] = {
            ref: world.graph.wants(ref) for ref in self.rejected if ref in world.graph
        }
        wants |= {
            offer.ref: () if offer.error is not None else tuple(offer.wants)
            for offer in self.offers.values()
        }
        graph, rewired = world.graph.updated(wants, self.leaving)
        pinned = {  # What is rejected keeps what its names meant, whatever they mean now.
            ref: world.graph.dependencies(ref)
            for ref in self.rejected
            if graph.dependencies(ref) != world.graph.dependencies(ref)
        }
        self.graph, _ = graph.updated(pinned)
        self.renamed = set()
        for ref in sorted(rewired - self.offers.keys() - self.rejected.keys()):
            self._offer_rewired(ref)
        self.affected = self._affected()

    def _offer_rewired(self, ref: PluginRef) -> None:
        """`ref` itself did not change, but a name it depends on now means another plugin."""
        problem = self.graph.problem(ref)
        if problem is not None and self._lost(ref):
            return  # What it depended on is gone: it will be blocked, not rejected.
        self.renamed.add(ref)
        self.offers[ref] = Candidate(
            ref,
            wants=self.graph.wants(ref),
            priority=self.world.priorities.get(ref, 0),
            reason="a name it depends on now means another plugin",
            load=Load.RENEW if self.world.is_live(ref) else Load.IMPORT,
        )

    def _lost(self, ref: PluginRef) -> list[PluginRef]:
        """What `ref` depended on and is leaving."""
        return [other for other in self.world.graph.dependencies(ref) if other in self.leaving]

    def _affected(self) -> set[PluginRef]:
        """Downstream of every change, in the old graph, the new one and by imported code."""
        reached: set[PluginRef] = set()
        frontier = {*self.offers, *self.leaving}
        while frontier:
            reached |= frontier
            found = self.world.graph.downstream(frontier) | self.graph.downstream(frontier)
            for ref in list(found):
                found |= self.world.importers(ref)
            frontier = found - reached
        return reached

    def judge(self) -> dict[PluginRef, _Verdict]:
        """Why each affected plugin can or cannot be set up, dependencies first."""
        pool = self.affected - self.leaving
        inside = {
            ref: [other for other in self.graph.dependencies(ref) if other in pool] for ref in pool
        }
        unlocks: defaultdict[PluginRef, list[PluginRef]] = defaultdict(list)
        waiting = {}
        for ref, others in inside.items():
            waiting[ref] = len(others)
            for other in others:
                unlocks[other].append(ref)
        verdicts: dict[PluginRef, _Verdict] = {}
        startable = [ref for ref, count in waiting.items() if not count]
        while len(verdicts) < len(pool):
            if startable:
                released = [startable.pop()]
                verdicts[released[0]] = self._judge_one(released[0], verdicts)
            else:
                released = self._condemn_cycle(pool - verdicts.keys(), verdicts)
            for done in released:
                for ref in unlocks[done]:
                    waiting[ref] -= 1
                    if not waiting[ref] and ref not in verdicts:
                        startable.append(ref)
        return verdicts

    def _condemn_cycle(
        self, left: set[PluginRef], verdicts: dict[PluginRef, _Verdict]
    ) -> list[PluginRef]:
        """Nothing can start any more: some of `left` close a cycle. Fail its members."""
        cycle = self.graph.find_cycle(left)
        if cycle is None:  # pragma: no cover - a finite graph without a source has a cycle
            cycle = tuple(sorted(left))
        for ref in cycle:
            verdicts[ref] = _Verdict(error=DependencyCycle(cycle), blocking=tuple(cycle))
        return list(cycle)

    def _judge_one(self, ref: PluginRef, verdicts: Mapping[PluginRef, _Verdict]) -> _Verdict:
        offer = self.offers.get(ref)
        if offer is not None and offer.error is not None:
            return _Verdict(error=offer.error)
        if ref in self.rejected and not self.world.is_live(ref):
            return _Verdict(error=self.rejected[ref])
        blocking = tuple(
            other
            for other in self.graph.dependencies(ref)
            if not (verdicts[other].viable if other in verdicts else self.world.is_live(other))
        )
        blockers = tuple(map(str, blocking))
        problem = self.graph.problem(ref)
        if problem is None:
            return _Verdict(blockers=blockers, blocking=blocking)
        missing = tuple(getattr(problem, "missing", ()))
        return _Verdict(error=problem, blockers=missing and (*missing, *blockers))

    def reject_from(self, verdicts: Mapping[PluginRef, _Verdict]) -> bool:
        """Reject live offers that cannot be set up; roots of the trouble first.

        An offer that only waits for another live offer may be fine once that one is rejected
        and its old generation stays, so it gets another verdict. So does a plugin that did not
        change at all, once the candidate that took a name it depends on is rejected.
        """
        hopeless = {
            offer.ref: offer
            for offer in self.offers.values()
            if not verdicts[offer.ref].viable and self._risks(offer)
        }
        roots = [
            offer
            for offer in hopeless.values()
            if verdicts[offer.ref].error is not None
            or not self._waits_for(offer.ref, hopeless.keys(), verdicts)
        ]
        culprits = [offer for offer in roots if offer.ref not in self.renamed]
        for offer in culprits or roots:
            verdict = verdicts[offer.ref]
            self._reject(offer, verdict.error or DependencyBlocked(offer.ref, verdict.blocking))
        return bool(roots)

    def _waits_for(
        self,
        ref: PluginRef,
        others: AbstractSet[PluginRef],
        verdicts: Mapping[PluginRef, _Verdict],
    ) -> bool:
        seen = {ref}
        frontier = [ref]
        while frontier:
            for blocker in verdicts[frontier.pop()].blocking:
                if blocker in others:
                    return True
                if blocker in verdicts and blocker not in seen:
                    seen.add(blocker)
                    frontier.append(blocker)
        return False

    def transactions(self, verdicts: Mapping[PluginRef, _Verdict]) -> tuple[Transaction, ...]:
        """The steps, split into connected parts, each in order."""
        viable = [ref for ref, verdict in verdicts.items() if verdict.viable]
        order = self.graph.order(viable, self._priority)
        live = sorted(
            (ref for ref in self.affected if self.world.is_live(ref)),
            key=self.world.setup_order.__getitem__,
            reverse=True,
        )
        loads = self._loads(order)
        drafts: defaultdict[PluginRef, dict[str, list[Step]]] = defaultdict(
            lambda: defaultdict(list)
        )
        part = self._components()
        for ref in live:
            drafts[part[ref]]["tear_down"].append(Step(ref, self._reason(ref)))
        for ref in sorted(self.leaving & self.affected):
            drafts[part[ref]]["remove"].append(Step(ref, self._reason(ref)))
        for ref in order:
            reason = self._reason(ref, loads[ref])
            drafts[part[ref]]["set_up"].append(Step(ref, reason, load=loads[ref]))
        for ref in sorted(verdicts):
            verdict = verdicts[ref]
            if verdict.blockers:
                step = Step(ref, self._reason(ref), None, verdict.error, verdict.blockers)
                drafts[part[ref]]["block"].append(step)
            elif verdict.error is not None:
                drafts[part[ref]]["fail"].append(Step(ref, self._reason(ref), error=verdict.error))
        return tuple(
            Transaction(**{name: tuple(steps) for name, steps in draft.items()})
            for _, draft in sorted(drafts.items())
        )

    def _priority(self, ref: PluginRef) -> int:
        offer = self.offers.get(ref)
        return offer.priority if offer else self.world.priorities.get(ref, 0)

    def _loads(self, order: Sequence[PluginRef]) -> dict[PluginRef, Load]:
        """New code for what changed or does not run, and for who imported such code."""
        anew = {
            ref
            for ref in order
            if not self.world.is_live(ref)
            or ((offer := self.offers.get(ref)) is not None and offer.load is Load.IMPORT)
        } | self.leaving
        frontier = list(anew)
        while frontier:
            for ref in self.world.importers(frontier.pop()):
                if ref not in anew:
                    anew.add(ref)
                    frontier.append(ref)
        return {ref: Load.IMPORT if ref in anew else Load.RENEW for ref in order}

    def _reason(self, ref: PluginRef, load: Load | None = None) -> str:
        offer = self.offers.get(ref)
        if offer is not None:
            return offer.reason
        if ref in self.leaving:
            return "removed"
        for graph in (self.graph, self.world.graph):
            for other in graph.dependencies(ref) if ref in graph else ():
                if other in self.affected:
                    return f"depends on {other}"
        verb = "imports" if load is not Load.RENEW else "uses"
        return f"{verb} code of {self._imported[ref]}"

    @cached_property
    def _imported(self) -> dict[PluginRef, PluginRef]:
        """For each importer of affected plugins the smallest of these, once all are known."""
        return {
            ref: other
            for other in sorted(self.affected, reverse=True)
            for ref in self.world.importers(other)
        }

    def _components(self) -> dict[PluginRef, PluginRef]:
        """For each affected plugin the smallest ref of its connected part."""
        neighbours: defaultdict[PluginRef, set[PluginRef]] = defaultdict(set)
        for one, other in self._ties():
            if one in self.affected and other in self.affected:
                neighbours[one].add(other)
                neighbours[other].add(one)
        part: dict[PluginRef, PluginRef] = {}
        for start in sorted(self.affected):
            if start in part:
                continue
            part[start] = start
            frontier = [start]
            while frontier:
                for ref in neighbours[frontier.pop()]:
                    if ref not in part:
                        part[ref] = start
                        frontier.append(ref)
        return part

    def _ties(self) -> Iterator[tuple[PluginRef, PluginRef]]:
        """The pairs of plugins that have to commit or roll back together."""
        for ref in self.affected:
            for others in (
                self.graph.dependencies(ref),
                # What does not run has no part in a teardown.
                self.world.graph.dependencies(ref) if self.world.is_live(ref) else (),
                self.world.importers(ref),
            ):
                yield from ((ref, other) for other in others)
        sharing: dict[str, PluginRef] = {}
        for offer in self.offers.values():
            if offer.replaces is not None:
                yield offer.ref, offer.replaces
            if offer.shared is not None:
                yield offer.ref, sharing.setdefault(offer.shared, offer.ref)
