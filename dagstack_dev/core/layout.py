"""Where plugins stand in a picture: each to the right of all that it depends on.

A layered drawing, as by Sugiyama: the layer of a plugin is the longest way to one that depends on
nothing. In its column each moves to the mean height of all that it is connected with, as far as the
others let it. A long edge has no points in the layers that it passes: there would be more of them
than edges, and the pictures with them have not been better.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.graph import reach

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

# In pixels.
BOX_HEIGHT: Final = 26
_LETTER: Final = 8
"""Of a font of 13 pixels in which all letters have one width."""
_PADDING: Final = 10
_ROW: Final = BOX_HEIGHT + 12
GAP: Final = 20

_SWEEPS: Final = 10
_ASPECT: Final = 1.6
"""How much wider than high parts that are not connected are laid side by side."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Who depends on whom; a layout is made of nothing else.

    Attributes:
        names: the plugins, sorted.
        edges: each plugin with each that it depends on, by their places in `names`, sorted.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, wants: Mapping[str, Iterable[str]]) -> Topology:
        """Return that of `wants`: what each plugin depends on; what is no key of it is left out."""
        names = tuple(sorted(wants))
        place = {name: at for at, name in enumerate(names)}
        edges = {
            (place[one], place[other]) for one in names for other in wants[one] if other in place
        }
        return cls(names, tuple(sorted(edges)))


class Box(NamedTuple):
    """Where a plugin stands.

    Attributes:
        x: the left edge, in pixels.
        y: the upper edge.
        width: as of the longest name in its column; all are `BOX_HEIGHT` high.
        layer: 0 where it depends on nothing, else one more than all that it depends on. What closes
            a cycle does not count.
    """

    x: float
    y: float
    width: float
    layer: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where all plugins of a topology stand.

    Attributes:
        boxes: in the order of its `names`.
        width: of the whole, from 0 at the left, in pixels.
        height: likewise, from 0 at the top.
    """

    boxes: Sequence[Box]
    width: float
    height: float


def layout(topology: Topology) -> Layout:
    """Return where the plugins of `topology` stand."""
    steps = laying_out(topology)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Layout = end.value
            return found


def laying_out(topology: Topology) -> Generator[None, None, Layout]:
    """Return where the plugins stand, in steps of a few milliseconds at most for thousands."""
    needs: list[list[int]] = [[] for _ in topology.names]
    near: list[list[int]] = [[] for _ in topology.names]
    for one, other in topology.edges:
        needs[one].append(other)
        near[one].append(other)
        near[other].append(one)
    layers = _layers(needs)
    yield
    parts = []
    for columns in _connected(layers, near):
        rows = dict[int, float]()
        for _ in _sweeps(columns, near, rows):
            yield
        parts.append(_Part.of(columns, rows, topology.names))
    boxes, width, height = dict[int, Box](), 0.0, 0.0
    for part, left, top in _side_by_side(parts):
        for each, (x, y, wide, layer) in part.boxes.items():
            boxes[each] = Box(round(left + x, 1), round(top + y, 1), wide, layer)
        width, height = max(width, left + part.width), max(height, top + part.height)
        yield
    ordered = [boxes[each] for each in range(len(boxes))]
    return Layout(ordered, round(width + GAP, 1), round(height + GAP, 1))


def _layers(needs: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return the layer of each plugin, each after all that it depends on but for cycles."""
    found: dict[int, int] = {}
    for start in range(len(needs)):
        path = {} if start in found else {start: iter(needs[start])}
        while path:
            each = next(reversed(path))
            for other in path[each]:
                if other not in found and other not in path:
                    path[other] = iter(needs[other])
                    break
            else:
                del path[each]
                below = (found[other] for other in needs[each] if other in found)
                found[each] = 1 + max(below, default=-1)
    return found


def _connected(
    layers: Mapping[int, int], near: Sequence[Sequence[int]]
) -> Iterator[list[list[int]]]:
    """Yield the connected parts as columns, in the order of `layers`."""
    number: dict[int, int] = {}
    for each in layers:
        if each not in number:
            number |= dict.fromkeys(reach([each], near.__getitem__), len(number))
    parts: defaultdict[int, list[list[int]]] = defaultdict(list)
    for each, layer in layers.items():
        columns = parts[number[each]]
        columns += ([] for _ in range(len(columns), layer + 1))
        columns[layer].append(each)
    yield from parts.values()


def _sweeps(
    columns: list[list[int]], near: Sequence[Sequence[int]], rows: dict[int, float]
) -> Iterator[None]:
    """Fill `rows` with the height of each plugin, in rows; yield after each column."""
    rows |= {each: float(at) for column in columns for at, each in enumerate(column)}
    for sweep in range(_SWEEPS if len(columns) > 1 else 0):
        for column in reversed(columns) if sweep % 2 else columns:
            wish = {each: fmean(rows[other] for other in near[each]) for each in column}
            column.sort(key=wish.__getitem__)
            rows |= zip(column, _apart([wish[each] for each in column]), strict=True)
            yield


def _apart(wishes: Sequence[float]) -> list[float]:
    """Return heights as near as can be to `wishes`, which are sorted, and at least 1 apart.

    Least squares by pooling what is too near: each group of neighbours gets the mean of its wishes.
    """
    groups: list[tuple[float, int]] = []
    for at, wish in enumerate(wishes):
        total, count = wish - at, 1
        while groups and groups[-1][0] * count >= total * groups[-1][1]:
            more, others = groups.pop()
            total, count = total + more, count + others
        groups.append((total, count))
    heights = (total / count for total, count in groups for _ in range(count))
    return [height + at for at, height in enumerate(heights)]


@dataclass(frozen=True, slots=True)
class _Part:
    """The boxes of plugins that are connected, from 0, 0."""

    boxes: Mapping[int, Box]
    width: float
    height: float

    @classmethod
    def of(
        cls, columns: Iterable[Sequence[int]], rows: Mapping[int, float], names: Sequence[str]
    ) -> _Part:
        top, boxes, x = min(rows.values()), dict[int, Box](), 0.0
        for layer, column in enumerate(columns):
            width = max(len(names[each]) for each in column) * _LETTER + 2 * _PADDING
            boxes |= {each: Box(x, (rows[each] - top) * _ROW, width, layer) for each in column}
            x += width + 3 * GAP
        return cls(boxes, x - 3 * GAP, (max(rows.values()) - top) * _ROW + BOX_HEIGHT)


def _side_by_side(parts: Iterable[_Part]) -> Iterator[tuple[_Part, float, float]]:
    """Yield the parts, the largest first, each with where it goes: in lines, as words of a text."""
    # Stable: those of a size by their first names.
    ordered = sorted(parts, key=lambda each: (-each.height, -len(each.boxes)))
    area = sum((each.width + GAP) * (each.height + GAP) for each in ordered)
    longest = max((sqrt(area * _ASPECT), *(each.width for each in ordered)))
    x = y = next_y = 0.0
    for each in ordered:
        if x + each.width > longest:
            x, y = 0.0, next_y
        yield each, x + GAP, y + GAP
        x += each.width + GAP
        next_y = max(next_y, y + each.height + GAP)
