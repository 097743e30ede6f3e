"""Carries out a plan: the reload transaction.

For all transactions of a plan together: tear down in reverse setup order, import anew, set up in
dependency order. Then each transaction for itself commits or rolls back. What the plan decided is
not questioned here; what could not be known beforehand (an import or a setup that raises) is
dealt with here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import anyio.lowlevel

from dagstack_dev.core.errors import PluginLoadError, PluginRegistryError
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadStarted,
)
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.planning import Load
from dagstack_dev.host.conductor import Conductor, SetupRun
from dagstack_dev.host.schedule import Progress, bring_up
from dagstack_dev.host.table import Entry, Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.planning import Candidate, ReloadPlan, Step, Transaction
    from dagstack_dev.core.ports import Generation
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.context import PluginContext


class Retired(NamedTuple):
    """A generation that should be gone by now."""

    ref: PluginRef
    number: int
    generation: Generation


@dataclass(slots=True)
class Applied:
    """What became of a plan.

    Attributes:
        errors: why a plugin is not what the disk offers, by ref.
        rolled_back: every plugin of a transaction that was rolled back.
        touched: every plugin for which there was anything to do.
        retired: generations that nothing should hold any more.
    """

    errors: dict[PluginRef, BaseException] = field(default_factory=dict)
    rolled_back: set[PluginRef] = field(default_factory=set)
    touched: set[PluginRef] = field(default_factory=set)
    retired: list[Retired] = field(default_factory=list)


class _Saved(NamedTuple):
    """What ran before, to go back to."""

    offer: Offer
    generation: Generation | None
    number: int
    context: PluginContext | None


class _Run:
    """One transaction under way."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.saved: dict[PluginRef, _Saved] = {}
        self.failed: dict[PluginRef, BaseException] = {}
        self.doomed = False
        self.steps = {step.ref: step for step in transaction.set_up}

    @property
    def refs(self) -> tuple[PluginRef, ...]:
        return tuple(sorted(self.transaction.refs))


class Reloader:
    """Executes plans on the plugins of a conductor."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._table = conductor.table

    async def apply(
        self,
        plan: ReloadPlan,
        candidates: Mapping[PluginRef, Candidate],
        offers: Mapping[PluginRef, Offer],
        *,
        reload_id: int | None,
        paths: Sequence[str] = (),
        began: float,
    ) -> Applied:
        """Bring what runs to what `plan` says.

        Args:
            plan: made for the plugins as they are now.
            candidates: those the plan was made from, by ref.
            offers: what each candidate is to be loaded from.
            reload_id: for the facts; None for the first start, which is no reload.
            paths: what caused it, for the facts.
            began: when the reload began, on the clock of `time.perf_counter`.

        A cancellation leaves a graph in which some plugins are ready and the rest is down; it is
        to be followed by a teardown of everything.
        """
        table = self._table
        table.reload_id = reload_id
        applied = Applied()
        runs = [_Run(transaction) for transaction in plan.transactions]
        news = [run for run in runs if not self._is_known(run.transaction)]
        applied.touched.update(*(run.transaction.refs for run in news))
        if reload_id is not None and news:
            table.publish(
                ReloadStarted(
                    reload_id=reload_id,
                    paths=tuple(paths),
                    changed=tuple(sorted(candidates.keys() & applied.touched)),
                    affected=tuple(sorted(applied.touched)),
                )
            )
        try:
            with table.watchdog.watching():
                await self._tear_down(runs)
                await anyio.lowlevel.checkpoint_if_cancelled()
                before, table.graph = table.graph, plan.graph
                self._load(runs, candidates, offers)
                await self._set_up(runs, candidates)
                for run in runs:
                    if not run.doomed:
                        self._commit(run, applied)
                doomed = [run for run in runs if run.doomed]
                if doomed:
                    await self._roll_back(doomed, before, candidates, applied)
            if reload_id is not None:
                self._report(news, candidates, reload_id, began)
        finally:
            table.reload_id = None
        return applied

    def reject(
        self, ref: PluginRef | None, path: str, error: BaseException, reload_id: int | None
    ) -> None:
        """A newer source is not taken over; what runs goes on, and is pending."""
        entry = self._table.entries.get(ref) if ref is not None else None
        keeps = None
        if entry is not None and self._table.states[entry.ref] is State.READY:
            keeps = entry.number
            entry.pending, entry.error = True, error
        self._table.publish(
            PluginRejected(
                ref=ref, path=path, error=error, keeps_generation=keeps, reload_id=reload_id
            )
        )

    def _is_known(self, transaction: Transaction) -> bool:
        """Whether all that `transaction` comes to is what is known already: still broken."""
        return (
            not (transaction.tear_down or transaction.remove or transaction.set_up)
            and all(map(self._fails_already, transaction.fail))
            and all(map(self._waits_already, transaction.block))
        )

    def _fails_already(self, step: Step) -> bool:
        entry = self._table.entries.get(step.ref)
        return (
            entry is not None
            and self._table.states[step.ref] is State.FAILED
            and str(entry.error) == str(step.error)
        )

    def _waits_already(self, step: Step) -> bool:
        entry = self._table.entries.get(step.ref)
        return (
            entry is not None
            and self._table.states[step.ref] is State.BLOCKED
            and entry.blocked_by == step.blocked_by
        )

    # Tear down

    async def _tear_down(self, runs: Iterable[_Run]) -> None:
        """Take everything affected down, strictly in reverse of the order of setups."""
        table = self._table
        steps: list[tuple[int, Step, _Run]] = [
            (table.setup_order[step.ref], step, run)
            for run in runs
            for step in run.transaction.tear_down
        ]
        steps.sort(key=lambda each: each[0], reverse=True)
        for _, step, run in steps:
            entry = table.entries[step.ref]
            run.saved[step.ref] = _Saved(entry.offer, entry.generation, entry.number, entry.context)
            await self._conductor.tear_down(entry, step.reason)

    # Import

    def _load(
        self,
        runs: Sequence[_Run],
        candidates: Mapping[PluginRef, Candidate],
        offers: Mapping[PluginRef, Offer],
    ) -> None:
        """Import what changed, and make every new instance."""
        table = self._table
        kept = self._loaded_already(runs, offers)
        for run in runs:
            anew = [
                ref
                for ref, step in run.steps.items()
                if step.load is Load.IMPORT and ref not in kept
            ]
            leaving = [step.ref for step in (*run.transaction.remove, *run.transaction.block)]
            for ref in (*anew, *leaving):
                entry = table.entries.get(ref)
                if entry is not None and entry.generation is not None:
                    entry.generation.set_aside()
            for step in (*run.transaction.set_up, *run.transaction.block, *run.transaction.fail):
                self._entry(step, offers)
        for run in runs:
            for step in run.transaction.set_up:
                if run.doomed:
                    break
                if self._waits_for_failed(run, step.ref):
                    continue
                entry = table.entries[step.ref]
                entry.context = self._conductor.context
                if step.ref in kept:
                    continue
                try:
                    assert step.load is not None  # noqa: S101 - every set_up step has one
                    self._conductor.load(entry, step.load, step.reason)
                except PluginRegistryError as error:
                    self._fail(entry, error, Stage.IMPORT, "could not be loaded")
                    run.failed[step.ref] = error
                    run.doomed = self._must_roll_back(run, step.ref, candidates)

    def _loaded_already(
        self, runs: Iterable[_Run], offers: Mapping[PluginRef, Offer]
    ) -> set[PluginRef]:
        """What the registry has loaded but never set up, and whose code is still that on disk."""
        table = self._table
        steps = {ref for run in runs for ref in run.steps}
        kept = {ref for ref in steps - offers.keys() if table.states.get(ref) is State.LOADED}
        importers: list[PluginRef] = list(steps - kept)
        while importers:
            stale = table.importers.get(importers.pop(), frozenset()) & kept
            kept -= stale
            importers += stale
        return kept

    def _entry(self, step: Step, offers: Mapping[PluginRef, Offer]) -> Entry:
        table = self._table
        offer = offers.get(step.ref)
        entry = table.entries.get(step.ref)
        if entry is None or table.states[step.ref] is State.REMOVED:
            assert offer is not None, "an unknown plugin without an offer"  # noqa: S101
            return table.add(offer, step.reason)
        if offer is not None:
            table.offer(entry, offer)
        return entry

    def _fail(self, entry: Entry, error: BaseException, stage: Stage, reason: str) -> None:
        self._table.advance(entry, State.FAILED, reason, error=error, stage=stage)
        entry.gate.give_up(f"it failed to load: {error}")

    def _waits_for_failed(self, run: _Run, ref: PluginRef) -> bool:
        """Whether something that `ref` needs has failed, or waits for a failure itself."""
        if not run.failed:
            return False
        return ref in self._table.graph.downstream(run.failed)

    def _must_roll_back(
        self, run: _Run, failed: PluginRef, candidates: Mapping[PluginRef, Candidate]
    ) -> bool:
        """Whether the failure keeps a plugin down that was ready before."""
        for ref in self._table.graph.downstream([failed]) & run.steps.keys():
            candidate = candidates.get(ref)
            before = candidate.keeps if candidate is not None else ref
            if before in run.saved:
                return True
        return False

    # Set up

    async def _set_up(
        self, runs: Sequence[_Run], candidates: Mapping[PluginRef, Candidate]
    ) -> None:
        """Set up what is loaded; a failure that has to be rolled back gives its part up."""
        run_of = {ref: run for run in runs for ref in run.steps}
        order = [
            ref
            for run in runs
            if not run.doomed
            for ref in run.steps
            if ref not in run.failed and not self._waits_for_failed(run, ref)
        ]

        def give_up(ref: PluginRef) -> Collection[PluginRef]:
            run = run_of[ref]
            run.failed[ref] = progress.failed[ref]
            run.doomed = run.doomed or self._must_roll_back(run, ref, candidates)
            return run.steps.keys() if run.doomed else ()

        progress = Progress()
        await self._bring_up(order, lambda ref: run_of[ref].steps[ref].reason, give_up, progress)

    async def _bring_up(
        self,
        order: Sequence[PluginRef],
        reasons: Callable[[PluginRef], str],
        give_up: Callable[[PluginRef], Iterable[PluginRef]],
        progress: Progress,
    ) -> None:
        steps = SetupRun(self._conductor, reasons, give_up)
        await bring_up(order, self._table.graph.dependencies, steps, progress)

    # Commit

    def _commit(self, run: _Run, applied: Applied) -> None:
        """Let the new state stand: settle who is failed, blocked or removed, retire the old."""
        table = self._table
        transaction = run.transaction
        for step in transaction.set_up:
            entry = table.entries.get(step.ref)
            if step.ref in run.failed:
                applied.errors[step.ref] = run.failed[step.ref]
                self._drop(step.ref, run, applied)
            elif table.states.get(step.ref) is State.READY:
                assert entry is not None  # noqa: S101 - it has a state
                entry.pending, entry.error = False, None
                saved = run.saved.get(step.ref)
                if saved is not None and saved.generation is not entry.generation:
                    self._retire(step.ref, saved.number, saved.generation, applied)
            else:
                waiting_for = tuple(
                    str(ref)
                    for ref in table.graph.dependencies(step.ref)
                    if table.states.get(ref) is not State.READY
                )
                self._block(step.ref, step.reason, waiting_for, run, applied)
        for step in transaction.block:
            self._block(step.ref, step.reason, step.blocked_by, run, applied)
        for step in transaction.fail:
            entry = table.entries[step.ref]
            assert step.error is not None  # noqa: S101 - every fail step has one
            applied.errors[step.ref] = step.error
            if not (self._fails_already(step) or _is_crash(step)):
                self._fail(entry, step.error, Stage.PREPARE, step.reason)
            self._drop(step.ref, run, applied)
        for step in transaction.remove:
            entry = table.entries[step.ref]
            self._drop(step.ref, run, applied)
            table.advance(entry, State.REMOVED, step.reason)
            entry.gate.give_up("it was removed from disk")

    def _block(
        self,
        ref: PluginRef,
        reason: str,
        blocked_by: tuple[str, ...],
        run: _Run,
        applied: Applied,
    ) -> None:
        table = self._table
        entry = table.entries[ref]
        self._drop(ref, run, applied)
        entry.pending = False
        same = table.states[ref] is State.BLOCKED and entry.blocked_by == blocked_by
        if not same:
            table.advance(entry, State.BLOCKED, reason, blocked_by=blocked_by)
            entry.gate.give_up(f"it waits for {', '.join(blocked_by)}")

    def _drop(self, ref: PluginRef, run: _Run, applied: Applied) -> None:
        """Nothing of `ref` is to stay in memory."""
        table = self._table
        entry = table.entries[ref]
        saved = run.saved.get(ref)
        generations = {entry.number: entry.generation}
        if saved is not None:
            generations[saved.number] = saved.generation
        for number, generation in generations.items():
            self._retire(ref, number, generation, applied)
        table.set_generation(entry, None)
        if not entry.offer.by_hand:
            entry.take_out()

    def _retire(
        self, ref: PluginRef, number: int, generation: Generation | None, applied: Applied
    ) -> None:
        if generation is not None:
            generation.retire()
            applied.retired.append(Retired(ref, number, generation))

    # Roll back

    async def _roll_back(
        self,
        runs: Sequence[_Run],
        before: DependencyGraph,
        candidates: Mapping[PluginRef, Candidate],
        applied: Applied,
    ) -> None:
        """Bring the previous generations of whole transactions back, with new instances."""
        table = self._table
        for run in runs:
            up = [ref for ref in run.steps if table.states.get(ref) is State.READY]
            up.sort(key=table.setup_order.__getitem__, reverse=True)
            for ref in up:
                await self._conductor.tear_down(table.entries[ref], "rolled back")
        for run in runs:
            self._withdraw(run, candidates, applied)
        self._rewire(runs, before)
        run_of = {ref: run for run in runs for ref in run.saved}
        lost: dict[PluginRef, BaseException] = {}
        for ref, run in run_of.items():
            self._restore(ref, run, lost)
        order = [
            ref
            for ref in table.graph.order(run_of, lambda ref: table.priorities.get(ref, 0))
            if not lost or ref not in table.graph.downstream(lost)
        ]
        progress = Progress()
        await self._bring_up(order, lambda _: "rolled back", lambda _: (), progress)
        lost |= progress.failed
        for ref, run in run_of.items():
            entry = table.entries[ref]
            if table.states[ref] is State.READY:
                self._mark_pending(ref, run, candidates, applied)
                continue
            if ref in lost:
                applied.errors[ref] = lost[ref]
                self._drop(ref, run, applied)
            else:
                waiting_for = tuple(
                    str(other)
                    for other in table.graph.dependencies(ref)
                    if table.states.get(other) is not State.READY
                )
                self._block(
                    ref, "its dependency could not be rolled back", waiting_for, run, applied
                )
            entry.pending = False
        for run in runs:
            applied.rolled_back.update(run.refs)
            run.failed |= {ref: error for ref, error in lost.items() if ref in run.saved}

    def _withdraw(
        self, run: _Run, candidates: Mapping[PluginRef, Candidate], applied: Applied
    ) -> None:
        """Take the new generations of a transaction out again."""
        table = self._table
        culprits = tuple(str(ref) for ref in run.failed)
        for ref in run.steps:
            entry = table.entries.get(ref)
            if entry is None:
                continue
            saved = run.saved.get(ref)
            if saved is not None:
                newer = entry.generation
                if newer is not saved.generation:
                    self._retire(ref, entry.number, newer, applied)
                table.set_generation(entry, None)
                continue
            self._drop(ref, run, applied)
            candidate = candidates.get(ref)
            if candidate is not None and candidate.replaces in run.saved:
                if table.states[ref] is State.LOADED:
                    table.advance(entry, State.BLOCKED, "rolled back", blocked_by=culprits)
                table.advance(entry, State.REMOVED, "rolled back")
            elif table.states[ref] is not State.FAILED:
                table.advance(entry, State.BLOCKED, "rolled back", blocked_by=culprits)
            if ref in run.failed:
                applied.errors[ref] = run.failed[ref]

    def _rewire(self, runs: Sequence[_Run], before: DependencyGraph) -> None:
        """Give what is rolled back the dependencies that it had `before`.

        As they are written; where a name has come to mean something else, by what it meant.
        """
        table = self._table
        saved = {ref for run in runs for ref in run.saved}
        gone = [ref for run in runs for ref in run.steps if table.states[ref] is State.REMOVED]
        graph, _ = table.graph.updated({ref: before.wants(ref) for ref in saved}, gone)
        pinned = {
            ref: before.dependencies(ref)
            for ref in saved
            if graph.dependencies(ref) != before.dependencies(ref)
        }
        table.graph, _ = graph.updated(pinned)

    def _restore(self, ref: PluginRef, run: _Run, lost: dict[PluginRef, BaseException]) -> None:
        """Put the saved generation of one plugin back in force, with a new instance."""
        table = self._table
        entry = table.entries[ref]
        saved = run.saved[ref]
        table.offer(entry, saved.offer)
        table.set_generation(entry, saved.generation)
        entry.number = saved.number
        entry.context = saved.context
        if saved.generation is not None:
            saved.generation.activate()
        entry.gate.close()
        try:
            self._conductor.load(entry, Load.RENEW, "rolled back")
        except PluginRegistryError as error:
            self._fail(entry, error, Stage.IMPORT, "could not be rolled back")
            lost[ref] = error

    def _mark_pending(
        self,
        ref: PluginRef,
        run: _Run,
        candidates: Mapping[PluginRef, Candidate],
        applied: Applied,
    ) -> None:
        """A plugin that runs again although its folder offers something newer, or is gone."""
        entry = self._table.entries[ref]
        newer = next((c.ref for c in candidates.values() if c.keeps == ref), None)
        gone = any(step.ref == ref for step in run.transaction.remove)
        if newer is None and not gone:
            return
        error = run.failed.get(newer or ref) or next(iter(run.failed.values()))
        entry.pending, entry.error = True, error
        applied.errors[ref] = error

    # Report

    def _report(
        self,
        runs: Sequence[_Run],
        candidates: Mapping[PluginRef, Candidate],
        reload_id: int,
        began: float,
    ) -> None:
        """One fact for each transaction that went wrong, one for all that went well."""
        table = self._table
        good: set[PluginRef] = set()
        for run in runs:
            duration_ms = (perf_counter() - began) * 1000
            lost = any(table.states[ref] is not State.READY for ref in run.saved)
            if run.doomed and not lost:
                running = {ref: table.entries[ref].number for ref in sorted(run.saved)}
                table.publish(
                    ReloadRolledBack(
                        reload_id=reload_id,
                        duration_ms=duration_ms,
                        affected=run.refs,
                        errors=dict(run.failed),
                        running=running,
                    )
                )
            elif run.doomed or run.failed or run.transaction.fail:
                errors = run.failed | {
                    step.ref: step.error for step in run.transaction.fail if step.error is not None
                }
                table.publish(
                    ReloadFailed(
                        reload_id=reload_id,
                        duration_ms=duration_ms,
                        affected=run.refs,
                        errors=errors,
                    )
                )
            else:
                good |= run.transaction.refs
        if good:
            table.publish(
                ReloadCommitted(
                    reload_id=reload_id,
                    duration_ms=(perf_counter() - began) * 1000,
                    changed=tuple(sorted(good & candidates.keys())),
                    affected=tuple(sorted(good)),
                )
            )


def _is_crash(step: Step) -> bool:
    """Whether the plugin failed by itself, while it was ready; then it is `failed` already."""
    return isinstance(step.error, PluginLoadError) and step.error.stage == Stage.RUN
