"""What the planner is given and what it answers, as values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.refs import PluginRef


class Load(Enum):
    """How a plugin comes to its next instance."""

    IMPORT = "import"
    """Its code is executed anew: a new generation."""
    RENEW = "renew"
    """The class it has gets a new instance."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do with one plugin, and why.

    `is_known` says that `error` is a failure that has been seen before.
    """

    ref: PluginRef
    reason: str
    load: Load | None = None
    error: BaseException | None = None
    is_known: bool = False
    blocked_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """A connected subgraph that commits or rolls back as a whole.

    Attributes:
        tear_down: in the order of execution, the reverse of the setup order in force.
        remove: plugins that are gone from disk.
        set_up: in the order of execution; `load` says how each gets its instance.
        block: plugins that have to wait, each with `blocked_by`.
        fail: plugins that cannot be set up by their own fault, each with `error`.
        gone: what of `remove` has been removed from disk: it never comes back.
        unprotected: plugins that run code of what is gone, and fail as after a restart.
        shared: the names of the changes of shared code that come into force with it.
    """

    tear_down: tuple[Step, ...] = ()
    remove: tuple[Step, ...] = ()
    set_up: tuple[Step, ...] = ()
    block: tuple[Step, ...] = ()
    fail: tuple[Step, ...] = ()
    gone: frozenset[PluginRef] = frozenset()
    unprotected: frozenset[PluginRef] = frozenset()
    shared: tuple[str, ...] = ()

    @property
    def refs(self) -> frozenset[PluginRef]:
        """Every plugin this transaction touches."""
        steps = (*self.tear_down, *self.remove, *self.set_up, *self.block, *self.fail)
        return frozenset(step.ref for step in steps)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one plugin is to be built from next, where that is not what it runs from.

    Attributes:
        ref: the plugin as its manifest now calls it.
        place: where it is to be built from.
        wants: its `depends_on`.
        priority: as its manifest says.
        reason: why it is a candidate, in words.
        load: whether its code must be imported anew or a new instance will do.
        error: why it could not be prepared, or None.
        is_lost: whether not even what runs of it can go on: `error` says why.
        replaces: the ref that the same folder had until now, where it differs.
        version: equal for equal inputs of its own, that is without those of its dependencies.
        seen: since which batch this has been on disk.
    """

    ref: PluginRef
    place: str = ""
    wants: Sequence[str | PluginRef] = ()
    priority: int = 0
    reason: str = "changed"
    load: Load = Load.IMPORT
    error: PluginRegistryError | None = None
    is_lost: bool = False
    replaces: PluginRef | None = None
    version: Hashable = None
    seen: int = 0

    @property
    def keeps(self) -> PluginRef:
        """The plugin that goes on running should this candidate be rejected."""
        return self.replaces or self.ref


@dataclass(frozen=True, slots=True)
class SharedNews:
    """New content of code that plugins import and that is none of them.

    Attributes:
        name: its own among the changes of the same reload.
        plugins: those that import it; they commit or roll back together.
        naming: those of them that do so by their candidate only, and not as they run.
        reason: why these are reloaded, in words.
        files: what each changed file holds, equal for equal content.
        seen: since which batch this has been on disk.
        free: plugins whose candidate names it no more.
        error_for: why a plugin cannot be loaded with it, as for code that does not compile.
    """

    name: str
    plugins: frozenset[PluginRef]
    naming: frozenset[PluginRef] = frozenset()
    reason: str = "it imports what changed"
    files: Mapping[str, Hashable] = field(default_factory=dict)
    seen: int = 0
    free: frozenset[PluginRef] = frozenset()
    error_for: Callable[[PluginRef], PluginRegistryError | None] = lambda _: None

    def beside(self, taken: Collection[PluginRef]) -> SharedNews:
        """It for what imports it if the candidates of just `taken` are taken."""
        return replace(self, plugins=self.plugins - self.naming.difference(taken))


def by_plugin(changes: Iterable[SharedNews]) -> Mapping[PluginRef, Sequence[SharedNews]]:
    """The changes of shared code that are for each plugin."""
    found: dict[PluginRef, list[SharedNews]] = {}
    for change in changes:
        for ref in change.plugins:
            found.setdefault(ref, []).append(change)
    return found


Key = bytes
"""A digest of all that a plugin is built from, the keys of its dependencies included."""


def key_of(
    ref: PluginRef,
    graph: DependencyGraph,
    version: Callable[[PluginRef], Hashable],
    known: dict[PluginRef, Key],
) -> Key:
    """The digest of the inputs of `ref` and of the keys of what it depends on.

    Args:
        ref: a plugin. What closes a cycle, and so is never built, counts once.
        graph: the dependencies.
        version: returns the inputs of a plugin that its dependencies do not make up.
        known: keys that have been computed; more are added.
    """
    stack = [ref]
    opened: set[PluginRef] = set()
    while ref not in known:
        each = stack[-1]
        opened.add(each)
        needed = graph.dependencies(each)
        todo = [other for other in needed if other not in known and other not in opened]
        if todo:
            stack += todo
            continue
        needs = [(str(other), known.get(other)) for other in needed]
        inputs = repr((str(each), version(each), needs))
        known[each] = blake2b(inputs.encode(), digest_size=16).digest()
        stack.pop()
    return known[ref]


class Retry(NamedTuple):
    """That a build is tried again by itself.

    Attributes:
        attempt: how often in a row it has failed, counted from 1.
        at: when, on the clock of `time.monotonic`; infinity for a failure that does not pass.
    """

    attempt: int = 0
    at: float = inf


@dataclass(frozen=True, slots=True)
class Failure:
    """A build that did not work.

    Attributes:
        key: what it was built from.
        error: why.
        files: the code that was news then and not its own, and what it held: by the path of a
            file of shared code, or by the ref of another plugin; equal for equal content, and
            None for what was not there.
        is_of_running: whether the build had run, and came to nothing by itself later.
        absent: the modules that it names as missing, and that were looked for in vain.
        retry: when it is tried again by itself; None where that has not been decided.
    """

    key: Key
    error: BaseException
    files: Mapping[str | PluginRef, Hashable] = field(default_factory=dict)
    is_of_running: bool = False
    absent: AbstractSet[str] = frozenset()
    retry: Retry | None = None

    @property
    def is_retried(self) -> bool:
        """Whether it waits for a time, and not for news."""
        return self.retry is not None and self.retry.at < inf


Failures = Mapping["PluginRef", Iterable[Failure]]
"""What did not work, by plugin."""


@dataclass(frozen=True, slots=True)
class World:
    """What runs now.

    Attributes:
        graph: the dependencies in force.
        states: the state of every plugin.
        setup_order: for each ready plugin a number that grows in the order in which setups ended.
        priorities: of every plugin; 0 where not given.
        importers: returns the plugins that imported code of a plugin.
        version: returns the own inputs that a plugin runs from, or was last tried from.
        problem: returns why nothing can be built from what is on disk of a plugin at rest, or None.
        content: returns what runs of a file of shared code; equal for equal content.
    """

    graph: DependencyGraph
    states: Mapping[PluginRef, State]
    setup_order: Mapping[PluginRef, int]
    priorities: Mapping[PluginRef, int] = field(default_factory=dict)
    importers: Callable[[PluginRef], AbstractSet[PluginRef]] = lambda _: frozenset()
    version: Callable[[PluginRef], Hashable] = lambda _: None
    problem: Callable[[PluginRef], BaseException | None] = lambda _: None
    content: Callable[[str], Hashable] = lambda _: None

    def is_live(self, ref: PluginRef) -> bool:
        """Whether `ref` has something to lose."""
        return self.states.get(ref) is State.READY

    def key(self, ref: PluginRef) -> Key:
        """The key by which `ref` runs, or was last tried."""
        return key_of(ref, self.graph, self.version, {})

    def code(self, unit: PluginRef | str) -> Hashable:
        """What runs of a plugin, or of a file of shared code; None for nothing."""
        if isinstance(unit, str):
            return self.content(unit)
        return self.version(unit) if self.is_live(unit) else None


@dataclass(frozen=True)
class Given:
    """What the planner is given: what runs, and all on disk that does not.

    Attributes:
        world: what runs.
        candidates: by ref, sorted.
        removed: plugins that are gone from disk.
        shared: changes of shared code, by name, sorted.
        failures: builds that are known to fail.
    """

    world: World
    candidates: Mapping[PluginRef, Candidate] = field(default_factory=dict)
    removed: AbstractSet[PluginRef] = frozenset()
    shared: Mapping[str, SharedNews] = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)

    def goes_on(self, ref: PluginRef) -> bool:
        """Whether what runs of `ref` does so still if its candidate is left out."""
        candidate = self.candidates.get(ref)
        return self.world.is_live(ref) and not (candidate is not None and candidate.is_lost)

    def at_stake(self, candidate: Candidate) -> set[PluginRef]:
        """What runs and goes on if `candidate` is left out: not what lies elsewhere."""
        found = {candidate.ref}
        if candidate.replaces is not None and candidate.replaces not in self.candidates:
            found.add(candidate.replaces)
        return set(filter(self.goes_on, found))

    def seen(self, unit: PluginRef | str) -> int:
        """Since which batch the news of `unit` have been on disk; 0 for what does not go on."""
        if isinstance(unit, str):
            return self.shared[unit].seen
        candidate = self.candidates.get(unit)
        return candidate.seen if candidate is not None and self.goes_on(unit) else 0

    @cached_property
    def heirs(self) -> Mapping[PluginRef, PluginRef]:
        """For each plugin the candidate that would take its place under another name."""
        candidates = self.candidates.values()
        return {each.replaces: each.ref for each in candidates if each.replaces is not None}

    @cached_property
    def changes(self) -> Mapping[PluginRef, Sequence[SharedNews]]:
        """The changes of shared code that are for each plugin."""
        return by_plugin(self.shared.values())


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """The whole of a reload.

    Attributes:
        graph: the dependencies once the plan is in force.
        transactions: independent of each other, in deterministic order.
        rejected: candidates that leave what runs untouched, by the ref that goes on running;
            one that would replace a plugin at rest with one that runs elsewhere, by both.
        taken: candidates that are put in force.
        held: changes of shared code that are not put in force, by name, with the reason.
        files: returns what the code holds then that is news for a plugin of the plan, or for what
            it depends on, and not theirs, given what else its build has imported; see `Failure`.
        key: returns the key by which a plugin of the plan is built.
    """

    graph: DependencyGraph
    transactions: tuple[Transaction, ...]
    rejected: Mapping[PluginRef, BaseException]
    taken: AbstractSet[PluginRef]
    held: Mapping[str, BaseException]
    files: Callable[[PluginRef, Iterable[str | PluginRef]], Mapping[str | PluginRef, Hashable]]
    key: Callable[[PluginRef], Key]

    @property
    def affected(self) -> frozenset[PluginRef]:
        """Every plugin that some transaction touches."""
        return frozenset(ref for each in self.transactions for ref in each.refs)

    def actions(self) -> Iterator[tuple[str, Step]]:
        """Yield what is done with which plugin, part by part in the order in which it is."""
        for part in self.transactions:
            yield from (("tear down", step) for step in part.tear_down)
            yield from (("remove", step) for step in part.remove)
            for step in part.set_up:
                if step.load is Load.IMPORT:
                    yield "import", step
                yield "set up", step
            yield from (("wait", step) for step in part.block)
            yield from (("fail", step) for step in part.fail)

    def errors(self) -> Iterator[BaseException]:
        """Every error of the plugins that fail or are rejected."""
        yield from self.rejected.values()
        for step in (step for each in self.transactions for step in each.fail):
            if step.error is not None:
                yield step.error
