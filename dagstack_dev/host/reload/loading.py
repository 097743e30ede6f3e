"""Loads what a plan sets up: what changed is imported, all else gets a new instance."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.loop.limits import ms_since

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Revision
    from dagstack_dev.host.reload.runner import LifecycleRunner
    from dagstack_dev.host.reload.transaction import TransactionRun


class Loading:
    """Loads the plugins of transactions whose old instances have been torn down.

    Args:
        runner: takes the steps.
        runs: the transactions; what cannot be loaded is noted there.
        revisions: what is put in force, by ref.
        rejected: plugins that keep the context that they have, and their section with it.
    """

    def __init__(
        self,
        runner: LifecycleRunner,
        runs: Sequence[TransactionRun],
        revisions: Mapping[PluginRef, Revision],
        rejected: Collection[PluginRef],
    ) -> None:
        self._runner = runner
        self._table = runner.table
        self._runs = runs
        self._run_of = {ref: run for run in runs for ref in run.steps}
        self._revisions = revisions
        self._rejected = rejected
        self._how = self._ways_to_load()

    def run(self) -> None:
        """Load everything, dependencies first."""
        for run in self._runs:  # All, before the first import: it may meet any plugin's code.
            self._make_room(run)
        unable = {
            step.ref: step
            for run in self._runs
            for step in (*run.transaction.fail, *run.transaction.block)
        }
        self._runner.queue.run(self._run_of, self._load, unable)

    def _load(self, ref: PluginRef) -> None:
        run, entry = self._run_of[ref], self._table.entries[ref]
        if run.must_roll_back:
            return
        if ref in run.out_of_reach:
            run.waiting.add(ref)
            return
        if ref not in self._rejected or entry.context is None:
            self._table.provide(entry, self._runner.context)
        if ref not in self._how:
            return
        number, replaced, began = entry.number, entry.generation, perf_counter()
        try:
            self._runner.load(entry, self._how[ref], run.steps[ref].reason)
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
                duration_ms=ms_since(began),
            )
        finally:
            if ref not in run.saved and replaced is not entry.generation:
                run.retire(ref, number, replaced)

    def _make_room(self, run: TransactionRun) -> None:
        """Unload the code that is to be imported anew or leaves; put in force what is new."""
        table, transaction = self._table, run.transaction
        anew = [ref for ref in run.steps if self._how.get(ref) is Load.IMPORT]
        leaving = [step.ref for step in (*transaction.remove, *transaction.block)]
        # What is known to fail is what can be built, and came to nothing by itself.
        leaving += [step.ref for step in transaction.fail if not step.is_known]
        for ref in (*anew, *leaving):
            entry = table.entries.get(ref)
            if entry is not None and entry.generation is not None:
                entry.generation.unload()
        for step in (*transaction.set_up, *transaction.block, *transaction.fail):
            revision, entry = self._revisions.get(step.ref), table.entries.get(step.ref)
            if entry is None or table.states[step.ref] is State.REMOVED:
                assert revision is not None, "an unknown plugin without a revision"  # noqa: S101
                table.add(revision, step.reason)
            elif revision is not None:
                table.revise(entry, revision)
        for change in run.shared:
            change.activate()

    def _ways_to_load(self) -> Mapping[PluginRef, Load]:
        """Return how each plugin is to be loaded, except for what is loaded already."""
        entries, loaded = self._table.entries, self._loaded_already()
        how: dict[PluginRef, Load] = {}
        for ref, run in self._run_of.items():
            load = run.steps[ref].load
            assert load is not None  # noqa: S101 - every set_up step has one
            how[ref] = Load.RENEW if ref in loaded else load
        held = {ref: entries[ref].generation for ref, each in how.items() if each is Load.RENEW}
        undone = self._table.code.undone(held)
        loaded -= undone
        how |= dict.fromkeys(undone, Load.IMPORT)
        return {ref: each for ref, each in how.items() if ref not in loaded}

    def _loaded_already(self) -> set[PluginRef]:
        """Return what the registry has loaded but never set up, of the code that is on disk."""
        table = self._table
        sharing = {ref for run in self._runs for change in run.shared for ref in change.plugins}
        known = self._run_of.keys() - self._revisions.keys() - sharing
        loaded = {ref for ref in known if table.states.get(ref) is State.LOADED}
        importers: list[PluginRef] = list(self._run_of.keys() - loaded)
        while loaded and importers:
            stale = table.code.importers(importers.pop()) & loaded
            loaded -= stale
            importers += stale
        return loaded
