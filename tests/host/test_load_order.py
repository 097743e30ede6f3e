"""`discover` imports and lists by dependency, else by path (contract, section 3)."""

from __future__ import annotations

import sys

import pytest
from serving import namespace
from trees import PluginTree

from dagstack_dev import PluginLoadError, PluginRef, PluginRegistry, State
from dagstack_dev.core.events import Fact, Transition

BORROWING = {
    "absolute": "from {namespace}.demo.z_base.plugin import WORD",
    "relative": "from ..z_base.plugin import WORD",
}


def borrow(tree: PluginTree, name: str, line: str, depends_on: list[str]) -> None:
    code = f"{line}\nclass Plugin:\n    def value(self):\n        return WORD\n"
    tree.plugin(name, depends_on=depends_on, code=code)


@pytest.mark.parametrize("line", BORROWING.values(), ids=BORROWING.keys())
def test_discover_imports_a_dependency_before_the_plugin_that_borrows_its_code(
    tree: PluginTree, registry: PluginRegistry, line: str
) -> None:
    borrow(tree, "a_user", line.format(namespace=namespace(registry)), ["m_middle"])
    tree.plugin("m_middle", depends_on=["z_base"])
    tree.plugin("z_base", code="WORD = 'it'\nclass Plugin: ...\n")
    registry.discover(tree.root)
    assert registry.get_plugin("demo", "a_user").value() == "it"
    assert [each.name for each in registry.list_manifests()] == ["z_base", "m_middle", "a_user"]


def test_code_of_a_plugin_discovered_earlier_can_be_borrowed(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    tree.plugin("z_base", folder="z/z_base", code="WORD = 'it'\nclass Plugin: ...\n")
    tree.plugin(
        "late",
        folder="a/late",
        depends_on=["z_base"],
        code="from ..z_base.plugin import WORD\nclass Plugin:\n    value = lambda self: WORD\n",
    )
    registry.discover(tree.root / "z").discover(tree.root / "a")
    assert registry.get_plugin("demo", "late").value() == "it"


def test_discover_leaves_what_closes_a_cycle_or_does_not_resolve_in_path_order(
    tree: PluginTree, registry: PluginRegistry, facts: list[Fact]
) -> None:
    tree.plugin("a", depends_on=["z"])
    tree.plugin("b", depends_on=["d", "y"])
    tree.plugin("c", depends_on=["b", "nowhere"])
    tree.plugin("d", depends_on=["c"])
    tree.plugin("e", depends_on=["nowhere"])
    tree.plugin("s", depends_on=["s"])
    tree.plugin("y")
    tree.plugin("z")
    registry.discover(tree.root)
    loaded = [
        each.ref.name
        for each in facts
        if isinstance(each, Transition) and each.to_state is State.LOADED
    ]
    assert loaded == ["c", "d", "e", "s", "y", "b", "z", "a"]
    assert [each.name for each in registry.list_manifests()] == loaded


def test_a_dependency_that_fails_to_import_registers_nothing_and_leaves_no_module(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    borrow(tree, "a_user", BORROWING["relative"], ["z_base"])
    tree.plugin("m_fine")
    tree.plugin("z_base", code="raise LookupError\nclass Plugin: ...\n")
    with pytest.raises(PluginLoadError) as caught:
        registry.discover(tree.root)
    assert caught.value.ref == PluginRef("demo", "z_base")
    assert [error.ref for error in caught.value.others] == [PluginRef("demo", "a_user")]
    assert registry.statuses() == {}
    left = [name for name in sys.modules if name.startswith(f"{namespace(registry)}.demo.")]
    assert left == []
    tree.plugin("z_base", code="WORD = 'mended'\nclass Plugin: ...\n")
    registry.discover(tree.root)
    assert registry.get_plugin("demo", "a_user").value() == "mended"
