"""Order, dependents and cycles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import pytest

from dagstack_dev.core.errors.registry import AmbiguousPlugin, DependencyCycle, DependencyMissing
from dagstack_dev.core.graph import DependencyGraph, topo_sort
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.refs import PluginRef


def ref(name: str, kind: str = "k") -> PluginRef:
    return PluginRef(kind, name)


def graph(**wants: str) -> DependencyGraph:
    """A graph of kind `k`: `graph(a="b c")` is a depending on b and c."""
    return DependencyGraph({ref(name): names.split() for name, names in wants.items()})


def order(graph: DependencyGraph, priority: Callable[[PluginRef], int] = lambda _: 0) -> list[str]:
    return [each.name for each in graph.order(graph.refs, priority)]


def manifest(
    name: str, depends_on: Sequence[str | PluginRef] = (), *, kind: str = "k", priority: int = 0
) -> PluginManifest:
    return PluginManifest(
        name=name,
        kind=kind,
        core_version=">=0.1",
        runtime=("in_process",),
        entry_point="plugin:Plugin",
        depends_on=tuple(depends_on),
        priority=priority,
    )


def test_dependencies_come_first() -> None:
    assert order(graph(a="b", b="c", c="")) == ["c", "b", "a"]


def test_ties_go_by_priority_descending_then_name() -> None:
    ranks = {"low": 1, "high": 9}
    wants = graph(b="", a="", low="", high="")
    assert order(wants, lambda each: ranks.get(each.name, 5)) == ["high", "a", "b", "low"]


def test_the_ready_set_is_sorted_again_after_each_step() -> None:
    ranks = {"urgent": 9}
    wants = graph(a="", urgent="a", b="")
    assert order(wants, lambda each: ranks.get(each.name, 0)) == ["a", "urgent", "b"]


def test_the_same_name_in_two_kinds_is_ordered_by_kind() -> None:
    both = DependencyGraph({ref("a", "z"): (), ref("a", "b"): ()})
    assert both.order(both.refs, lambda _: 0) == [ref("a", "b"), ref("a", "z")]


@pytest.mark.parametrize("names", list(permutations("abc")))
def test_the_order_does_not_depend_on_the_order_of_registration(names: tuple[str, ...]) -> None:
    wants = {"a": "", "b": "", "c": "a"}
    assert order(graph(**{name: wants[name] for name in names})) == ["a", "b", "c"]


def test_a_part_is_ordered_without_a_look_at_the_rest() -> None:
    wants = graph(a="b", b="c", c="x", x="x")
    assert wants.order([ref("a"), ref("b")], lambda _: 0) == [ref("b"), ref("a")]


def test_downstream_is_transitive_and_includes_itself() -> None:
    wants = graph(a="b", b="c", c="", d="c", e="")
    assert wants.downstream([ref("b")]) == {ref("a"), ref("b")}
    assert wants.downstream([ref("c")]) == {ref("a"), ref("b"), ref("c"), ref("d")}
    assert wants.downstream([ref("unknown")]) == {ref("unknown")}
    assert wants.dependents(ref("c")) == {ref("b"), ref("d")}


def test_a_plugin_that_depends_on_itself_is_a_cycle_of_one() -> None:
    loop = graph(a="a")
    assert loop.find_cycle() == (ref("a"),)
    with pytest.raises(DependencyCycle, match="k/a depends on itself; remove it from depends_on"):
        loop.order(loop.refs, lambda _: 0)


@pytest.mark.parametrize("length", [2, 3, 50, 3000])
def test_a_cycle_of_any_length_is_found_and_reads_from_its_smallest_ref(length: int) -> None:
    names = [f"p{index:05}" for index in range(length)]
    wants = {ref(name): [names[(index + 1) % length]] for index, name in enumerate(names)}
    wants[ref("a-tail")] = [names[length // 2]]
    loop = DependencyGraph(wants)
    assert loop.find_cycle() == tuple(map(ref, names))
    with pytest.raises(DependencyCycle) as caught:
        loop.order(loop.refs, lambda _: 0)
    assert caught.value.cycle == tuple(map(ref, names))


def test_no_cycle_is_none() -> None:
    assert graph(a="b c", b="d", c="d", d="").find_cycle() is None


def test_a_cycle_is_looked_for_among_the_given_plugins_only() -> None:
    loop = graph(a="b", b="a", c="d", d="c")
    assert loop.find_cycle({ref("c"), ref("d")}) == (ref("c"), ref("d"))
    assert loop.find_cycle({ref("a"), ref("c")}) is None


def test_a_bare_name_in_two_kinds_is_ambiguous_and_no_edge() -> None:
    wants = DependencyGraph({ref("a"): ["x"], ref("x", "k1"): (), ref("x", "k2"): ()})
    problem = wants.problem(ref("a"))
    assert isinstance(problem, AmbiguousPlugin)
    assert problem.candidates == (ref("x", "k1"), ref("x", "k2"))
    assert wants.dependencies(ref("a")) == ()


def test_a_ref_means_itself_whatever_else_has_its_name() -> None:
    wanted = ref("x", "k2")
    wants = DependencyGraph({ref("a"): [wanted], ref("x", "k1"): (), wanted: ()})
    assert wants.problem(ref("a")) is None
    assert wants.dependencies(ref("a")) == (wanted,)


def test_what_does_not_exist_is_missing_as_written_with_a_suggestion() -> None:
    wants = DependencyGraph({ref("a"): ["them", ref("gone"), "theme"], ref("theme"): ()})
    problem = wants.problem(ref("a"))
    assert isinstance(problem, DependencyMissing)
    assert problem.missing == ("them", "k/gone")
    assert problem.suggestions == {"them": "theme"}
    assert wants.dependencies(ref("a")) == (ref("theme"),)


def test_a_dependency_written_twice_counts_once() -> None:
    wants = DependencyGraph({ref("a"): ["b", ref("b")], ref("b"): ()})
    assert wants.dependencies(ref("a")) == (ref("b"),)
    assert order(wants) == ["b", "a"]


def test_topo_sort_returns_manifests_in_setup_order() -> None:
    manifests = [manifest("c", ["a"]), manifest("b", priority=1), manifest("a")]
    assert [each.name for each in topo_sort(manifests)] == ["b", "a", "c"]


def test_topo_sort_ignores_dependencies_that_are_not_given() -> None:
    assert topo_sort([manifest("a", ["elsewhere"])]) == [manifest("a", ["elsewhere"])]


def test_topo_sort_refuses_cycles_duplicates_and_ambiguous_names() -> None:
    with pytest.raises(DependencyCycle):
        topo_sort([manifest("a", ["b"]), manifest("b", ["a"])])
    with pytest.raises(AmbiguousPlugin, match="k/a is declared twice"):
        topo_sort([manifest("a"), manifest("a")])
    with pytest.raises(AmbiguousPlugin, match="k/a: depends_on 'x' may be"):
        topo_sort([manifest("a", ["x"]), manifest("x", kind="k1"), manifest("x", kind="k2")])
