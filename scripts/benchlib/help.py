"""How long the command takes to say how it is used."""

from __future__ import annotations

import subprocess
import sys
import time

from scripts.benchlib.checkouts import ROOT
from scripts.benchlib.fresh import ms_since
from scripts.benchlib.report import Table, percentile, say

COMMANDS = {
    "python -c 'import click'": ("-c", "import click"),
    "dagstack-dev --help": ("-m", "dagstack_dev", "--help"),
    "dagstack-dev watch --help": ("-m", "dagstack_dev", "watch", "--help"),
}


def measure(repetitions: int) -> Table:
    """The table of processes that do next to nothing; run in turn."""
    say("help")
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(1 + repetitions):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
            )
            if turn:  # The first one may have had to compile.
                took[name].append(ms_since(began))
    table = Table(
        "Help, in ms",
        ("command", "p50", "p95", "/bare", "runs"),
        note="the whole process; bare: an interpreter that imports click",
    )
    bare = percentile(next(iter(took.values())), 50)
    for name, times in took.items():
        middle = percentile(times, 50)
        row: dict[str, object] = {"command": name, "p50": middle, "p95": percentile(times, 95)}
        table.add(row | {"/bare": middle / bare, "runs": repetitions})
    return table
