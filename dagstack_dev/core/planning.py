"""What a reload has to do, decided from facts alone.

The planner sees what runs (`World`), what the disk has (`Candidate`, `SharedNews`, removed
refs) and which builds are known to fail, and answers with a `ReloadPlan`. It touches nothing; the
executor of the host carries the plan out.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.choice import choose
from dagstack_dev.core.desired import PENDING
from dagstack_dev.core.graph import reach
from dagstack_dev.core.plan import Given, Load, ReloadPlan, Step, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.plan import Candidate, Failures, SharedNews, World
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.target import Target

NO_FAILURES: Final[Failures] = MappingProxyType({})


def plan_reload(
    world: World,
    candidates: Iterable[Candidate] = (),
    removed: Iterable[PluginRef] = (),
    *,
    shared: Iterable[SharedNews] = (),
    failures: Failures = NO_FAILURES,
) -> ReloadPlan:
    """Decide how `world` becomes what the disk has.

    What would lose something that runs stays as it runs, see `core.choice`; where nothing runs, it
    fails or is blocked. A plugin that is removed is removed: its dependents are blocked.

    Args:
        world: what runs.
        candidates: what plugins are to be built from, at most one for each.
        removed: plugins that are gone from disk.
        shared: changes of code that plugins import and that is none of them.
        failures: builds that are known to fail, and not tried again.
    """
    given = Given(
        world,
        {each.ref: each for each in sorted(candidates, key=lambda each: each.ref)},
        frozenset(removed),
        {each.name: each for each in sorted(shared, key=lambda each: each.name)},
        failures,
    )
    target = choose(given)
    steps = _Steps(world, target)
    return ReloadPlan(
        target.graph,
        steps.transactions(),
        dict(target.rejected),
        given.candidates.keys() - target.left_out.keys(),
        {name: error for name, error in target.yielded.items() if isinstance(name, str)},
        target.files,
        target.key,
    )


class _Steps:
    """What leads from `world` to `target`."""

    def __init__(self, world: World, target: Target) -> None:
        self.world = world
        self.target = target
        self.taken = target.taken
        self.graph = target.graph
        self.affected = target.affected
        self.gone = target.given.removed & target.leaving

    def transactions(self) -> tuple[Transaction, ...]:
        """The steps, split into connected parts, each in order."""
        verdicts, leaving = self.target.verdicts, self.target.leaving
        order = self.graph.order(self.target.viable, self._priority)
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
        for ref in sorted(leaving & self.affected):
            drafts[part[ref]]["remove"].append(Step(ref, self._reason(ref)))
        for ref in order:
            reason = self._reason(ref, loads[ref])
            drafts[part[ref]]["set_up"].append(Step(ref, reason, load=loads[ref]))
        for ref in sorted(verdicts):
            verdict = verdicts[ref]
            if verdict.blockers:
                step = Step(ref, self._reason(ref), blocked_by=verdict.blockers)
                drafts[part[ref]]["block"].append(step)
            elif verdict.error is not None:
                drafts[part[ref]]["fail"].append(
                    Step(ref, self._reason(ref), error=verdict.error, is_known=verdict.is_known)
                )
        shared: defaultdict[PluginRef, list[str]] = defaultdict(list)
        for change in self.target.shared:
            for at in {part[ref] for ref in change.plugins if ref in part}:
                shared[at].append(change.name)
        losing = self._with_importers(self._with_blocked(self.gone))
        return tuple(
            Transaction(
                **{name: tuple(steps) for name, steps in draft.items()},
                gone=frozenset(step.ref for step in draft["remove"]) & self.gone,
                unprotected=frozenset(step.ref for step in draft["set_up"]) & losing,
                shared=tuple(shared[at]),
            )
            for at, draft in sorted(drafts.items())
        )

    def _priority(self, ref: PluginRef) -> int:
        candidate = self.taken.get(ref)
        return candidate.priority if candidate else self.world.priorities.get(ref, 0)

    def _loads(self, order: Sequence[PluginRef]) -> dict[PluginRef, Load]:
        """New code for what changed or does not run, and for who imported such code."""
        changed = {ref for change in self.target.shared for ref in change.plugins}
        anew = {
            ref
            for ref in order
            if not self.world.is_live(ref)
            or ref in changed
            or ((candidate := self.taken.get(ref)) is not None and candidate.load is Load.IMPORT)
        }
        anew = self._with_importers(anew | self._with_blocked(self.target.leaving))
        return {ref: Load.IMPORT if ref in anew else Load.RENEW for ref in order}

    def _with_blocked(self, refs: AbstractSet[PluginRef]) -> AbstractSet[PluginRef]:
        """`refs`, which leave, and what waits for them then: no plugin can import any of it."""
        return refs | (self.world.graph.downstream(refs) & self.affected) - self.target.viable

    def _with_importers(self, refs: Iterable[PluginRef]) -> set[PluginRef]:
        """`refs` and the plugins that have imported their code, directly or through others."""
        return reach(refs, self.world.importers)

    def _reason(self, ref: PluginRef, load: Load | None = None) -> str:
        candidate = self.taken.get(ref)
        if candidate is None and ref not in self.target.rejected:
            candidate = self.target.given.candidates.get(ref)
        if candidate is not None and candidate.reason != PENDING:
            return candidate.reason
        if ref in self.target.leaving:
            return "removed"
        if ref in self._shared_reasons:
            return self._shared_reasons[ref]
        if candidate is not None:
            return PENDING
        for graph in (self.graph, self.world.graph):
            for other in graph.dependencies(ref) if ref in graph else ():
                if other in self.affected:
                    return f"depends on {other}"
        verb = "imports" if load is not Load.RENEW else "uses"
        return f"{verb} code of {self._imported[ref]}"

    @cached_property
    def _shared_reasons(self) -> dict[PluginRef, str]:
        return {ref: each.reason for each in self.target.shared[::-1] for ref in each.plugins}

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
            if start not in part:
                part |= dict.fromkeys(reach([start], neighbours.__getitem__), start)
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
        for candidate in self.taken.values():
            if candidate.replaces is not None:
                yield candidate.ref, candidate.replaces
        for change in self.target.shared:
            together = sorted(change.plugins & self.affected)
            yield from ((ref, together[0]) for ref in together[1:])
