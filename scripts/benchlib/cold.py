"""A cold start, each in a fresh process.

    python -m scripts.benchlib.cold WAY TREE

prints what lies between the end of its imports and the moment when all plugins are ready: the
milliseconds, and the megabytes by which the process has grown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.benchlib.fresh import in_fresh_process, log_into_nothing, resident_mb
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.subjects import ROOT
from scripts.benchlib.trees import write_tree

BARE: Final = "bare import"
WAYS: Final = (BARE, "discover + setup_all", "DevServer")


Cost = tuple[float, float]
"""Milliseconds and megabytes."""


def spent() -> Cost:
    """What this process has taken so far."""
    return time.perf_counter() * 1000, resident_mb()


def since(before: Cost) -> Cost:
    """What it has taken from `before` on."""
    now = spent()
    return now[0] - before[0], now[1] - before[1]


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


STARTS: Final[dict[str, Callable[[str], Cost]]] = dict(
    zip(WAYS, (start_bare, start_registry, start_server), strict=True)
)


def measure(sizes: tuple[int, ...], repetitions: int) -> Table:
    """The table of cold starts."""
    table = Table(
        "Cold start, in ms",
        (
            *("plugins", "bytecode", "start", "p50", "/bare"),
            *("per plugin", "slope", "kB each", "starts"),
        ),
        note="after the imports. bytecode none: nothing is kept, every file is compiled; warm: "
        "each way finds what it has kept itself. slope: of log time over log plugins, from the "
        "size before. kB each: what the process grows by, per plugin",
    )
    # What is measured is not how long it takes to compile this package itself.
    subprocess.run([sys.executable, "-c", "import dagstack_dev"], cwd=ROOT, check=True)
    for kept in ("none", "warm"):
        before: dict[str, tuple[int, float]] = {}
        for plugins in sizes:
            say(f"cold starts: {plugins} plugins, bytecode {kept}")
            costs = _costs(plugins, repetitions, write_bytecode=kept == "warm")
            took = {way: percentile([ms for ms, _ in each], 50) for way, each in costs.items()}
            for way in WAYS:
                row: dict[str, object] = {
                    "plugins": plugins,
                    "bytecode": kept,
                    "start": way,
                    "p50": took[way],
                    "per plugin": took[way] / plugins,
                    "kB each": percentile([mb for _, mb in costs[way]], 50) / plugins * 1000,
                    "starts": repetitions,
                }
                if way != BARE:
                    row["/bare"] = took[way] / took[BARE]
                if way in before:
                    row["slope"] = _slope(before[way], (plugins, took[way]))
                table.add(row)
                before[way] = plugins, took[way]
    return table


def _costs(plugins: int, repetitions: int, *, write_bytecode: bool) -> dict[str, list[Cost]]:
    """What each start cost, the ways in turn; each on a tree of its own."""
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        trees = {way: Path(folder, str(number)) for number, way in enumerate(WAYS)}
        for way, tree in trees.items():
            write_tree(tree, plugins)
            if write_bytecode:
                in_fresh_process("cold", way, tree, write_bytecode=True)
        for _ in range(repetitions):
            for way, tree in trees.items():
                ms, mb = in_fresh_process("cold", way, tree, write_bytecode=write_bytecode)
                costs[way].append((ms, mb))
    return costs


def _slope(before: tuple[int, float], now: tuple[int, float]) -> float:
    return math.log(now[1] / before[1]) / math.log(now[0] / before[0])


if __name__ == "__main__":
    print(json.dumps(STARTS[sys.argv[1]](sys.argv[2])))
