"""Carries out a plan: tears down, imports anew and sets up.

This is done for all transactions of a plan together: teardowns in reverse setup order, then
imports and setups in dependency order. Each transaction commits or rolls back for itself, as soon
as its own setups have ended: see `build` and `rollback`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio.lowlevel

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.events import ReloadCommitted, ReloadStarted
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.loop.limits import ms_since
from dagstack_dev.host.reload.build import Build
from dagstack_dev.host.reload.transaction import Applied, TransactionRun, is_known
from dagstack_dev.host.reload.waiting import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Candidate, ReloadPlan, Step
    from dagstack_dev.core.ports import SharedCodeChange
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry, Offer
    from dagstack_dev.host.reload.runner import LifecycleRunner


class Cause(NamedTuple):
    """Why a plan is carried out.

    Attributes:
        reload_id: the number of the reload; None for the first start, which is no reload.
        began: when it began, on the clock of `time.perf_counter`.
        paths: what has changed on disk.
    """

    reload_id: int | None
    began: float
    paths: Sequence[str] = ()


class PlanExecutor:
    """Executes plans on the plugins of a runner."""

    def __init__(self, runner: LifecycleRunner) -> None:
        self._runner = runner
        self._table = runner.table

    async def apply(
        self,
        plan: ReloadPlan,
        candidates: Mapping[PluginRef, Candidate],
        offers: Mapping[PluginRef, Offer],
        shared: Mapping[str, SharedCodeChange] | None = None,
        *,
        before: DependencyGraph,
        cause: Cause,
        ended: Callable[[Applied], None] = lambda _: None,
    ) -> Applied:
        """Bring what runs to what `plan` says.

        Several plans may be under way at the same time, if no plugin is in two of them. Each
        transaction ends as soon as all of its setups have, whatever the others wait for.

        Args:
            plan: made for the plugins as they are now.
            candidates: those the plan was made from, by ref.
            offers: what each candidate is to be loaded from.
            shared: the changes of shared code, by the names that the plan has for them.
            before: the dependencies that were in force until the plan's were.
            cause: why, for the facts.
            ended: called with what has become of each transaction, as soon as it has ended.

        Returns:
            What has become of them all.

        A cancellation leaves a graph in which some plugins are ready and the rest is down; it is
        to be followed by a teardown of everything.
        """
        table = self._table
        runs = [
            TransactionRun(
                self._runner, each, [(shared or {})[name] for name in each.shared], candidates
            )
            for each in plan.transactions
        ]
        news = [run for run in runs if not is_known(table, run.transaction)]
        applied = Applied(touched={ref for run in news for ref in run.transaction.refs})
        changed = {ref for run in runs for each in run.shared for ref in each.plugins}
        changed |= candidates.keys()
        reload_id, began = cause.reload_id, cause.began
        if reload_id is not None and news:
            table.publish(
                ReloadStarted(
                    reload_id=reload_id,
                    paths=tuple(cause.paths),
                    changed=tuple(sorted(changed & applied.touched)),
                    affected=tuple(sorted(applied.touched)),
                )
            )
        in_force = {ref: each for ref, each in offers.items() if ref in plan.taken}

        def note_end(run: TransactionRun) -> None:
            run.has_ended = True
            applied.add(run.applied)
            if reload_id is not None and run in news:
                failure = run.failure(reload_id=reload_id, duration_ms=ms_since(began))
                if failure is not None:
                    table.publish(failure)
                    news.remove(run)
            ended(run.applied)

        async with self._runner.turn.shared():
            refs = {ref for run in runs for ref in run.transaction.refs}
            with watching(table, refs, reload_id):
                await self._tear_down(runs)
                await anyio.lowlevel.checkpoint_if_cancelled()
                self._load(runs, in_force, plan.rejected)
                build = Build(self._runner, runs, candidates, before, note_end)
                await build.run()
        good = {ref for run in news for ref in run.transaction.refs}
        if reload_id is not None and good:
            table.publish(
                ReloadCommitted(
                    reload_id=reload_id,
                    duration_ms=ms_since(began),
                    changed=tuple(sorted(good & changed)),
                    affected=tuple(sorted(good)),
                )
            )
        return applied

    def has_work(self, plan: ReloadPlan, offers: Mapping[PluginRef, Offer]) -> bool:
        """Return whether `plan` comes to more than what is known, or from other `offers`."""
        entries = self._table.entries
        return not all(is_known(self._table, each) for each in plan.transactions) or any(
            entries[ref].offer.source != offers[ref].source for ref in plan.taken & offers.keys()
        )

    async def _tear_down(self, runs: Iterable[TransactionRun]) -> None:
        """Take everything affected down, strictly in reverse of the order of setups."""
        table, ended = self._table, self._runner.ended_with_loop
        steps: list[tuple[int, Step, TransactionRun]] = [
            (table.setup_order.get(step.ref, 0), step, run)  # It may have died since.
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
        for _, step, run in steps:
            run.saved[step.ref] = table.entries[step.ref].saved
        await self._runner.take_down(
            [(table.entries[step.ref], step.reason) for _, step, _ in steps]
        )

    # Import

    def _load(
        self,
        runs: Sequence[TransactionRun],
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
            if run.must_roll_back:
                return
            if ref in run.out_of_reach:
                run.waiting.add(ref)
                return
            entry, step = table.entries[ref], run.steps[ref]
            if ref not in rejected or entry.context is None:
                table.provide(entry, self._runner.context)
            if ref in kept:
                return
            try:
                assert step.load is not None  # noqa: S101 - every set_up step has one
                how = Load.IMPORT if ref in undone else step.load
                self._runner.load(entry, how, step.reason)
            except PluginRegistryError as raised:
                if run.must_roll_back:  # For a plugin whose code it imports has failed, not this.
                    return  # type: ignore[unreachable]  # it had not to before
                error = recorded(raised)
                run.fail(ref, error)
                self._runner.load_failed(
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
        self._runner.queue.run(run_of, load, unable)

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
        # What is known to fail is what can be built, and came to nothing by itself.
        leaving += [step.ref for step in run.transaction.fail if not step.is_known]
        for ref in (*anew, *leaving):
            entry = self._table.entries.get(ref)
            if entry is not None and entry.generation is not None:
                entry.generation.unload()
        for step in (*run.transaction.set_up, *run.transaction.block, *run.transaction.fail):
            self._entry(step, offers)
        for change in run.shared:
            change.activate()

    def _loaded_already(
        self,
        runs: Iterable[TransactionRun],
        offers: Mapping[PluginRef, Offer],
    ) -> set[PluginRef]:
        """Return what the registry has loaded but never set up, of the code that is on disk."""
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
