"""What the command takes from its start until it watches."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.benchlib.checkouts import Checkout
from scripts.benchlib.fresh import ms_since, resident_mb
from scripts.benchlib.idle import cpu_seconds
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.subjects import FLOOR, Subject, server

STEP_MS = 5


def measure(sizes: Sequence[int], repetitions: int, checkouts: Sequence[Checkout]) -> Table:
    """The table of starts; `sizes` are plugins. The programs run in turn."""
    table = Table(
        "Start of the command until it watches",
        ("plugins", "program", "p50 ms", "p95 ms", "CPU ms", "least", "RSS MB", "starts"),
        note="the whole process, with all bytecode kept; CPU in steps of 10 ms, its middle and "
        "its least; the floor is watchfiles, and read, compile, execute and set up",
    )
    for plugins in sizes:
        say(f"start: {plugins} plugins")
        costs: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for turn in range(1 + repetitions):
            for recipe in (*map(server, checkouts), FLOOR):
                kept = recipe.environment | {"PYTHONDONTWRITEBYTECODE": ""}
                with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                    subject = Subject(
                        replace(recipe, environment=kept), Path(folder), plugins, STEP_MS
                    )
                    began = time.perf_counter()
                    with subject:
                        ms, cpu = ms_since(began), cpu_seconds(subject.pid) * 1000
                        if turn:  # The first one may have had to compile.
                            costs[recipe.name].append((ms, cpu, resident_mb(subject.pid)))
        for name, each in costs.items():
            took, cpu_ms, mb = zip(*each, strict=True)
            row: dict[str, object] = {"plugins": plugins, "program": name, "starts": repetitions}
            row |= {"p50 ms": percentile(took, 50), "p95 ms": percentile(took, 95)}
            row |= {"CPU ms": percentile(cpu_ms, 50), "least": min(cpu_ms)}
            table.add(row | {"RSS MB": percentile(mb, 50)})
    return table
