"""How transactions are rolled back: the previous generations run again, in new instances."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.loop.limits import ms_since
from dagstack_dev.host.reload.schedule import Setups
from dagstack_dev.host.reload.transaction import ROLLED_BACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

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
    """

    def __init__(self, runner: LifecycleRunner, runs: Sequence[TransactionRun]) -> None:
        self._runner = runner
        self._table = runner.table
        self._runs = runs
        self._run_of = {ref: run for run in runs for ref in run.coming_back}

    async def run(self) -> None:
        """Return when all that can has come up again."""
        began = perf_counter()
        for run in self._runs:
            run.roll_back_began = began
        await self._tear_down()
        for run in self._runs:
            run.withdraw()
        rewired = self._rewire()
        former = {ref: place for run in self._runs for place, ref in enumerate(run.saved)}
        self._load(former)
        lost = (ref for run in self._runs for ref in run.applied.lost)
        graph = self._table.graph
        able = self._run_of.keys() - graph.downstream({*lost, *self._missing()})
        order = graph.order(able, former.__getitem__)
        setups = Setups(self._runner, dict.fromkeys(order, ROLLED_BACK))
        await setups.run()
        for ref, error in setups.failed.items():
            self._run_of[ref].applied.lost[ref] = recorded(error)
        for run in self._runs:
            run.applied.rolled_back |= rewired
            run.conclude_roll_back()

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
        table, saved = self._table, self._run_of.keys()
        touched = {ref for run in self._runs for ref in run.transaction.refs} - saved
        gone = [ref for ref in touched if table.states[ref] is State.REMOVED]
        before = {ref: run.before for ref, run in self._run_of.items()}
        graph, rewired = table.graph.updated(
            {ref: each.wants(ref) for ref, each in before.items()}, gone
        )
        needs = {ref: each.dependencies(ref) for ref, each in before.items()}
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
        anew = self._table.code.undone({ref: each.generation for ref, each in saved.items()})
        for ref in anew:
            if (generation := saved[ref].generation) is not None:
                generation.unload()

        def load(ref: PluginRef) -> None:
            entry, run, began = self._table.entries[ref], self._run_of[ref], perf_counter()
            self._table.restored(entry, saved[ref])
            try:
                how = Load.IMPORT if ref in anew else Load.RENEW
                self._runner.load(entry, how, ROLLED_BACK)
                if entry.generation is not saved[ref].generation:
                    run.retire(ref, saved[ref].number, saved[ref].generation)
            except PluginRegistryError as raised:
                run.applied.lost[ref] = error = recorded(raised)
                self._runner.load_failed(
                    entry,
                    error,
                    Stage.IMPORT,
                    "could not be rolled back",
                    duration_ms=ms_since(began),
                )

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
