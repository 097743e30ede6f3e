"""Carries out a plan: the reload transaction.

For all transactions of a plan together: tear down in reverse setup order, import anew, set up in
dependency order. Then each transaction for itself commits or rolls back. What the plan decided is
not questioned here; what could not be known beforehand (an import or a setup that raises) is
dealt with here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.lowlevel

from dagstack_dev.core.errors import PluginLoadError, PluginRegistryError
from dagstack_dev.core.events import ReloadStarted
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.conductor import Conductor, SetupRun
from dagstack_dev.host.entry import Entry, Offer
from dagstack_dev.host.gc_pause import rare_collections
from dagstack_dev.host.outcome import tell_outcome
from dagstack_dev.host.schedule import Progress
from dagstack_dev.host.settlement import Settlement, fails_already, waits_already
from dagstack_dev.host.transaction import Applied, TransactionRun
from dagstack_dev.host.waiting import watching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dagstack_dev.core.plan import Candidate, ReloadPlan, Step, Transaction
    from dagstack_dev.core.ports import SharedCodeChange
    from dagstack_dev.core.refs import PluginRef


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
        shared: Mapping[str, SharedCodeChange] | None = None,
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
            shared: the changes of shared code, by the names that the plan has for them.
            reload_id: for the facts; None for the first start, which is no reload.
            paths: what caused it, for the facts.
            began: when the reload began, on the clock of `time.perf_counter`.

        A cancellation leaves a graph in which some plugins are ready and the rest is down; it is
        to be followed by a teardown of everything.
        """
        async with self._conductor.turn:
            with rare_collections():
                return await self._apply(
                    plan,
                    candidates,
                    offers,
                    shared or {},
                    reload_id=reload_id,
                    paths=paths,
                    began=began,
                )

    async def _apply(
        self,
        plan: ReloadPlan,
        candidates: Mapping[PluginRef, Candidate],
        offers: Mapping[PluginRef, Offer],
        shared: Mapping[str, SharedCodeChange],
        *,
        reload_id: int | None,
        paths: Sequence[str],
        began: float,
    ) -> Applied:
        table = self._table
        applied = Applied()
        runs = [
            TransactionRun(transaction, [shared[name] for name in transaction.shared])
            for transaction in plan.transactions
        ]
        news = [run for run in runs if not self._is_known(run.transaction, candidates)]
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
        in_force = {ref: each for ref, each in offers.items() if ref in plan.taken}
        with watching(table, {ref for run in runs for ref in run.transaction.refs}, reload_id):
            await self._tear_down(runs)
            await anyio.lowlevel.checkpoint_if_cancelled()
            before, table.graph = table.graph, plan.graph
            self._load(runs, candidates, in_force, plan.rejected)
            await self._set_up(runs, candidates)
            self._doom_importers(runs)
            settlement = Settlement(self._conductor, candidates, applied)
            for run in runs:
                if not run.doomed:
                    settlement.commit(run)
            doomed = [run for run in runs if run.doomed]
            if doomed:
                await settlement.roll_back(doomed, before)
        if reload_id is not None:
            tell_outcome(table, news, candidates, reload_id=reload_id, began=began)
        return applied

    def has_work(self, plan: ReloadPlan) -> bool:
        """Whether `plan` comes to more than what is known already."""
        return not all(self._is_known(each, ()) for each in plan.transactions)

    def _is_known(self, transaction: Transaction, candidates: Collection[PluginRef]) -> bool:
        """Whether all that `transaction` comes to is what is known already: still broken.

        What is known of `candidates` is told once more, for something has happened to them.
        """
        return (
            not (transaction.tear_down or transaction.remove or transaction.set_up)
            and all(
                fails_already(self._table, replace(step, is_known=False))
                if step.ref in candidates
                else fails_already(self._table, step)
                for step in transaction.fail
            )
            and all(waits_already(self._table, step) for step in transaction.block)
        )

    # Tear down

    async def _tear_down(self, runs: Iterable[TransactionRun]) -> None:
        """Take everything affected down, strictly in reverse of the order of setups."""
        table, ended = self._table, self._conductor.ended_with_loop
        steps: list[tuple[int, Step, TransactionRun]] = [
            (table.setup_order[step.ref], step, run)
            for run in runs
            for step in run.transaction.tear_down
        ]
        steps += [
            (ended[step.ref], step, run)
            for run in (runs if ended else ())
            for step in (*run.transaction.set_up, *run.transaction.remove)
            if step.ref in ended
        ]
        steps.sort(key=lambda each: each[0], reverse=True)
        late = await self._conductor.drain(table.entries[step.ref] for _, step, _ in steps)
        with anyio.CancelScope(shield=True):
            for _, step, run in steps:
                entry = table.entries[step.ref]
                run.saved[step.ref] = entry.saved
                await self._conductor.tear_down(entry, step.reason, late)

    # Import

    def _load(
        self,
        runs: Sequence[TransactionRun],
        candidates: Mapping[PluginRef, Candidate],
        offers: Mapping[PluginRef, Offer],
        rejected: Collection[PluginRef],
    ) -> None:
        """Import what changed, and make every new instance.

        What is `rejected` keeps the context that it has, and its section with it.
        """
        table = self._table
        kept = self._loaded_already(runs, offers)
        run_of = {ref: run for run in runs for ref in run.steps}
        renewed = (ref for ref, run in run_of.items() if run.steps[ref].load is Load.RENEW)
        undone = table.undone({ref: table.entries[ref].generation for ref in renewed})
        for run in runs:  # All of them, before the first import: it may meet any plugin's code.
            self._make_room(run, kept, undone, offers)

        def load(ref: PluginRef) -> None:
            run = run_of[ref]
            if run.doomed:
                return
            if ref in run.out_of_reach:
                run.waiting.add(ref)
                return
            entry, step = table.entries[ref], run.steps[ref]
            if ref not in rejected or entry.context is None:
                table.provide(entry, self._conductor.context)
            if ref in kept:
                return
            try:
                assert step.load is not None  # noqa: S101 - every set_up step has one
                how = Load.IMPORT if ref in undone else step.load
                self._conductor.load(entry, how, step.reason)
            except PluginRegistryError as raised:
                if run.doomed:  # By a plugin whose code it imports: that has failed, not this one.
                    return  # type: ignore[unreachable]  # it was not doomed before
                error = recorded(raised)
                run.fail(ref, error, table.graph, candidates)
                self._conductor.load_failed(
                    entry,
                    error,
                    Stage.IMPORT,
                    "could not be loaded",
                    comes_back=run.comes_back(ref),
                )

        unable = {
            step.ref: step
            for run in runs
            for step in (*run.transaction.fail, *run.transaction.block)
        }
        self._conductor.queue.run(run_of, load, unable)

    def _make_room(
        self,
        run: TransactionRun,
        kept: Collection[PluginRef],
        undone: Collection[PluginRef],
        offers: Mapping[PluginRef, Offer],
    ) -> None:
        """Set aside the code that is to be imported anew or leaves; put in force what is new."""
        anew = [
            ref
            for ref, step in run.steps.items()
            if ref in undone or (step.load is Load.IMPORT and ref not in kept)
        ]
        leaving = [step.ref for step in (*run.transaction.remove, *run.transaction.block)]
        for ref in (*anew, *leaving):
            entry = self._table.entries.get(ref)
            if entry is not None and entry.generation is not None:
                entry.generation.set_aside()
        for step in (*run.transaction.set_up, *run.transaction.block, *run.transaction.fail):
            self._entry(step, offers)
        for change in run.shared:
            change.put_in()

    def _loaded_already(
        self,
        runs: Iterable[TransactionRun],
        offers: Mapping[PluginRef, Offer],
    ) -> set[PluginRef]:
        """What the registry has loaded but never set up, and whose code is still that on disk."""
        table = self._table
        steps = {ref for run in runs for ref in run.steps}
        sharing = {ref for run in runs for change in run.shared for ref in change.plugins}
        known = steps - offers.keys() - sharing
        kept = {ref for ref in known if table.states.get(ref) is State.LOADED}
        importers: list[PluginRef] = list(steps - kept)
        while kept and importers:
            stale = table.importers(importers.pop()) & kept
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

    # Set up

    def _doom_importers(self, runs: Sequence[TransactionRun]) -> None:
        """Have rolled back, too, what has come to import code that is rolled back.

        The plan could not know: it is what the new code imports.
        """
        run_of = {ref: run for run in runs for ref in run.steps}
        doomed = [run for run in runs if run.doomed]
        for run in doomed:  # It grows.
            for ref, step in run.steps.items():
                for importer in self._table.importers(ref) if step.load is Load.IMPORT else ():
                    other = run_of.get(importer, run)
                    if not other.doomed:
                        reason = f"it imports code of {ref}, which has been rolled back"
                        other.failed[importer] = PluginLoadError(importer, "import", reason)
                        other.doomed = True
                        doomed.append(other)

    async def _set_up(
        self, runs: Sequence[TransactionRun], candidates: Mapping[PluginRef, Candidate]
    ) -> None:
        """Set up what is loaded; a failure that has to be rolled back gives its part up."""
        table = self._table
        run_of = {ref: run for run in runs for ref in run.steps}
        able = [
            ref
            for run in runs
            if not run.doomed
            for ref in run.steps
            if ref not in run.out_of_reach
        ]
        order = table.graph.order(able, lambda ref: table.priorities.get(ref, 0))

        def give_up(ref: PluginRef, error: BaseException) -> Collection[PluginRef]:
            run = run_of[ref]
            run.fail(ref, error, table.graph, candidates)
            return run.steps.keys() if run.doomed else ()

        steps = SetupRun(
            self._conductor,
            lambda ref: run_of[ref].steps[ref].reason,
            give_up,
            lambda ref: run_of[ref].comes_back(ref),
        )
        await self._conductor.bring_up(order, steps, Progress())
