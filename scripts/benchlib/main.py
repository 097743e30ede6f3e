"""The command line of the bench."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.benchlib import (
    branch,
    calls,
    cold,
    dispatch,
    execution,
    help,  # noqa: A004 - a section
    http_load,
    hub,
    idle,
    load,
    mcp_calls,
    memory,
    saves,
)
from scripts.benchlib.report import Table, machine


@dataclass(frozen=True)
class Section:
    """One table: how it is made, in short and in full."""

    quick: Callable[[], Table]
    full: Callable[[], Table]


SECTIONS: Final = {
    "save": Section(lambda: saves.measure(saves.QUICK), lambda: saves.measure(saves.FULL)),
    "hub": Section(
        lambda: hub.measure((1000,), (0, 1), 5), lambda: hub.measure((100, 1000), (0, 1, 5), 20)
    ),
    "branch": Section(
        lambda: branch.measure(((1000, 500),), 5),
        lambda: branch.measure(((1000, 500), (10_000, 1000)), 10),
    ),
    "cold": Section(
        lambda: cold.measure((100, 1000), 3), lambda: cold.measure((100, 1000, 10_000), 5)
    ),
    "idle": Section(
        lambda: idle.measure(((1000, 5),), 10),
        lambda: idle.measure(((1, 5), (1000, 5), (10_000, 5), (10_000, 1)), 30),
    ),
    "memory": Section(lambda: memory.measure(memory.QUICK), lambda: memory.measure(memory.FULL)),
    "help": Section(lambda: help.measure(10), lambda: help.measure(40)),
    "load": Section(lambda: load.measure(200), lambda: load.measure(1000)),
    "http": Section(lambda: http_load.measure(20), lambda: http_load.measure(100)),
    "call": Section(lambda: calls.measure(150), lambda: calls.measure(400)),
    "mcp": Section(lambda: mcp_calls.measure(10), lambda: mcp_calls.measure(40)),
    "execution": Section(lambda: execution.measure(5), lambda: execution.measure(20)),
    "dispatch": Section(lambda: dispatch.measure(30), lambda: dispatch.measure(200)),
}


def main() -> None:
    """Measure, print the tables, write them to a file when asked to."""
    options = _options()
    described = machine()
    for key, value in described.items():
        print(f"{key:9} {value}")
    tables = {}
    for name, section in SECTIONS.items():
        if not options.only or name in options.only:
            tables[name] = (section.full if options.full else section.quick)()
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    return parser.parse_args()
