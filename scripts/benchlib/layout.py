"""How long the layout of a graph takes, of chance and of neighbours, and one step of it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

from dagstack_dev.core.layout import Topology, laying_out
from scripts.benchlib.report import Table, percentile, say

NEAR: Final = 100
"""How far before a plugin those stand that it depends on, where they are neighbours."""


def measure(sizes: Sequence[tuple[int, int]], repetitions: int) -> Table:
    """The table of layouts."""
    table = Table(
        "Layout of a graph, in ms of CPU",
        ("plugins", "edges", "dependencies", "layers", "p50", "p95", "longest step", "runs"),
        note="from names to places; longest step: between two that others may run in, per run",
    )
    for plugins, edges in sizes:
        for way, near in (("any", plugins), ("neighbours", NEAR)):
            say(f"layout: {plugins} plugins, {way}")
            wants = wants_of(plugins, edges, near)
            runs = [_laid_out(wants) for _ in range(1 + repetitions)][1:]
            took, steps, layers = zip(*runs, strict=True)
            row: dict[str, object] = {"plugins": plugins, "edges": edges, "dependencies": way}
            row |= {"layers": layers[0], "p50": percentile(took, 50), "p95": percentile(took, 95)}
            table.add(row | {"longest step": percentile(steps, 50), "runs": repetitions})
    return table


def wants_of(plugins: int, edges: int, near: int) -> dict[str, list[str]]:
    """Return what each plugin depends on, one that stands before it; the same each time."""
    dice = random.Random(1)  # noqa: S311 - no secret
    found = set[tuple[int, int]]()
    while len(found) < edges:
        one = dice.randrange(1, plugins)
        found.add((one, dice.randrange(max(0, one - near), one)))
    wants: dict[str, list[str]] = {f"p{number:05}": [] for number in range(plugins)}
    for one, other in sorted(found):
        wants[f"p{one:05}"].append(f"p{other:05}")
    return wants


def _laid_out(wants: dict[str, list[str]]) -> tuple[float, float, int]:
    """Return the milliseconds of a layout and of its longest step, and how many layers it has."""
    began = before = time.process_time()
    longest, steps = 0.0, laying_out(Topology.of(wants))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            layers = 1 + max(each.layer for each in end.value.boxes)
            return (time.process_time() - began) * 1000, longest * 1000, layers
        now = time.process_time()
        longest, before = max(longest, now - before), now
