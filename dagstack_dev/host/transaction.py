"""One transaction under way: what ran before, what has failed, and what becomes of it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Candidate, Transaction
    from dagstack_dev.core.ports import Generation, SharedCodeChange
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.entry import Saved


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
        failed: what could not be loaded or set up, with the reason.
        lost: what was to run again after that and could not, likewise.
        rolled_back: every plugin of a transaction that was rolled back, and any other of which
            a name means something else by that.
        touched: every plugin for which there was anything to do.
        retired: generations that nothing should hold any more.
    """

    built: set[PluginRef] = field(default_factory=set)
    failed: dict[PluginRef, BaseException] = field(default_factory=dict)
    lost: dict[PluginRef, BaseException] = field(default_factory=dict)
    rolled_back: set[PluginRef] = field(default_factory=set)
    touched: set[PluginRef] = field(default_factory=set)
    retired: list[Retired] = field(default_factory=list)

    def add(self, other: Applied) -> None:
        """Note what has become of a part that was touched."""
        self.built |= other.built
        self.failed |= other.failed
        self.lost |= other.lost
        self.rolled_back |= other.rolled_back
        self.retired += other.retired


class TransactionRun:
    """One transaction under way.

    Attributes:
        shared: changes of shared code that come into force with it.
        saved: what ran before, by ref, to go back to.
        failed: what could not be loaded or set up, with the reason.
        out_of_reach: what has failed, and what depends on that.
        waiting: what was not loaded, since something that it depends on could not be.
        doomed: whether it has to be rolled back.
        steps: the plugins to be set up, in order.
        leaving: the plugins to be removed.
        open: the plugins whose setup has not ended.
        applied: what has become of it.
    """

    def __init__(self, transaction: Transaction, shared: Sequence[SharedCodeChange] = ()) -> None:
        self.transaction = transaction
        self.shared = shared
        self.saved: dict[PluginRef, Saved] = {}
        self.failed: dict[PluginRef, BaseException] = {}
        self.out_of_reach: set[PluginRef] = set()
        self.waiting: set[PluginRef] = set()
        self.doomed = False
        self.steps = {step.ref: step for step in transaction.set_up}
        self.leaving = {step.ref for step in transaction.remove}
        self.open: set[PluginRef] = set(self.steps)
        self.has_ended = False
        self.applied = Applied(touched={*transaction.refs})

    @property
    def refs(self) -> tuple[PluginRef, ...]:
        """Every plugin of the transaction, sorted."""
        return tuple(sorted(self.transaction.refs))

    def fail(
        self,
        ref: PluginRef,
        error: BaseException,
        graph: DependencyGraph,
        candidates: Mapping[PluginRef, Candidate],
    ) -> None:
        """Note that `ref` failed; if a plugin that was ready before stays down by it, roll back.

        Args:
            ref: the plugin.
            error: why.
            graph: the dependencies that the plan puts in force.
            candidates: those the plan was made from.
        """
        self.failed[ref] = error
        if self.doomed:
            return
        lost = graph.downstream([ref]) & self.steps.keys()
        self.out_of_reach |= lost
        keeps = {candidates[other].keeps for other in lost & candidates.keys()}
        self.doomed = any(map(self._can_come_back, lost | keeps))

    def comes_back(self, ref: PluginRef) -> bool:
        """Whether what ran of `ref` before is to run again."""
        return self.doomed and self._can_come_back(ref)

    @property
    def coming_back(self) -> list[PluginRef]:
        """All that is to run again."""
        return [ref for ref in self.saved if self.comes_back(ref)]

    def _can_come_back(self, ref: PluginRef) -> bool:
        transaction = self.transaction
        return ref in self.saved and ref not in transaction.gone | transaction.unprotected
