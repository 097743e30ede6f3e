"""Carries out plans, as the host does, with an oracle in place of plugins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Load, ReloadPlan, Step, Transaction
from dagstack_dev.core.refs import PluginRef
from model.builds import Build, Inputs, Oracle, reach
from model.disk import Module, Text
from model.laws import in_force


@dataclass(frozen=True)
class Entry:
    """A plugin, running or at rest.

    Attributes:
        inputs: what it runs from, or was last tried from.
    """

    inputs: Inputs
    state: State


@dataclass
class Applied:
    """What became of a transaction.

    Attributes:
        failed: the builds that did not work, but for those of what did not come back.
        lost: what was to run again, and failed.
        is_rolled_back: whether what ran before was to run again.
        rewired: what else had its names mean something else by that.
    """

    failed: dict[PluginRef, Build] = field(default_factory=dict)
    lost: dict[PluginRef, Build] = field(default_factory=dict)
    is_rolled_back: bool = False
    rewired: set[PluginRef] = field(default_factory=set)


class Machine:
    """What runs, and what became of the rest.

    Args:
        oracle: says which builds work.
        fails_once: whether a build that has worked fails when a roll back sets it up again.

    Attributes:
        tried: the last build of each plugin, whether it works or not.
        graph: the dependencies in force, those of plugins at rest among them.
        before: those that were in force until the plan's were.
    """

    def __init__(self, oracle: Oracle, fails_once: Callable[[], bool]) -> None:
        self.oracle = oracle
        self.fails_once = fails_once
        self.entries: dict[PluginRef, Entry] = {}
        self.running: dict[PluginRef, Build] = {}
        self.setup_order: dict[PluginRef, int] = {}
        self.tried: dict[PluginRef, Build] = {}
        self.graph = self.before = DependencyGraph()
        self._setups = 0

    def begin(self, plan: ReloadPlan) -> None:
        """Put the dependencies of `plan` in force."""
        self.before, self.graph = self.graph, plan.graph

    def leave(self, refs: AbstractSet[PluginRef]) -> set[PluginRef]:
        """Let plugins that the plan was made for be as they were; those to be looked at again."""
        return {*refs} | self._rewire(refs, self.entries.keys() & self.before.refs)

    def crash(self, ref: PluginRef) -> None:
        """Have a plugin end by itself."""
        self._rest(ref, self._tear_down(ref).inputs, State.FAILED)

    def importers(self) -> Mapping[PluginRef, set[PluginRef]]:
        """By plugin what has imported its code, or tried to and failed for that."""
        found: defaultdict[PluginRef, set[PluginRef]] = defaultdict(set)
        for ref in self.entries.keys() & self.tried.keys():
            build = self.running.get(ref, self.tried[ref])
            missing = {*build.inputs.text.borrows} - build.borrowed.keys()
            for other in build.borrowed if ref in self.running else missing:
                found[other].add(ref)
        return found

    def is_known(self, transaction: Transaction) -> bool:
        """Whether `transaction` comes to nothing but what is known already: still broken."""
        if transaction.tear_down or transaction.remove or transaction.set_up:
            return False
        return transaction.refs <= self.entries.keys()

    def tied(
        self,
        plan: ReloadPlan,
        newest: Mapping[PluginRef, Inputs],
        modules: Mapping[str, Module],
    ) -> list[Transaction]:
        """The transactions of `plan`; those whose plugins import each other's news are one."""
        texts = {ref: each.inputs.text for ref, each in self.entries.items()}
        texts |= {ref: each.text for ref, each in newest.items()}
        code = {**modules, **in_force(self.running)}
        code |= {name: modules.get(name) for each in plan.transactions for name in each.shared}

        def imports_news(one: Transaction, other: Transaction) -> bool:
            news: set[Hashable] = {*other.shared, *(step.ref for step in other.set_up)}
            loaded = [texts[step.ref] for step in one.set_up if step.load is Load.IMPORT]
            return any(
                not news.isdisjoint((*text.borrows, *reach(text.imports, code)[0]))
                for text in loaded
            )

        parts: list[list[Transaction]] = []
        for transaction in plan.transactions:
            tied = [
                part
                for part in parts
                if any(
                    imports_news(transaction, each) or imports_news(each, transaction)
                    for each in part
                )
            ]
            parts = [part for part in parts if part not in tied]
            parts.append([transaction, *(each for part in tied for each in part)])
        return [self._as_one(part, plan.graph) for part in parts]

    def _as_one(self, part: Sequence[Transaction], graph: DependencyGraph) -> Transaction:
        def steps(name: str) -> tuple[Step, ...]:
            return tuple(step for each in part for step in getattr(each, name))

        set_up = {step.ref: step for step in steps("set_up")}
        return Transaction(
            tuple(sorted(steps("tear_down"), key=lambda step: -self.setup_order[step.ref])),
            steps("remove"),
            tuple(set_up[ref] for ref in graph.order(set_up, lambda _: 0)),
            steps("block"),
            steps("fail"),
            frozenset().union(*(each.gone for each in part)),
            frozenset().union(*(each.unprotected for each in part)),
            tuple(name for each in part for name in each.shared),
        )

    def carry_out(
        self,
        plan: ReloadPlan,
        transaction: Transaction,
        newest: Mapping[PluginRef, Inputs],
        modules: Mapping[str, Module],
    ) -> Applied:
        """Tear down, set up in order, then commit or roll back.

        Args:
            plan: what `transaction` is part of.
            transaction: what is to be done.
            newest: what plugins are loaded from, where that is not what they were.
            modules: shared code on disk.
        """
        applied = Applied()
        code = {**modules, **in_force(self.running)}
        code |= {name: modules.get(name) for name in transaction.shared}
        there = {ref: each.inputs for ref, each in self.entries.items()} | dict(newest)
        saved = {step.ref: self._tear_down(step.ref) for step in transaction.tear_down}
        safe = saved.keys() - transaction.gone - transaction.unprotected
        homes = {saved[ref].inputs.folder for ref in safe}
        importable = {ref: build.inputs.text for ref, build in self.running.items()}
        importable |= {
            step.ref: there[step.ref].text for each in plan.transactions for step in each.set_up
        }
        for step in transaction.set_up:
            ref, needs = step.ref, plan.graph.dependencies(step.ref)
            if not all(other in self.running for other in needs):
                self._rest(ref, there[ref], State.BLOCKED)
                continue
            inputs = replace(there[ref], needs=needs)
            build, works = self._build(step, inputs, saved, code, importable)
            self.tried[ref] = build
            if works:
                self._come_up(ref, build)
                continue
            applied.failed[ref] = build
            self._rest(ref, there[ref], State.FAILED)
            stuck = plan.graph.downstream([ref]) & {each.ref for each in transaction.set_up}
            if any(each in safe or there[each].folder in homes for each in stuck):
                applied.is_rolled_back = True
                self._withdraw(transaction, there, homes, applied)
                break
        back = safe if applied.is_rolled_back else set()
        for step in (*transaction.block, *transaction.fail):
            if back and there[step.ref].folder in homes:
                self.entries.pop(step.ref, None)
            elif step.ref not in back:
                state = State.BLOCKED if step.blocked_by else State.FAILED
                self._rest(step.ref, there[step.ref], state)
        for step in transaction.remove:
            if step.ref not in back:
                self.entries.pop(step.ref, None)
        for ref in [ref for ref in reversed(saved) if ref in back]:
            self._restore(ref, saved[ref], applied)
        if back:
            applied.rewired = self._rewire(transaction.refs, back)
            for ref in back - self.running.keys():
                applied.failed.pop(ref, None)  # It is built anew.
        return applied

    def _build(
        self,
        step: Step,
        inputs: Inputs,
        saved: Mapping[PluginRef, Build],
        code: Mapping[str, Module | None],
        borrowed: Mapping[PluginRef, Text],
    ) -> tuple[Build, bool]:
        if step.load is Load.RENEW:
            assert step.ref in saved, f"{step.ref} does not run, and is renewed"
            code, borrowed = saved[step.ref].modules, saved[step.ref].borrowed
        beside = {other: self.running[other].key for other in inputs.needs or ()}
        return self.oracle.attempt(inputs, code, borrowed, beside)

    def _withdraw(
        self,
        transaction: Transaction,
        there: Mapping[PluginRef, Inputs],
        homes: Collection[str],
        applied: Applied,
    ) -> None:
        """Take what has come up out again, and what is to take the place of what comes back."""
        for step in transaction.set_up:
            if step.ref in self.running:
                self._tear_down(step.ref)
            if there[step.ref].folder in homes:
                self.entries.pop(step.ref, None)
            elif step.ref not in applied.failed:
                self._rest(step.ref, there[step.ref], State.BLOCKED)

    def _restore(self, ref: PluginRef, build: Build, applied: Applied) -> None:
        """Set up again what ran, if all that it was built with is there."""
        running = self.running
        if not all(
            each in running and running[each].key == key for each, key in build.beside.items()
        ):
            self._rest(ref, build.inputs, State.BLOCKED)
        elif self.fails_once():
            applied.lost[ref] = build
            self._rest(ref, build.inputs, State.FAILED)
        else:
            self._come_up(ref, build)

    def _rewire(self, refs: Iterable[PluginRef], back: Collection[PluginRef]) -> set[PluginRef]:
        """Give those of `refs` that are `back` the dependencies that they had before.

        What runs keeps what its names meant when it was built.

        Returns:
            All others whose names mean something else by that.
        """
        gone = [ref for ref in refs if ref not in self.entries]
        needs = {ref: self.before.dependencies(ref) for ref in refs if ref in back}
        graph, rewired = self.graph.updated({ref: self.before.wants(ref) for ref in needs}, gone)
        needs |= {ref: self.graph.dependencies(ref) for ref in rewired if ref in self.running}
        pinned = {
            ref: each
            for ref, each in needs.items()
            if graph.problem(ref) or graph.dependencies(ref) != each
        }
        self.graph, _ = graph.updated(pinned)
        return {*rewired}

    def _come_up(self, ref: PluginRef, build: Build) -> None:
        self._setups += 1
        self.running[ref], self.setup_order[ref] = build, self._setups
        self.entries[ref] = Entry(build.inputs, State.READY)

    def _tear_down(self, ref: PluginRef) -> Build:
        del self.setup_order[ref]
        return self.running.pop(ref)

    def _rest(self, ref: PluginRef, inputs: Inputs, state: State) -> None:
        self.entries[ref] = Entry(inputs, state)
