"""Who imports whom, as plain data: whatever is noted, taken back and noted again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dagstack_dev.runtimes.shared.imports import ImportGraph

OWNERS = "one", "two"
MODULES = tuple(f"{owner}.{part}" for owner in OWNERS for part in "ab")

Noted = list[tuple[str, str]]

noted = st.lists(
    st.tuples(st.sampled_from(MODULES), st.sampled_from(MODULES)).filter(
        lambda two: len({*two}) > 1
    )
)
stages = st.lists(st.sampled_from(("before", "after", "never")), min_size=4, max_size=4)
"""When each module is followed: before the imports are noted, after that, or never."""

thorough = settings(max_examples=300)


def owner_of(module: str) -> str:
    return module.partition(".")[0]


def at(stages: list[str], stage: str) -> set[str]:
    return {module for module, each in zip(MODULES, stages, strict=True) if each == stage}


def graph_of(before: set[str], imports: Noted, after: set[str]) -> ImportGraph:
    """Follow some modules, note imports, and follow others only then."""
    graph = ImportGraph()
    for module in before:
        graph.follow(module, owner_of(module))
    for importer, imported in imports:
        graph.add(importer, [imported])
    for module in after:
        graph.follow(module, owner_of(module))
    return graph


def seen(graph: ImportGraph) -> object:
    """Return all that can be asked of a graph."""
    return (
        {*graph.followed()},
        {module: graph.importers(module) for module in MODULES},
        {module: graph.reached_from(module) for module in MODULES},
        {owner: graph.reached_by(owner) for owner in OWNERS},
        graph.missing,
        graph.late,
    )


@thorough
@given(stages, noted)
def test_it_says_who_imported_what_and_what_was_missing(stages: list[str], noted: Noted) -> None:
    before, after = at(stages, "before"), at(stages, "after")
    graph = graph_of(before, noted, after)
    counted = {each for each in noted if each[0] in before}
    imported = {name for _, name in counted}
    for module in MODULES:
        assert graph.importers(module) == sorted(one for one, name in counted if name == module)
    assert graph.missing == imported - before - after
    late = {name: {one for one, each in counted if each == name} for name in imported & after}
    assert graph.late == late
    graph.close()
    assert seen(graph) == seen(ImportGraph())


@thorough
@given(stages, noted, st.sampled_from(OWNERS))
def test_what_an_owner_imported_is_gone_and_comes_back(
    stages: list[str], noted: Noted, owner: str
) -> None:
    before, after = at(stages, "before"), at(stages, "after")
    graph = graph_of(before, noted, after)
    whole = seen(graph)
    taken = graph.unfollow(owner)
    own = {module for module in MODULES if owner_of(module) == owner}
    others = [each for each in noted if each[0] not in own]
    assert seen(graph) == seen(graph_of(before - own, others, after - own))
    graph.follow_again(owner, taken)
    assert seen(graph) == whole
    graph.close()
