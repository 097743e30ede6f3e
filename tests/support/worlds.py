"""Random plugins, worlds and changes, for tests of the graph and the planner."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.errors.registry import DependencyCycle
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Candidate, Load, World
from dagstack_dev.core.refs import PluginRef

KINDS = ("k1", "k2")
NAMES = ("a", "b", "c", "d", "e", "f", "g")
ALL = [PluginRef(kind, name) for kind in KINDS for name in NAMES]
AT_REST = (State.FAILED, State.BLOCKED, State.STOPPED, State.REMOVED, State.DISCOVERED)


def refs() -> st.SearchStrategy[PluginRef]:
    """One of a few plugins, so that they meet."""
    return st.sampled_from(ALL)


def wants() -> st.SearchStrategy[tuple[str | PluginRef, ...]]:
    """A `depends_on`: bare names and refs, some of which do not exist."""
    names = st.sampled_from([*NAMES, "missing"])
    return st.lists(st.one_of(refs(), names), max_size=3).map(tuple)


@dataclass(frozen=True)
class Change:
    """What the planner is asked."""

    world: World
    candidates: tuple[Candidate, ...]
    removed: frozenset[PluginRef]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """A world as it may be, and a set of changes to it.

    In such a world a plugin is only live when all it depends on is, and was set up after it.
    """
    content = draw(st.dictionaries(refs(), wants(), max_size=len(ALL)))
    graph = DependencyGraph(content)
    states: dict[PluginRef, State] = {}
    setup_order: dict[PluginRef, int] = {}
    for ref in _startable(graph):
        if not draw(st.integers(0, 4)):
            continue
        if graph.problem(ref) is None and all(
            states.get(other) is State.READY for other in graph.dependencies(ref)
        ):
            states[ref] = State.READY
            setup_order[ref] = len(setup_order) * 2 + 1
    for ref in sorted(graph.refs):
        states.setdefault(ref, draw(st.sampled_from(AT_REST)))
    live = sorted(setup_order)
    importers: dict[PluginRef, frozenset[PluginRef]] = {}
    if live:
        importers = draw(
            st.dictionaries(
                st.sampled_from(live), st.frozensets(st.sampled_from(live), max_size=2), max_size=3
            )
        )
    priorities = draw(st.dictionaries(refs(), st.integers(0, 2), max_size=5))
    world = World(
        graph, states, setup_order, priorities, lambda ref: importers.get(ref, frozenset())
    )
    present = sorted(ref for ref in graph.refs if states[ref] is not State.REMOVED)
    removed = draw(st.frozensets(st.sampled_from(present), max_size=2)) if present else frozenset()
    return Change(world, draw(_candidates(present, removed)), removed)


def _startable(graph: DependencyGraph) -> list[PluginRef]:
    """Every plugin that is in no cycle and depends on none, dependencies first."""
    pool = set(graph.refs)
    while True:
        try:
            return graph.order(pool, lambda _: 0)
        except DependencyCycle as error:
            pool -= graph.downstream(error.cycle)


@st.composite
def _candidates(
    draw: st.DrawFn, present: list[PluginRef], removed: frozenset[PluginRef]
) -> tuple[Candidate, ...]:
    """At most one per plugin, and no two that take the place of the same one."""
    free = set(present) - removed
    drawn: list[Candidate] = []
    for ref in draw(st.lists(refs(), unique=True, max_size=5)):
        if ref in removed and draw(st.booleans()):
            continue
        broken = not draw(st.integers(0, 3))
        replaces = None
        others = sorted(free - {ref})
        if others and not draw(st.integers(0, 3)):
            replaces = draw(st.sampled_from(others))
            free.discard(replaces)
        drawn.append(
            Candidate(
                ref,
                wants=draw(wants()),
                priority=draw(st.integers(0, 2)),
                reason=draw(st.sampled_from(["changed", "added"])),
                load=draw(st.sampled_from(Load)),
                error=PluginLoadError(ref, "compile", "broken") if broken else None,
                replaces=replaces,
            )
        )
    return tuple(drawn)
