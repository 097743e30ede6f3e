"""Where plugins stand in a picture: the laws of the layout, for any graph."""

from __future__ import annotations

from itertools import combinations
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dagstack_dev.core.graph import reach
from dagstack_dev.core.layout import BOX_HEIGHT, Box, Topology, layout

Wants = dict[str, list[str]]

NAMES = st.sampled_from([f"demo/{each}" for each in ("a", "bb", "c", "long-name", *range(12))])
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=16)
"""Any: names that do not exist, repeated ones, plugins that depend on themselves, cycles."""


def placed(wants: Wants) -> dict[str, Box]:
    topology = Topology.of(wants)
    return dict(zip(topology.names, layout(topology).boxes, strict=True))


def is_in_cycle(wants: Wants, one: str, other: str) -> bool:
    """Whether the way from `other` leads back to `one`."""
    return one in reach([other], lambda each: wants.get(each, []))


@given(GRAPHS)
def test_each_plugin_stands_once_within_the_picture(wants: Wants) -> None:
    topology = Topology.of(wants)
    found = layout(topology)
    assert topology.names == tuple(sorted(wants))
    assert len(found.boxes) == len(wants)
    for box in found.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= found.width
        assert box.y + BOX_HEIGHT <= found.height


@given(GRAPHS)
def test_no_box_touches_another(wants: Wants) -> None:
    for one, other in combinations(placed(wants).values(), 2):
        beside = one.x + one.width < other.x or other.x + other.width < one.x
        above = one.y + BOX_HEIGHT < other.y or other.y + BOX_HEIGHT < one.y
        assert beside or above


@given(GRAPHS)
def test_each_stands_right_of_all_that_it_depends_on(wants: Wants) -> None:
    boxes = placed(wants)
    for one, others in wants.items():
        for other in others:
            if other in wants and not is_in_cycle(wants, one, other):
                assert boxes[one].layer > boxes[other].layer
                assert boxes[one].x > boxes[other].x + boxes[other].width


@given(GRAPHS)
def test_its_layer_is_the_longest_way_down(wants: Wants) -> None:
    boxes = placed(wants)
    for one, others in wants.items():
        below = [
            boxes[other].layer
            for other in others
            if other in wants and not is_in_cycle(wants, one, other)
        ]
        in_cycle = any(is_in_cycle(wants, one, other) for other in others)
        assert in_cycle or boxes[one].layer == 1 + max(below, default=-1)


@given(GRAPHS, st.randoms(use_true_random=False))
def test_the_same_topology_looks_the_same_in_whatever_order_it_is_given(
    wants: Wants, random: Random
) -> None:
    names = list(wants)
    random.shuffle(names)
    shuffled = {name: random.sample(wants[name], len(wants[name])) for name in names}
    one, other = Topology.of(wants), Topology.of(shuffled)
    assert one == other
    assert layout(one) == layout(other)


@given(st.integers(2, 40))
def test_a_chain_is_a_straight_line(length: int) -> None:
    wants = {f"{at:02}": [f"{at - 1:02}"] for at in range(length)}
    boxes = [*placed(wants).values()]
    assert {each.y for each in boxes} == {boxes[0].y}
    assert [each.layer for each in boxes] == [*range(length)]


def test_what_belongs_together_stands_together() -> None:
    """Three plugins with three dependents each, whose names alternate, and one for all of them."""
    wants: Wants = {"base": []} | {f"hub{at}": ["base"] for at in range(3)}
    wants |= {f"user{at}": [f"hub{at % 3}"] for at in range(9)}
    boxes = placed(wants)
    users = sorted(
        (name for name in wants if name.startswith("user")), key=lambda each: boxes[each].y
    )
    groups = [wants[each] for each in users]
    assert groups[0] == groups[1] == groups[2] != groups[3] == groups[4] == groups[5]
    assert groups[6] == groups[7] == groups[8]


def test_parts_that_are_not_connected_fill_the_picture_line_by_line() -> None:
    found = layout(Topology.of({f"plugin{at:03}": [] for at in range(300)}))
    assert len({each.y for each in found.boxes}) > 3
    assert 1 < found.width / found.height < 3
