"""How transactions are rolled back: the previous generations run again, in new instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.reload.schedule import Setups
from dagstack_dev.host.reload.transaction import ROLLED_BACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Candidate
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.reload.runner import LifecycleRunner
    from dagstack_dev.host.reload.transaction import TransactionRun

_UP: Final = {State.LOADED, State.SETTING_UP, State.READY}
"""The states of a plugin that was built with what its names meant then."""


class RollBack:
    """Brings the previous generations of whole transactions back, with new instances.

    Args:
        runner: takes the steps.
        runs: the transactions, of which nothing is under way; each notes what becomes of it.
        candidates: those the plan was made from.
        before: the dependencies that were in force before the plan's were.
    """

    def __init__(
        self,
        runner: LifecycleRunner,
        runs: Sequence[TransactionRun],
        candidates: Mapping[PluginRef, Candidate],
        before: DependencyGraph,
    ) -> None:
        self._runner = runner
        self._table = runner.table
        self._runs = runs
        self._run_of = {ref: run for run in runs for ref in run.coming_back}
        self._candidates = candidates
        self._before = before
        self._lost: dict[PluginRef, BaseException] = {}  # What could not run again, and why.

    async def run(self) -> None:
        """Return when all that can has come up again."""
        await self._tear_down()
        for run in self._runs:
            run.withdraw()
        rewired = self._rewire()
        graph = self._table.graph
        former = {ref: place for run in self._runs for place, ref in enumerate(run.saved)}
        self._load(former)
        able = self._run_of.keys() - graph.downstream({*self._lost, *self._missing()})
        order = graph.order(able, former.__getitem__)
        setups = Setups(self._runner, order, lambda _: ROLLED_BACK)
        await setups.run()
        self._lost |= {ref: recorded(error) for ref, error in setups.failed.items()}
        self._conclude_restored()
        for run in self._runs:
            run.conclude_the_rest()
            run.applied.rolled_back.update(run.transaction.refs, rewired)
            own = run.failed.keys() & run.steps.keys()
            run.applied.failed |= {ref: run.failed[ref] for ref in own}
            run.applied.lost |= {ref: each for ref, each in self._lost.items() if ref in run.saved}
            run.failed |= run.applied.lost

    async def _tear_down(self) -> None:
        """Take down what has come up, in reverse of the order of setups."""
        table = self._table
        refs = {ref: None for run in self._runs for ref in (*run.steps, *run.saved)}
        up = [ref for ref in refs if table.states.get(ref) is State.READY]
        up.sort(key=table.setup_order.__getitem__, reverse=True)
        down = [ref for ref in refs if ref in table.entries and ref not in table.setup_order]
        await self._runner.take_down(
            [(table.entries[ref], ROLLED_BACK) for ref in up],
            down=[table.entries[ref] for ref in down],
        )

    def _rewire(self) -> AbstractSet[PluginRef]:
        """Give what is rolled back the dependencies that it had before.

        As they are written; where a name has come to mean something else, by what it meant, to
        them and to whatever else is up.

        Returns:
            The others of which a name means something else by that.
        """
        table, before, saved = self._table, self._before, self._run_of.keys()
        touched = {ref for run in self._runs for ref in run.transaction.refs} - saved
        gone = [ref for ref in touched if table.states[ref] is State.REMOVED]
        graph, rewired = table.graph.updated({ref: before.wants(ref) for ref in saved}, gone)
        needs = {ref: before.dependencies(ref) for ref in saved}
        needs |= {ref: table.graph.dependencies(ref) for ref in rewired if table.states[ref] in _UP}
        table.graph, _ = graph.updated(
            {
                ref: each
                for ref, each in needs.items()
                if graph.problem(ref) is not None or graph.dependencies(ref) != each
            }
        )
        return rewired

    def _load(self, former: Mapping[PluginRef, int]) -> None:
        """Put the saved generations back in force, with new instances.

        All code comes back before any of it runs, as it may import the rest; and what was up first
        is first again, as setups may have called it unasked.

        Args:
            former: the place of each plugin in the order of setups.
        """
        saved = {ref: run.saved[ref] for ref, run in self._run_of.items()}
        for each in saved.values():
            if each.generation is not None:
                each.generation.activate()
        anew = self._table.undone({ref: each.generation for ref, each in saved.items()})
        for ref in anew:
            if (generation := saved[ref].generation) is not None:
                generation.unload()

        def load(ref: PluginRef) -> None:
            entry, run = self._table.entries[ref], self._run_of[ref]
            self._table.restored(entry, saved[ref])
            try:
                how = Load.IMPORT if ref in anew else Load.RENEW
                self._runner.load(entry, how, ROLLED_BACK)
                if entry.generation is not saved[ref].generation:
                    run.retire(ref, saved[ref].number, saved[ref].generation)
            except PluginRegistryError as raised:
                self._lost[ref] = error = recorded(raised)
                self._runner.load_failed(entry, error, Stage.IMPORT, "could not be rolled back")

        order = self._table.graph.order(self._run_of, former.__getitem__)
        self._runner.queue.run(order, load)

    def _missing(self) -> Iterator[PluginRef]:
        """Yield what others depend on and does not come back: it had died itself, or is gone."""
        table = self._table
        for ref in self._run_of:
            if table.graph.problem(ref) is not None:
                yield ref
            for other in table.graph.dependencies(ref):
                if other not in self._run_of and table.states.get(other) is not State.READY:
                    yield other

    def _conclude_restored(self) -> None:
        """Conclude what was to run again; what does not is added to `_lost`."""
        table = self._table
        offered = [*self._candidates.values()]
        newer = {ref: each.ref for each in offered[::-1] for ref in (each.keeps, each.ref)}
        for ref, run in self._run_of.items():
            if table.states[ref] is State.READY:
                leaves = any(step.ref == ref for step in run.transaction.remove)
                if ref in newer or leaves:  # Its folder offers something newer, or is gone.
                    error = run.failed.get(newer.get(ref, ref))
                    error = error or next(iter(run.failed.values()))
                    table.keep_pending(table.entries[ref], error)
            elif (error := run.error_of(ref)) is not None:
                self._lost[ref] = error
                run.drop(ref)
            else:
                run.block(ref, "its dependency could not be rolled back")
