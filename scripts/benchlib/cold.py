"""A cold start, each in a fresh process.

    python -m scripts.benchlib.cold WAY TREE

prints what lies between the end of its imports and the moment when all plugins are ready: the
milliseconds, those of CPU, and the megabytes by which the process has grown.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.benchlib.checkouts import HERE, Checkout
from scripts.benchlib.fresh import Cost, in_fresh_process, log_into_nothing, since, spent
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.trees import ASYNC, PLAIN, write_tree

BARE: Final = "bare import"


def start_bare(tree: str) -> Cost:
    """Walk, parse, import, set up; no more."""
    from scripts.benchlib.bare import load_all  # noqa: PLC0415 - each way imports its own

    before = spent()
    plugins = load_all(tree)
    cost = since(before)
    del plugins
    return cost


def start_registry(tree: str) -> Cost:
    """The registry of the specification."""
    from dagstack_dev import PluginContext, PluginRegistry  # noqa: PLC0415 - as above

    async def start() -> Cost:
        before = spent()
        registry = PluginRegistry()
        registry.discover(tree)
        context = PluginContext(config={}, logger=logging.getLogger("bench"), registry=registry)
        await registry.setup_all(context)
        cost = since(before)
        await registry.teardown_all()
        return cost

    log_into_nothing()
    return asyncio.run(start())


def start_server(tree: str) -> Cost:
    """The dev server, until it watches."""
    from dagstack_dev import DevServer  # noqa: PLC0415 - as above

    async def start() -> Cost:
        before = spent()
        async with DevServer(tree):
            return since(before)

    log_into_nothing()
    return asyncio.run(start())


STARTS: Final[dict[str, Callable[[str], Cost]]] = {
    BARE: start_bare,
    "discover + setup_all": start_registry,
    "DevServer": start_server,
}


SETUPS: Final = {"def": PLAIN, "async def": ASYNC}


@dataclass(frozen=True)
class Way:
    """A start, and of which checkout; the bare one is of none."""

    start: str
    checkout: Checkout = HERE

    def run(self, tree: str | Path, *, write_bytecode: bool) -> Cost:
        """Start the plugins of `tree` in a fresh process."""
        ms, cpu_ms, mb = in_fresh_process(
            "cold", self.start, tree, checkout=self.checkout, write_bytecode=write_bytecode
        )
        return ms, cpu_ms, mb


_BARE: Final = Way(BARE)


def measure(sizes: Sequence[int], repetitions: int, checkouts: Sequence[Checkout]) -> Table:
    """The table of cold starts."""
    table = Table(
        "Cold start, in ms",
        (
            *("plugins", "setup", "bytecode", "start", "of", "p50", "/bare", "/other"),
            *("per plugin", "slope", "CPU each", "CPU/bare", "kB each", "starts"),
        ),
        note="after the imports. bytecode none: nothing is kept, every file is compiled; warm: "
        "each way finds what it has kept itself. slope: of log time over log plugins, from the "
        "size before. CPU each: of all threads, which other programs disturb less. kB each: what "
        "the process grows by, per plugin",
    )
    ways = [_BARE, *(Way(start, each) for start in STARTS if start != BARE for each in checkouts)]
    with tempfile.TemporaryDirectory(prefix="bench-") as nothing:
        for way in ways:  # What is measured is not how long it takes to compile the package itself.
            way.run(nothing, write_bytecode=True)
    for setup, kept in itertools.product(SETUPS, ("none", "warm")):
        before: dict[Way, tuple[int, float]] = {}
        for plugins in sizes:
            say(f"cold starts: {plugins} plugins, {setup}, bytecode {kept}")
            costs = _costs(ways, plugins, SETUPS[setup], repetitions, write_bytecode=kept == "warm")
            took, cpu, mb = (
                {way: percentile([cost[index] for cost in each], 50) for way, each in costs.items()}
                for index in range(3)
            )
            for way, p50 in took.items():
                row: dict[str, object] = {
                    "plugins": plugins,
                    "setup": setup,
                    "bytecode": kept,
                    "start": way.start,
                    "p50": p50,
                    "per plugin": p50 / plugins,
                    "CPU each": cpu[way] / plugins,
                    "kB each": mb[way] / plugins * 1000,
                    "starts": repetitions,
                }
                if way != _BARE:
                    row |= {"of": way.checkout.name, "/bare": p50 / took[_BARE]}
                    row |= {"CPU/bare": cpu[way] / cpu[_BARE]}
                    if way.checkout is not checkouts[-1]:
                        row["/other"] = p50 / took[Way(way.start, checkouts[-1])]
                if way in before:
                    row["slope"] = _slope(before[way], (plugins, p50))
                table.add(row)
                before[way] = plugins, p50
    return table


def _costs(
    ways: Sequence[Way], plugins: int, text: str, repetitions: int, *, write_bytecode: bool
) -> dict[Way, list[Cost]]:
    """What each start cost, the ways in turn; each on a tree of its own."""
    costs: dict[Way, list[Cost]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        trees = {way: Path(folder, str(number)) for number, way in enumerate(ways)}
        for way, tree in trees.items():
            write_tree(tree, plugins, text)
            if write_bytecode:
                way.run(tree, write_bytecode=True)
        for _ in range(repetitions):
            for way, tree in trees.items():
                costs[way].append(way.run(tree, write_bytecode=write_bytecode))
    return costs


def _slope(before: tuple[int, float], now: tuple[int, float]) -> float:
    return math.log(now[1] / before[1]) / math.log(now[0] / before[0])


if __name__ == "__main__":
    print(json.dumps(STARTS[sys.argv[1]](sys.argv[2])))
