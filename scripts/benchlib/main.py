"""The command line of the bench."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.benchlib import (
    agents,
    api,
    branch,
    calls,
    checking,
    cold,
    dispatch,
    execution,
    help,  # noqa: A004 - a section
    http_load,
    hub,
    idle,
    layout,
    load,
    mcp_calls,
    memory,
    page,
    saves,
    start,
)
from scripts.benchlib.checkouts import Checkout, checkouts
from scripts.benchlib.report import Table, machine


@dataclass(frozen=True)
class Section:
    """One table: how it is made, in short and in full, and whether for several checkouts."""

    quick: Callable[..., Table]
    full: Callable[..., Table]
    compares: bool = False

    def measure(self, *, full: bool, checkouts: Sequence[Checkout]) -> Table:
        """Make the table."""
        make = self.full if full else self.quick
        return make(checkouts) if self.compares else make()


SECTIONS: Final = {
    "save": Section(
        lambda both: saves.measure(saves.QUICK, both),
        lambda both: saves.measure(saves.FULL, both),
        compares=True,
    ),
    "programs": Section(
        lambda: saves.measure_others(saves.QUICK), lambda: saves.measure_others(saves.FULL)
    ),
    "hub": Section(
        lambda both: hub.measure((1000,), (0, 1), 5, both),
        lambda both: hub.measure((100, 1000), (0, 1, 5), 20, both),
        compares=True,
    ),
    "branch": Section(
        lambda both: branch.measure(((1000, 500),), 1, 5, both),
        lambda both: branch.measure(((1000, 500), (10_000, 1000)), 3, 4, both),
        compares=True,
    ),
    "cold": Section(
        lambda both: cold.measure((100, 1000), 3, both),
        lambda both: cold.measure((1000, 10_000), 3, both),
        compares=True,
    ),
    "start": Section(
        lambda both: start.measure((8,), 10, both),
        lambda both: start.measure((1, 8, 100), 20, both),
        compares=True,
    ),
    "idle": Section(
        lambda: idle.measure(((1000, 5),), 10),
        lambda: idle.measure(((1, 5), (1000, 5), (10_000, 5), (10_000, 1)), 30),
    ),
    "api": Section(
        lambda: api.measure((8, 1000), 60, 10), lambda: api.measure((8, 1000, 10_000), 200, 30)
    ),
    "memory": Section(
        lambda both: memory.measure(1000, 300, both),
        lambda both: memory.measure(10_000, 10_000, both),
        compares=True,
    ),
    "help": Section(lambda: help.measure(10), lambda: help.measure(40)),
    "check": Section(
        lambda: checking.measure((100, 1000), 5), lambda: checking.measure((1000, 10_000), 5)
    ),
    "page": Section(
        lambda: page.measure(((2000, 6000),)), lambda: page.measure(((300, 900), (2000, 6000)))
    ),
    "tab": Section(
        lambda: page.measure_tab((8, 1000), 50, 10), lambda: page.measure_tab((8, 1000), 150, 30)
    ),
    "layout": Section(
        lambda: layout.measure(((2000, 6000),), 20),
        lambda: layout.measure(((2000, 6000), (10_000, 30_000)), 20),
    ),
    "load": Section(
        lambda both: load.measure(200, both), lambda both: load.measure(1000, both), compares=True
    ),
    "http": Section(lambda: http_load.measure(20), lambda: http_load.measure(100)),
    "call": Section(lambda: calls.measure(150), lambda: calls.measure(400)),
    "mcp": Section(lambda: mcp_calls.measure(10), lambda: mcp_calls.measure(40)),
    "agents": Section(lambda: agents.measure(10), lambda: agents.measure(40)),
    "execution": Section(lambda: execution.measure(5), lambda: execution.measure(20)),
    "dispatch": Section(lambda: dispatch.measure(30), lambda: dispatch.measure(200)),
}
COMPARING: Final = [name for name, section in SECTIONS.items() if section.compares]


def main() -> None:
    """Measure, print the tables, write them to a file when asked to."""
    options = _options()
    described = machine()
    for key, value in described.items():
        print(f"{key:9} {value}")
    chosen = options.only or (COMPARING if options.other else SECTIONS)
    tables = {}
    with checkouts(options.other) as both:
        for name in chosen:
            tables[name] = SECTIONS[name].measure(full=options.full, checkouts=both)
            print(f"\n{tables[name]}", flush=True)
    if options.json is not None:
        result = {"machine": described} | {name: each.as_json() for name, each in tables.items()}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What a reload costs.")
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--quick", action="store_true", help="some minutes; the default")
    much.add_argument("--full", action="store_true", help="more of everything, and 10,000 plugins")
    parser.add_argument(
        "--only",
        choices=SECTIONS,
        action="append",
        metavar="SECTION",
        help=f"one table, or several if given again: {', '.join(SECTIONS)}",
    )
    parser.add_argument(
        "--other",
        type=Path,
        metavar="DIR",
        help=f"another checkout to measure beside this one, for {', '.join(COMPARING)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    options = parser.parse_args()
    alone = sorted({*(options.only or ())} - {*COMPARING})
    if options.other is not None and alone:
        parser.error(f"--other: no other checkout can be measured in {', '.join(alone)}")
    return options
