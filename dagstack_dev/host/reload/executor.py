"""Carries out a plan: tears down, imports anew and sets up.

This is done for all transactions of a plan together: teardowns in reverse setup order, then
imports and setups in dependency order. Each transaction commits or rolls back for itself, as soon
as its own setups have ended: see `coordinator` and `rollback`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio.lowlevel

from dagstack_dev.core.events import ReloadCommitted, ReloadStarted
from dagstack_dev.host.loop.limits import ms_since
from dagstack_dev.host.reload.coordinator import Coordinator
from dagstack_dev.host.reload.loading import Loading
from dagstack_dev.host.reload.transaction import Applied, TransactionRun, is_known
from dagstack_dev.host.reload.waiting import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Candidate, ReloadPlan, Step
    from dagstack_dev.core.ports import SharedCodeChange
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Revision
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
        revisions: Mapping[PluginRef, Revision],
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
            revisions: what each candidate is to be loaded from.
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
                self._runner,
                each,
                [(shared or {})[name] for name in each.shared],
                candidates,
                before,
            )
            for each in plan.transactions
        ]
        news = [run for run in runs if not is_known(table, run.transaction)]
        applied = Applied(touched={ref for run in news for ref in run.transaction.refs})
        changed = {ref for run in runs for each in run.shared for ref in each.plugins}
        changed |= candidates.keys() & plan.taken
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
        in_force = {ref: each for ref, each in revisions.items() if ref in plan.taken}

        def note_end(run: TransactionRun) -> None:
            run.has_ended = True
            applied.add(run.applied)
            if reload_id is not None and run in news:
                failure = run.failure(changed, reload_id=reload_id, duration_ms=ms_since(began))
                if failure is not None:
                    table.publish(failure)
                    news.remove(run)
            ended(run.applied)

        async with self._runner.lock.shared():
            refs = {ref for run in runs for ref in run.transaction.refs}
            with watching(table, refs, reload_id):
                await self._tear_down(runs)
                await anyio.lowlevel.checkpoint_if_cancelled()
                Loading(self._runner, runs, in_force, plan.rejected).run()
                await Coordinator(self._runner, runs, note_end).run()
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

    def has_work(self, plan: ReloadPlan, revisions: Mapping[PluginRef, Revision]) -> bool:
        """Return whether `plan` comes to more than what is known, or from other code."""
        entries = self._table.entries
        parts = plan.transactions
        return any(each.shared or not is_known(self._table, each) for each in parts) or any(
            entries[ref].revision.source != revisions[ref].source
            for ref in plan.taken & revisions.keys()
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
        for _, step, run in steps:  # Before the drain: what dies during it is to run again, too.
            run.saved[step.ref] = table.entries[step.ref].saved
        await self._runner.take_down(
            [(table.entries[step.ref], step.reason) for _, step, _ in steps]
        )
