"""The garbage collector runs seldom while a start makes many objects, and as before after it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from serving import context, serving
from trees import PluginTree

from dagstack_dev import discover
from dagstack_dev.core.events import Fact, ReloadCommitted, ReloadSkipped, ReloadStarted
from dagstack_dev.host.loop.gc_pause import ALLOCATIONS

CODE = """
import gc

SEEN = gc.get_threshold()

class Plugin:
    def setup(self, ctx):
        self.seen_in_setup = gc.get_threshold()

    def seen(self):
        return SEEN
"""


@pytest.fixture(autouse=True)
def thresholds_as_they_were() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_a_discovery_raises_the_threshold_and_puts_it_back(
    tree: PluginTree, thresholds_as_they_were: tuple[int, int, int]
) -> None:
    tree.plugin("one", code=CODE)
    assert discover(tree.root).get_plugin("demo", "one").seen()[0] == ALLOCATIONS
    assert gc.get_threshold() == thresholds_as_they_were


async def test_setups_raise_the_threshold_and_put_it_back(
    tree: PluginTree, thresholds_as_they_were: tuple[int, int, int]
) -> None:
    tree.plugin("one", code=CODE)
    registry = discover(tree.root)
    await registry.setup_all(context(registry=registry))
    assert registry.get_plugin("demo", "one").seen_in_setup[0] == ALLOCATIONS
    assert gc.get_threshold() == thresholds_as_they_were
    await registry.teardown_all()


async def test_a_first_start_and_a_reload_raise_the_threshold_and_put_it_back(
    tree: PluginTree, thresholds_as_they_were: tuple[int, int, int]
) -> None:
    tree.plugin("one", code=CODE)
    async with serving(tree) as live:
        assert live.plugin("one").seen()[0] == ALLOCATIONS
        assert gc.get_threshold() == thresholds_as_they_were
        tree.plugin("one", code=CODE.replace("return SEEN", "return [*SEEN]"))
        await live.settle()
        assert live.plugin("one").seen() == [ALLOCATIONS, *live.plugin("one").seen_in_setup[1:]]
        assert gc.get_threshold() == thresholds_as_they_were


async def test_the_threshold_is_raised_from_the_look_at_the_disk_to_the_end_of_the_reload(
    tree: PluginTree,
) -> None:
    tree.plugin("one", code=CODE)
    seen: dict[type, int] = {}

    def note(fact: Fact, /) -> None:
        seen.setdefault(type(fact), gc.get_threshold()[0])

    async with serving(tree) as live:
        live.server.registry.observe(note)
        tree.plugin("one", code=CODE)
        await live.fact(ReloadSkipped)
        tree.plugin("one", code=f"{CODE}\n# changed\n")
        await live.settle()
    told = (ReloadSkipped, ReloadStarted, ReloadCommitted)
    assert [seen[kind] for kind in told] == [ALLOCATIONS] * 3


def test_what_many_plugins_have_made_is_not_gone_through_again_after_it(tree: PluginTree) -> None:
    gc.collect()
    old = len(gc.get_objects(generation=2))
    tree.plugin("one", code=f"KEPT = [[] for _ in range({ALLOCATIONS + 1})]\nclass Plugin: pass\n")
    tree.plugin("two", code=f"KEPT = [[] for _ in range({ALLOCATIONS - 1})]\nclass Plugin: pass\n")
    registry = discover(tree.root)
    assert len(gc.get_objects(generation=2)) - old > ALLOCATIONS
    assert registry.get_plugin("demo", "two") is not None


@pytest.mark.parametrize("own", [0, ALLOCATIONS * 2])
def test_an_app_that_collects_more_seldom_or_never_is_left_alone(
    tree: PluginTree, own: int
) -> None:
    gc.set_threshold(own)
    tree.plugin("one", code=CODE)
    assert discover(tree.root).get_plugin("demo", "one").seen()[0] == own
    assert gc.get_threshold()[0] == own


def test_a_threshold_that_a_plugin_sets_stands(tree: PluginTree) -> None:
    tree.plugin("one", code="import gc\ngc.set_threshold(5000)\nclass Plugin: pass\n")
    discover(tree.root)
    assert gc.get_threshold()[0] == 5000
