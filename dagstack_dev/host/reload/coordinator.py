"""Decides when each transaction of a plan ends, and how: whether it commits or rolls back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Load
from dagstack_dev.host.reload.rollback import RollBack
from dagstack_dev.host.reload.schedule import Setups

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.reload.runner import LifecycleRunner
    from dagstack_dev.host.reload.transaction import TransactionRun


class Coordinator:
    """Has set up what is loaded, and ends each transaction as soon as nothing of it is under way.

    Args:
        runner: takes the steps.
        runs: the transactions, loaded.
        ended: called with each transaction that has ended.
    """

    def __init__(
        self,
        runner: LifecycleRunner,
        runs: Sequence[TransactionRun],
        ended: Callable[[TransactionRun], None],
    ) -> None:
        self._runner = runner
        self._table = runner.table
        self._runs = runs
        self._run_of = {ref: run for run in runs for ref in run.steps}
        self._ended = ended
        self._to_roll_back: list[TransactionRun] = []
        self._ending_together = self._together()

    async def run(self) -> None:
        """Return when all transactions have ended."""
        table = self._table
        able = [
            ref
            for run in self._runs
            if not run.must_roll_back
            for ref in run.steps
            if ref not in run.out_of_reach
        ]
        order = table.graph.order(able, lambda ref: table.priorities.get(ref, 0))
        self._setups = Setups(
            self._runner,
            {ref: self._run_of[ref].steps[ref].reason for ref in order},
            give_up=self._give_up,
            comes_back=lambda ref: self._run_of[ref].comes_back(ref),
            ended=lambda ref: self._look_at(self._run_of[ref], ref),
        )
        async with anyio.create_task_group() as self._group:
            for run in self._runs:
                self._look_at(run)
            await self._setups.run()

    def _together(self) -> dict[TransactionRun, list[TransactionRun]]:
        """Return for each transaction those that end with it, as one imports code of another.

        The plan could not know: it is what the new code imports, and calls import meanwhile. Those
        that import it and are in no transaction are noted as overtaken.
        """
        together = {run: [run] for run in self._runs}
        planned = {ref for run in self._runs for ref in run.transaction.refs}
        for run in self._runs:
            importers = self._importers(run)
            run.applied.overtaken |= importers - planned
            for importer in importers & planned:
                mine, others = together[run], together[self._run_of.get(importer, run)]
                if mine is not others:
                    mine += others
                    together |= dict.fromkeys(others, mine)
        return together

    def _importers(self, run: TransactionRun) -> frozenset[PluginRef]:
        """Return the plugins that have imported code which goes if `run` is rolled back."""
        anew = (ref for ref, step in run.steps.items() if step.load is Load.IMPORT)
        shared = (change.importers() for change in run.shared)
        return frozenset().union(*map(self._table.code.importers, anew), *shared)

    def _give_up(self, ref: PluginRef, error: BaseException) -> Collection[PluginRef]:
        """Note a failure, and return what it takes along: its part, if that has to roll back."""
        run = self._run_of[ref]
        run.fail(ref, error)
        return run.steps.keys() if run.must_roll_back else ()

    def _look_at(self, run: TransactionRun, ended: PluginRef | None = None) -> None:
        """End `run` if nothing of it is under way any more; the setup of `ended` no longer is."""
        if (
            ended is not None
            and not run.must_roll_back
            and self._table.states[ended] is State.STOPPED
        ):
            return  # All is being cancelled.
        run.open -= {ended}
        together = self._ending_together[run]
        if any(each.open for each in together) or run.has_ended or run in self._to_roll_back:
            return
        self._setups.failed.clear()  # An error may hold what is wanted again, such as a port.
        self._roll_back_importers(together)
        for each in together:
            if not each.must_roll_back:
                each.commit()
                self._ended(each)
        failed = [each for each in together if each.must_roll_back]
        if failed and not self._to_roll_back:
            self._group.start_soon(self._roll_back)
        self._to_roll_back += failed

    def _roll_back_importers(self, runs: Sequence[TransactionRun]) -> None:
        """Have rolled back, too, what has come to import code that is rolled back."""
        failed = [run for run in runs if run.must_roll_back]
        for run in failed:  # It grows.
            for importer in self._importers(run):
                other = self._run_of.get(importer, run)
                if other in runs and other is not run:
                    other.failed.pop(importer, None)  # It had no chance by itself.
                    other.failed |= run.failed
                    if not other.must_roll_back:
                        failed.append(other)
                    other.must_roll_back = True

    async def _roll_back(self) -> None:
        """Roll back what has to be and has ended by now, together, until nothing is left."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        while runs := list(self._to_roll_back):
            await RollBack(self._runner, runs).run()
            back = [run for run in self._runs if run.must_roll_back]
            known = {ref for run in back for ref in run.transaction.refs}
            for run in runs:  # Setups of other parts may have imported what was on trial.
                run.applied.overtaken |= self._importers(run) - known
                self._ended(run)
            self._to_roll_back = [run for run in self._to_roll_back if not run.has_ended]
