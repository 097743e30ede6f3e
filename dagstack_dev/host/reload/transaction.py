"""One transaction under way: what ran before, what has failed, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.life import PluginCrashed, PluginLoadError, PluginUnhealthy
from dagstack_dev.core.events import ReloadFailed, ReloadRolledBack
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.host.loop.limits import ms_since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Candidate, Step, Transaction
    from dagstack_dev.core.ports import Generation, Imported, SharedCodeChange
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Saved
    from dagstack_dev.host.plugins.table import PluginTable
    from dagstack_dev.host.reload.runner import LifecycleRunner

ROLLED_BACK: Final = "rolled back"
"""Why a plugin goes back to what ran before."""


class Retired(NamedTuple):
    """A generation that should be gone by now."""

    ref: PluginRef
    number: int
    generation: Generation


@dataclass(slots=True)
class Applied:
    """What became of a plan.

    Attributes:
        built: what was set up anew and stands.
        failed: what could not be loaded or set up, with the reason, but for what is to be built
            anew, since it did not come back in a roll-back.
        imported: what each of these had imported when it failed.
        lost: what was to run again after that and could not, likewise.
        rolled_back: every plugin of a transaction that was rolled back, and any other of which
            a name means something else by that.
        touched: every plugin for which there was anything to do.
        overtaken: others that have imported code which was replaced or taken back meanwhile.
        retired: generations that nothing should hold any more.
    """

    built: set[PluginRef] = field(default_factory=set)
    failed: dict[PluginRef, BaseException] = field(default_factory=dict)
    imported: dict[PluginRef, Imported] = field(default_factory=dict)
    lost: dict[PluginRef, BaseException] = field(default_factory=dict)
    rolled_back: set[PluginRef] = field(default_factory=set)
    touched: set[PluginRef] = field(default_factory=set)
    overtaken: set[PluginRef] = field(default_factory=set)
    retired: list[Retired] = field(default_factory=list)

    def add(self, other: Applied) -> None:
        """Note what has become of a part that was touched."""
        self.built |= other.built
        self.failed |= other.failed
        self.imported |= other.imported
        self.lost |= other.lost
        self.rolled_back |= other.rolled_back
        self.overtaken |= other.overtaken
        self.retired += other.retired


class TransactionRun:
    """One transaction under way.

    Args:
        runner: takes the steps.
        transaction: what the plan says.
        shared: changes of shared code that come into force with it.
        candidates: those the plan was made from, by ref.
        before: the dependencies that were in force until the plan's were.

    Attributes:
        before: likewise.
        saved: what ran before, by ref, to go back to, in the order of teardowns.
        failed: what could not be loaded or set up, with the reason.
        out_of_reach: what has failed, and what depends on that.
        waiting: what was not loaded, since something that it depends on could not be.
        must_roll_back: whether a plugin that was ready before stays down by a failure.
        roll_back_began: when that began, on the clock of `time.perf_counter`; None until then.
        steps: the plugins to be set up, in order.
        open: the plugins whose setup may yet begin, or has yet to end.
        applied: what has become of it.
    """

    def __init__(
        self,
        runner: LifecycleRunner,
        transaction: Transaction,
        shared: Sequence[SharedCodeChange],
        candidates: Mapping[PluginRef, Candidate],
        before: DependencyGraph,
    ) -> None:
        self._runner = runner
        self._table = runner.table
        self._candidates = candidates
        self.before = before
        self.transaction = transaction
        self.shared = shared
        self.saved: dict[PluginRef, Saved] = {}
        self._failed_with = {
            ref: in_words(entry.error)
            for ref in transaction.refs
            if (entry := self._table.entries.get(ref)) is not None and entry.error is not None
        }
        self.failed: dict[PluginRef, BaseException] = {}
        self.out_of_reach: set[PluginRef] = set()
        self.waiting: set[PluginRef] = set()
        self.must_roll_back = False
        self.roll_back_began: float | None = None
        self.steps = {step.ref: step for step in transaction.set_up}
        self.open: set[PluginRef] = set(self.steps)
        self.has_ended = False
        self.applied = Applied(touched={*transaction.refs})

    # Failures

    def fail(self, ref: PluginRef, error: BaseException) -> None:
        """Note that `ref` failed; if a plugin that was ready before stays down by it, roll back."""
        self.failed[ref] = error
        self.applied.imported[ref] = self._table.code.imports_of(ref)
        if self.must_roll_back:
            return
        lost = self._table.graph.downstream([ref]) & self.steps.keys()
        self.out_of_reach |= lost
        keeps = {self._candidates[other].keeps for other in lost & self._candidates.keys()}
        self.must_roll_back = any(map(self._can_come_back, lost | keeps))
        self.open -= lost
        if self.must_roll_back:  # None of it begins any more.
            states = self._table.states
            self.open = {each for each in self.open if states[each] is State.SETTING_UP}

    def comes_back(self, ref: PluginRef) -> bool:
        """Return whether what ran of `ref` before is to run again."""
        return self.must_roll_back and self._can_come_back(ref)

    @property
    def coming_back(self) -> list[PluginRef]:
        """All that is to run again."""
        return [ref for ref in self.saved if self.comes_back(ref)]

    def _can_come_back(self, ref: PluginRef) -> bool:
        transaction = self.transaction
        return ref in self.saved and ref not in transaction.gone | transaction.unprotected

    def failure(
        self, changed: AbstractSet[PluginRef], *, reload_id: int, duration_ms: float
    ) -> ReloadRolledBack | ReloadFailed | None:
        """Return the fact of what went wrong, when it has ended; None when nothing did."""
        table, back = self._table, self.coming_back
        affected = tuple(sorted(self.transaction.refs))
        its_changed = tuple(ref for ref in affected if ref in changed)
        began = self.roll_back_began
        roll_back_ms = None if began is None else ms_since(began)
        is_back = all(table.states[ref] is State.READY for ref in back)
        if roll_back_ms is not None and is_back:
            return ReloadRolledBack(
                reload_id=reload_id,
                duration_ms=duration_ms,
                roll_back_ms=roll_back_ms,
                changed=its_changed,
                affected=affected,
                errors=dict(self.failed),
                running={ref: table.entries[ref].number for ref in sorted(back)},
            )
        never = {step.ref: step.error for step in self.transaction.fail if step.error is not None}
        if not (self.must_roll_back or self.failed or self.transaction.fail):
            return None
        errors = self.failed | never
        as_before = (ref for ref in errors if in_words(errors[ref]) == self._failed_with.get(ref))
        return ReloadFailed(
            reload_id=reload_id,
            duration_ms=duration_ms,
            roll_back_ms=roll_back_ms,
            changed=its_changed,
            affected=affected,
            errors=errors,
            as_before=tuple(sorted(as_before)),
        )

    # How it ends

    def commit(self) -> None:
        """Let the new state stand: conclude who failed, is blocked or removed, retire the old."""
        table = self._table
        for change in self.shared:
            change.keep()
        for ref, step in self.steps.items():
            entry = table.entries[ref]
            if table.states[ref] is State.READY:
                if ref in self._candidates:  # Else it runs what it ran, in a new instance.
                    table.note_pending(entry, None)
                self.applied.built.add(ref)
                saved = self.saved.get(ref)
                if saved is not None and saved.generation is not entry.generation:
                    self.retire(ref, saved.number, saved.generation)
            elif (error := self.error_of(ref)) is not None and ref not in self.waiting:
                self.applied.failed[ref] = error
                if ref not in self.failed:  # It has died since its setup.
                    self.applied.imported[ref] = table.code.imports_of(ref)
                self.drop(ref)
            else:
                self.block(ref, step.reason)
        self._conclude_the_rest()

    def conclude_roll_back(self) -> None:
        """Let what ran before stand, as far as it has come up again; the rest of it is lost."""
        table, lost = self._table, self.applied.lost
        offered = [*self._candidates.values()]
        newer = {ref: each.ref for each in offered[::-1] for ref in (each.keeps, each.ref)}
        leaving = {step.ref for step in self.transaction.remove}
        failed = {ref: self.failed[ref] for ref in self.failed.keys() & self.steps}
        for ref in self.coming_back:
            if table.states[ref] is State.READY:
                if ref in newer or ref in leaving:  # Its folder offers something newer, or is gone.
                    error = self.failed.get(newer.get(ref, ref))
                    error = error or next(iter(self.failed.values()))
                    table.note_pending(table.entries[ref], error)
                continue
            failed.pop(ref, None)  # It is down, and built anew whatever it has failed with.
            if (error := self.error_of(ref)) is not None:
                lost[ref] = error
                self.drop(ref)
            else:
                self.block(ref, "its dependency could not be rolled back")
        self._conclude_the_rest()
        self.applied.rolled_back |= self.transaction.refs
        self.applied.failed |= failed
        self.failed |= lost

    def _conclude_the_rest(self) -> None:
        """Conclude what was never to be set up, unless what ran of it before comes back."""
        table, transaction = self._table, self.transaction
        for step in transaction.block:
            if not (self.comes_back(step.ref) or table.states[step.ref] is State.REMOVED):
                self.block(step.ref, step.reason, step.blocked_by)
        for step in transaction.fail:
            if not (self.comes_back(step.ref) or table.states[step.ref] is State.REMOVED):
                self._fail_as_planned(step)
        for step in transaction.remove:
            if not self.comes_back(step.ref):
                self.drop(step.ref)
                self._runner.crashes.pop(step.ref, None)
                entry = table.entries[step.ref]
                table.removed(entry, step.reason, refusal="it was removed from disk")

    def _fail_as_planned(self, step: Step) -> None:
        table, entry = self._table, self._table.entries[step.ref]
        assert step.error is not None  # noqa: S101 - every fail step has one
        # It may have failed by itself, while it was ready.
        is_down = isinstance(step.error, PluginCrashed) and table.states[step.ref] is State.FAILED
        if isinstance(step.error, PluginUnhealthy):
            refusal = f"it was not healthy: {step.error.reason}"
            table.failed(entry, step.error, Stage.HEALTH, step.reason, refusal=refusal)
        elif not (is_down or _fails_already(table, step)):
            self._runner.load_failed(entry, step.error, _stage_of(step), step.reason)
        self.drop(step.ref)

    def withdraw(self) -> None:
        """Take the new generations out again, when they have been torn down."""
        table = self._table
        for step in (*self.transaction.block, *self.transaction.fail):
            if not self.comes_back(step.ref):
                self._makes_way(step.ref)
        failed = tuple(map(str, self.failed))
        for ref in self.steps:
            entry = table.entries.get(ref)
            if entry is None:
                continue
            if self.comes_back(ref):
                if entry.generation is not self.saved[ref].generation:
                    self.retire(ref, entry.number, entry.generation)
            elif not self._makes_way(ref):
                self.drop(ref)
                if table.states[ref] is not State.FAILED or ref in self.waiting:
                    refusal = f"it was rolled back, for {', '.join(failed)} failed"
                    table.blocked(entry, failed, ROLLED_BACK, refusal=refusal)
        for change in reversed(self.shared):
            change.revert()

    def _makes_way(self, ref: PluginRef) -> bool:
        """Remove a plugin that never was, if what runs from its folder comes back."""
        candidate = self._candidates.get(ref)
        if candidate is None or candidate.replaces not in self.saved:
            return False
        self.drop(ref)
        refusal = f"it was rolled back to {candidate.replaces}"
        self._table.removed(self._table.entries[ref], ROLLED_BACK, refusal=refusal)
        return True

    # One plugin of it

    def error_of(self, ref: PluginRef) -> BaseException | None:
        """Return why a plugin is `failed`, if it is: in its load, its setup, or since."""
        return self._table.entries[ref].error if self._table.states[ref] is State.FAILED else None

    def block(self, ref: PluginRef, reason: str, blocked_by: tuple[str, ...] = ()) -> None:
        """Let a plugin wait for what is not ready of its dependencies, else for `blocked_by`."""
        states, graph = self._table.states, self._table.graph
        blockers = graph.blockers(ref, lambda other: states.get(other) is State.READY)
        self.drop(ref)
        self._table.blocked(self._table.entries[ref], blockers or blocked_by, reason)

    def drop(self, ref: PluginRef) -> None:
        """Retire all of `ref`, for nothing of it is to stay in memory."""
        entry, saved = self._table.entries[ref], self.saved.get(ref)
        generations = {entry.number: entry.generation}
        if saved is not None:
            generations[saved.number] = saved.generation
        for number, generation in generations.items():
            self.retire(ref, number, generation)
        self._table.unload(entry)

    def retire(self, ref: PluginRef, number: int, generation: Generation | None) -> None:
        """Retire a generation that does not come back, if there is one."""
        if generation is not None:
            generation.retire()
            self.applied.retired.append(Retired(ref, number, generation))


def is_known(table: PluginTable, transaction: Transaction) -> bool:
    """Return whether all that `transaction` comes to is what is known already: still broken."""
    return (
        not (transaction.tear_down or transaction.remove or transaction.set_up)
        and all(_fails_already(table, step) for step in transaction.fail)
        and all(_waits_already(table, step) for step in transaction.block)
    )


def _fails_already(table: PluginTable, step: Step) -> bool:
    """Return whether the plugin of `step` has failed with this very error before."""
    entry = table.entries.get(step.ref)
    return (
        entry is not None
        and table.states[step.ref] is State.FAILED
        and entry.error is not None
        and step.error is not None
        and in_words(entry.error) == in_words(step.error)
    )


def _waits_already(table: PluginTable, step: Step) -> bool:
    """Return whether the plugin of `step` is blocked by just this already."""
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
