"""`depends_on`: names and tables, and what cannot be resolved."""

from __future__ import annotations

import pytest
from trees import PluginTree

from dagstack_dev import (
    AmbiguousPlugin,
    DependencyCycle,
    DependencyMissing,
    KindUnknown,
    PluginContext,
    PluginRef,
    PluginRegistry,
    State,
)


def nothing_is_set_up(registry: PluginRegistry) -> bool:
    return {each.state for each in registry.statuses().values()} == {State.LOADED}


async def test_names_and_tables_order_the_setup(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a", depends_on=['{ kind = "two", name = "shared" }', "b"])
    tree.plugin("b")
    tree.plugin("shared", kind="one", folder="first", value="first")
    tree.plugin("shared", kind="two", folder="second", value="second", depends_on=["b"])
    registry.discover(tree.root)
    await registry.setup_all(ctx)
    assert journal == ["setup b 1", "setup shared first", "setup shared second", "setup a 1"]
    await registry.teardown_all()


async def test_plugins_of_two_discover_calls_are_ordered_together(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a", folder="left/a", depends_on=["z"])
    tree.plugin("z", folder="right/z")
    registry.discover(tree.root / "left").discover(tree.root / "right")
    await registry.setup_all(ctx)
    assert journal == ["setup z 1", "setup a 1"]
    await registry.teardown_all()


async def test_a_bare_name_in_two_kinds_is_ambiguous(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a", depends_on=["shared"])
    tree.plugin("shared", kind="one", folder="first")
    tree.plugin("shared", kind="two", folder="second")
    registry.discover(tree.root)
    with pytest.raises(AmbiguousPlugin, match='kind = "one"') as caught:
        await registry.setup_all(ctx)
    assert caught.value.ref == PluginRef("demo", "a")
    assert caught.value.candidates == (PluginRef("one", "shared"), PluginRef("two", "shared"))
    assert nothing_is_set_up(registry)
    assert journal == []


async def test_a_missing_dependency_sets_up_nothing(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a", depends_on=["databse", '{ kind = "x", name = "y" }'])
    tree.plugin("b", depends_on=["nothing_like_it"])
    folder = tree.plugin("database")
    registry.discover(tree.root)
    with pytest.raises(DependencyMissing, match="did you mean 'database'") as caught:
        await registry.setup_all(ctx)
    error = caught.value
    assert (error.ref, error.missing) == (PluginRef("demo", "a"), ("databse", "x/y"))
    assert error.suggestions == {"databse": "database"}
    assert error.path == str(folder.parent / "a" / "dagstack.toml")
    assert error.line == 7
    assert str(error).endswith(f"change depends_on ({error.path}:7)")
    assert [type(other) for other in error.others] == [DependencyMissing]
    assert nothing_is_set_up(registry)
    assert journal == []


async def test_a_cycle_sets_up_nothing_and_is_reported_in_order(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a", depends_on=["b"])
    tree.plugin("b", depends_on=["c"])
    tree.plugin("c", depends_on=["a"])
    tree.plugin("free")
    registry.discover(tree.root)
    with pytest.raises(DependencyCycle, match="demo/a -> demo/b -> demo/c -> demo/a") as caught:
        await registry.setup_all(ctx)
    assert [ref.name for ref in caught.value.cycle] == ["a", "b", "c"]
    assert (caught.value.path, caught.value.line) == (str(tree.root / "a" / "dagstack.toml"), 7)
    assert nothing_is_set_up(registry)
    assert journal == []


async def test_a_plugin_that_depends_on_itself_is_a_cycle(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    tree.plugin("a", depends_on=["a"])
    registry.discover(tree.root)
    with pytest.raises(DependencyCycle) as caught:
        await registry.setup_all(ctx)
    assert caught.value.cycle == (PluginRef("demo", "a"),)


@pytest.fixture
def lookups(tree: PluginTree, registry: PluginRegistry) -> PluginRegistry:
    tree.plugin("only", kind="single")
    tree.plugin("high", kind="ranked", manifest="priority = 2\n", value="high")
    tree.plugin("low", kind="ranked", manifest="priority = 1\n")
    tree.plugin("left", kind="tied", manifest="priority = 3\n")
    tree.plugin("right", kind="tied", manifest="priority = 3\n")
    tree.plugin("only", kind="other", folder="other")
    return registry.discover(tree.root)


def test_without_a_name_the_only_plugin_of_a_kind_is_got(lookups: PluginRegistry) -> None:
    assert lookups.get_plugin("single") is lookups.get_plugin("single", "only")


def test_without_a_name_the_highest_priority_is_got(lookups: PluginRegistry) -> None:
    assert lookups.get_plugin("ranked").value() == "high"


def test_without_a_name_a_tie_is_ambiguous(lookups: PluginRegistry) -> None:
    with pytest.raises(AmbiguousPlugin, match="pass name=") as caught:
        lookups.get_plugin("tied")
    assert caught.value.candidates == (PluginRef("tied", "left"), PluginRef("tied", "right"))


@pytest.mark.parametrize(
    ("kind", "name", "suggestion"),
    [
        ("singel", None, "single"),
        ("singel", "only", "single"),
        ("ranked", "hihg", "high"),
        ("zzz", None, None),
    ],
)
def test_an_unknown_kind_or_name_is_kind_unknown_with_the_close_match(
    lookups: PluginRegistry, kind: str, name: str | None, suggestion: str | None
) -> None:
    with pytest.raises(KindUnknown) as caught:
        lookups.get_plugin(kind, name)
    error = caught.value
    assert (error.kind, error.name, error.suggestion) == (kind, name, suggestion)
    assert ("did you mean" in str(error)) is (suggestion is not None)


def test_resolve_finds_a_name_in_any_kind(lookups: PluginRegistry) -> None:
    assert lookups.resolve("high") is lookups.get_plugin("ranked")
    with pytest.raises(KindUnknown, match="did you mean 'right'"):
        lookups.resolve("rihgt")
    with pytest.raises(AmbiguousPlugin, match=r"several kinds: other/only, single/only"):
        lookups.resolve("only")
