"""How a transaction ends: its new state stands, or the previous generations run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from dagstack_dev.core.errors.base import PluginRegistryError, said
from dagstack_dev.core.errors.life import PluginCrashed, PluginLoadError, PluginUnhealthy
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.conductor import Conductor, SetupRun
from dagstack_dev.host.schedule import Progress
from dagstack_dev.host.transaction import Retired

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Candidate, Step
    from dagstack_dev.core.ports import Generation
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.table import PluginTable
    from dagstack_dev.host.transaction import TransactionRun

ROLLED_BACK: Final = "rolled back"
"""Why a plugin goes back to what ran before."""

UP: Final = {State.LOADED, State.SETTING_UP, State.READY}
"""The states of a plugin that was built with what its names meant then."""


class Settlement:
    """Ends the transactions of one plan; what has become of each is noted in it."""

    def __init__(self, conductor: Conductor, candidates: Mapping[PluginRef, Candidate]) -> None:
        self._conductor = conductor
        self._table = conductor.table
        self._candidates = candidates

    def commit(self, run: TransactionRun) -> None:
        """Let the new state stand: settle who is failed, blocked or removed, retire the old."""
        table = self._table
        transaction = run.transaction
        for change in run.shared:
            change.keep()
        for step in transaction.set_up:
            entry = table.entries[step.ref]
            state = table.states[step.ref]
            failed = state is State.FAILED and step.ref not in run.waiting
            if failed and entry.error is not None:
                # Its load or setup failed, or it was ready already and died since.
                run.applied.failed[step.ref] = entry.error
                self._drop(step.ref, run)
            elif state is State.READY:
                if step.ref in self._candidates:  # Else it runs what it ran, in a new instance.
                    table.up_to_date(entry)
                run.applied.built.add(step.ref)
                saved = run.saved.get(step.ref)
                if saved is not None and saved.generation is not entry.generation:
                    self._retire(run, step.ref, saved.number, saved.generation)
            else:
                self._block(step.ref, step.reason, self._blockers(step.ref), run)
        self._settle_the_rest(run)

    def _settle_the_rest(self, run: TransactionRun) -> None:
        """Settle what was never to be set up, unless what ran of it before comes back."""
        table = self._table
        transaction = run.transaction
        for step in transaction.block:
            if not (run.comes_back(step.ref) or table.states[step.ref] is State.REMOVED):
                blockers = self._blockers(step.ref) or step.blocked_by
                self._block(step.ref, step.reason, blockers, run)
        for step in transaction.fail:
            if run.comes_back(step.ref) or table.states[step.ref] is State.REMOVED:
                continue
            entry = table.entries[step.ref]
            assert step.error is not None  # noqa: S101 - every fail step has one
            if isinstance(step.error, PluginUnhealthy):
                self._conductor.became_ill(entry, step.error, step.reason)
            elif not (fails_already(table, step) or self._is_down(step)):
                self._conductor.load_failed(entry, step.error, _stage_of(step), step.reason)
            self._drop(step.ref, run)
        for step in transaction.remove:
            if run.comes_back(step.ref):
                continue
            self._drop(step.ref, run)
            self._conductor.crashes.pop(step.ref, None)
            table.removed(table.entries[step.ref], step.reason, refusal="it was removed from disk")

    def _gives_way(self, ref: PluginRef, run: TransactionRun) -> bool:
        """Remove a plugin that never was, if what runs from its folder comes back."""
        candidate = self._candidates.get(ref)
        if not run.doomed or candidate is None or candidate.replaces not in run.saved:
            return False
        self._drop(ref, run)
        refusal = f"it was rolled back to {candidate.replaces}"
        self._table.removed(self._table.entries[ref], ROLLED_BACK, refusal=refusal)
        return True

    def _is_down(self, step: Step) -> bool:
        """Whether the plugin failed by itself, while it was ready; then it is `failed` already."""
        return (
            isinstance(step.error, PluginCrashed) and self._table.states[step.ref] is State.FAILED
        )

    def _blockers(self, ref: PluginRef) -> tuple[str, ...]:
        states = self._table.states
        return self._table.graph.blockers(ref, lambda other: states.get(other) is State.READY)

    def _block(
        self,
        ref: PluginRef,
        reason: str,
        blocked_by: tuple[str, ...],
        run: TransactionRun,
    ) -> None:
        self._drop(ref, run)
        self._table.blocked(self._table.entries[ref], blocked_by, reason)

    def _drop(self, ref: PluginRef, run: TransactionRun) -> None:
        """Nothing of `ref` is to stay in memory."""
        entry = self._table.entries[ref]
        saved = run.saved.get(ref)
        generations = {entry.number: entry.generation}
        if saved is not None:
            generations[saved.number] = saved.generation
        for number, generation in generations.items():
            self._retire(run, ref, number, generation)
        self._table.unload(entry)

    def _retire(
        self, run: TransactionRun, ref: PluginRef, number: int, generation: Generation | None
    ) -> None:
        if generation is not None:
            generation.retire()
            run.applied.retired.append(Retired(ref, number, generation))

    async def roll_back(self, runs: Sequence[TransactionRun], before: DependencyGraph) -> None:
        """Bring the previous generations of whole transactions back, with new instances."""
        table = self._table
        await self._tear_down(runs)
        for run in runs:
            self._withdraw(run)
            for change in reversed(run.shared):
                change.take_back()
        rewired = self._rewire(runs, before)
        run_of = {ref: run for run in runs for ref in run.coming_back}
        lost: dict[PluginRef, BaseException] = {}
        anew = self._activate({ref: run.saved[ref].generation for ref, run in run_of.items()})

        def restore(ref: PluginRef) -> None:
            how = Load.IMPORT if ref in anew else Load.RENEW
            self._restore(ref, run_of[ref], how, lost)

        # What was up first is first again: whoever has called it unasked in a setup finds it there.
        former = {ref: place for run in runs for place, ref in enumerate(run.saved)}
        self._conductor.queue.run(table.graph.order(run_of, former.__getitem__), restore)
        able = run_of.keys() - table.graph.downstream({*lost, *self._missing(run_of)})
        order = table.graph.order(able, former.__getitem__)
        progress = Progress()
        steps = SetupRun(self._conductor, lambda _: ROLLED_BACK, lambda *_: ())
        await self._conductor.bring_up(order, steps, progress)
        lost |= {ref: recorded(error) for ref, error in progress.failed.items()}
        self._settle_restored(run_of, lost)
        for run in runs:
            self._settle_the_rest(run)
            run.applied.rolled_back.update(run.refs, rewired)
            own = run.failed.keys() & run.steps.keys()
            run.applied.failed |= {ref: run.failed[ref] for ref in own}
            run.applied.lost |= {ref: each for ref, each in lost.items() if ref in run.saved}
            run.failed |= run.applied.lost

    def _missing(self, coming_back: Collection[PluginRef]) -> Iterator[PluginRef]:
        """What does not come back of what others depend on, for it had died itself, or is gone."""
        table = self._table
        for ref in coming_back:
            if table.graph.problem(ref) is not None:
                yield ref
            for other in table.graph.dependencies(ref):
                if other not in coming_back and table.states.get(other) is not State.READY:
                    yield other

    async def _tear_down(self, runs: Iterable[TransactionRun]) -> None:
        """Take down what has come up, in reverse of the order of setups."""
        table = self._table
        refs = {ref: None for run in runs for ref in (*run.steps, *run.saved)}
        up = [ref for ref in refs if table.states.get(ref) is State.READY]
        up.sort(key=table.setup_order.__getitem__, reverse=True)
        down = [ref for ref in refs if ref in table.entries and ref not in table.setup_order]
        late = await self._conductor.drain(
            [table.entries[ref] for ref in up], down=[table.entries[ref] for ref in down]
        )
        with anyio.CancelScope(shield=True):
            for ref in up:
                await self._conductor.tear_down(table.entries[ref], ROLLED_BACK, late)

    def _settle_restored(
        self, run_of: Mapping[PluginRef, TransactionRun], lost: dict[PluginRef, BaseException]
    ) -> None:
        """Settle what was to run again; what does not is added to `lost`."""
        table = self._table
        offered = [*self._candidates.values()]
        newer = {ref: each.ref for each in offered[::-1] for ref in (each.keeps, each.ref)}
        for ref, run in run_of.items():
            entry = table.entries[ref]
            if table.states[ref] is State.READY:
                self._mark_pending(ref, newer.get(ref), run)
                continue
            if table.states[ref] is State.FAILED and entry.error is not None:
                # Its load or setup failed, or it was ready already and died since.
                lost[ref] = entry.error
                self._drop(ref, run)
            else:
                reason = "its dependency could not be rolled back"
                self._block(ref, reason, self._blockers(ref), run)

    def _withdraw(self, run: TransactionRun) -> None:
        """Take the new generations of a transaction out again."""
        table = self._table
        for step in (*run.transaction.block, *run.transaction.fail):
            if not run.comes_back(step.ref):
                self._gives_way(step.ref, run)
        culprits = tuple(str(ref) for ref in run.failed)
        for ref in run.steps:
            entry = table.entries.get(ref)
            if entry is None:
                continue
            if run.comes_back(ref):
                if entry.generation is not run.saved[ref].generation:
                    self._retire(run, ref, entry.number, entry.generation)
                continue
            if self._gives_way(ref, run):
                continue
            self._drop(ref, run)
            if table.states[ref] is not State.FAILED or ref in run.waiting:
                refusal = f"it was rolled back, for {', '.join(culprits)} failed"
                table.blocked(entry, culprits, ROLLED_BACK, refusal=refusal)

    def _rewire(
        self, runs: Sequence[TransactionRun], before: DependencyGraph
    ) -> AbstractSet[PluginRef]:
        """Give what is rolled back the dependencies that it had `before`.

        As they are written; where a name has come to mean something else, by what it meant, to
        them and to whatever else is up.

        Returns:
            The others of which a name means something else by that.
        """
        table = self._table
        saved = {ref for run in runs for ref in run.coming_back}
        touched = {ref for run in runs for ref in run.transaction.refs} - saved
        gone = [ref for ref in touched if table.states[ref] is State.REMOVED]
        graph, rewired = table.graph.updated({ref: before.wants(ref) for ref in saved}, gone)
        needs = {ref: before.dependencies(ref) for ref in saved}
        needs |= {ref: table.graph.dependencies(ref) for ref in rewired if table.states[ref] in UP}
        table.graph, _ = graph.updated(
            {
                ref: each
                for ref, each in needs.items()
                if graph.problem(ref) is not None or graph.dependencies(ref) != each
            }
        )
        return rewired

    def _activate(self, generations: Mapping[PluginRef, Generation | None]) -> set[PluginRef]:
        """Put the code of these back in force, all of it before any runs: it may import the rest.

        Returns:
            What has to be imported anew instead, and has been set aside for that.
        """
        for generation in generations.values():
            if generation is not None:
                generation.activate()
        anew = self._table.undone(generations)
        for ref in anew:
            if (generation := generations[ref]) is not None:
                generation.set_aside()
        return anew

    def _restore(
        self,
        ref: PluginRef,
        run: TransactionRun,
        how: Load,
        lost: dict[PluginRef, BaseException],
    ) -> None:
        """Put the saved generation of one plugin back in force, with a new instance."""
        entry = self._table.entries[ref]
        saved = run.saved[ref]
        self._table.restored(entry, saved)
        try:
            self._conductor.load(entry, how, ROLLED_BACK)
            if entry.generation is not saved.generation:
                self._retire(run, ref, saved.number, saved.generation)
        except PluginRegistryError as raised:
            error = recorded(raised)
            self._conductor.load_failed(entry, error, Stage.IMPORT, "could not be rolled back")
            lost[ref] = error

    def _mark_pending(self, ref: PluginRef, newer: PluginRef | None, run: TransactionRun) -> None:
        """A plugin runs again although its folder offers something `newer`, or is gone."""
        if newer is None and ref not in run.leaving:
            return
        entry = self._table.entries[ref]
        error = run.failed.get(newer or ref) or next(iter(run.failed.values()))
        self._table.keep_pending(entry, error)


def fails_already(table: PluginTable, step: Step) -> bool:
    """Whether the plugin of `step` has failed with this very error before."""
    entry = table.entries.get(step.ref)
    return (
        entry is not None
        and table.states[step.ref] is State.FAILED
        and entry.error is not None
        and step.error is not None
        and (step.is_known or said(entry.error) == said(step.error))
    )


def waits_already(table: PluginTable, step: Step) -> bool:
    """Whether the plugin of `step` is blocked by just this already."""
    entry = table.entries.get(step.ref)
    return (
        entry is not None
        and table.states[step.ref] is State.BLOCKED
        and entry.blocked_by == step.blocked_by
    )


def _stage_of(step: Step) -> Stage:
    """In which step a plugin has failed, or would again."""
    if not step.is_known:
        return Stage.PREPARE
    return Stage.IMPORT if isinstance(step.error, PluginLoadError) else Stage.SETUP
