"""An updated graph equals one that is built from scratch, and the original stays as it was."""

from __future__ import annotations

from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st
from worlds import refs, wants

from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.refs import PluginRef

Wants = tuple[str | PluginRef, ...]
Edit = tuple[dict[PluginRef, Wants], frozenset[PluginRef]]

EDITS: st.SearchStrategy[Edit] = st.tuples(
    st.dictionaries(refs(), wants(), max_size=4), st.frozensets(refs(), max_size=3)
)


def picture(graph: DependencyGraph) -> dict[PluginRef, object]:
    """Everything that can be asked of each plugin."""
    return {
        ref: (
            graph.wants(ref),
            graph.dependencies(ref),
            frozenset(graph.dependents(ref)),
            str(graph.problem(ref)),
        )
        for ref in graph.refs
    }


K1, K2 = (partial(PluginRef, kind) for kind in ("k1", "k2"))


@given(st.lists(EDITS, max_size=6))
# A name that is missing becomes ambiguous beside another one that is.
@example(
    [({K1("c"): (), K2("c"): ("c", "a")}, frozenset()), ({K1("a"): (), K2("a"): ()}, frozenset())]
)
def test_any_sequence_of_updates_equals_a_fresh_graph(edits: list[Edit]) -> None:
    graph = DependencyGraph()
    content: dict[PluginRef, Wants] = {}
    for put, drop in edits:
        content = {ref: names for ref, names in content.items() if ref not in drop} | put
        before = picture(graph)
        newer, rewired = graph.updated(put, drop)
        fresh = DependencyGraph(content)
        assert picture(newer) == picture(fresh)
        assert len(newer) == len(fresh)
        assert picture(graph) == before, "the original has changed"
        assert rewired == {
            ref
            for ref in newer.refs - put.keys()
            # Of several problems, `problem` names one.
            if fresh._resolved[ref] != graph._resolved[ref]
        }
        graph = newer


@given(st.dictionaries(refs(), wants()))
def test_an_update_that_changes_nothing_returns_the_same_graph(
    content: dict[PluginRef, Wants],
) -> None:
    graph = DependencyGraph(content)
    same, rewired = graph.updated(content, [PluginRef("k", "never there")])
    assert same is graph
    assert not rewired


@given(st.dictionaries(refs(), wants()))
def test_order_and_find_cycle_agree(content: dict[PluginRef, Wants]) -> None:
    graph = DependencyGraph(content)
    cycle = graph.find_cycle()
    if cycle is None:
        order = graph.order(graph.refs, lambda _: 0)
        assert sorted(order) == sorted(graph.refs)
        for index, ref in enumerate(order):
            assert set(graph.dependencies(ref)) <= set(order[:index])
    else:
        assert len(set(cycle)) == len(cycle)
        assert cycle[0] == min(cycle)
        for ref, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            assert following in graph.dependencies(ref)


def test_a_new_plugin_of_a_wanted_name_rewires_who_wants_it() -> None:
    want, first, second = PluginRef("k", "a"), PluginRef("k1", "x"), PluginRef("k2", "x")
    graph = DependencyGraph({want: ["x"], first: ()})
    ambiguous, rewired = graph.updated({second: ()})
    assert rewired == {want}
    moved, rewired = ambiguous.updated({}, [first])
    assert rewired == {want}
    assert moved.dependencies(want) == (second,)
