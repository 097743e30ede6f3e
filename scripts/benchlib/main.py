"""The command line of the bench."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchlib import calls, cold, saves
from scripts.benchlib.report import machine

if TYPE_CHECKING:
    from scripts.benchlib.report import Table


def main() -> None:
    """Measure, print the tables, write them to a file when asked to."""
    options = _options()
    effort = saves.FULL if options.full else saves.QUICK
    sizes = (100, 1000, 10_000) if options.full else (100, 1000)
    starts, repetitions = (7, 400) if options.full else (3, 150)
    parts: dict[str, Callable[[], Table]] = {
        "save": lambda: saves.measure(effort),
        "cold": lambda: cold.measure(sizes, starts),
        "call": lambda: calls.measure(repetitions),
    }
    described = machine()
    for key, value in described.items():
        print(f"{key:9} {value}")
    tables = {}
    for name, measure in parts.items():
        if options.only in (None, name):
            tables[name] = measure()
            print(f"\n{tables[name]}", flush=True)
    if options.json is not None:
        result = {"machine": described} | {name: each.as_json() for name, each in tables.items()}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What a reload costs.")
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--quick", action="store_true", help="about two minutes; the default")
    much.add_argument("--full", action="store_true", help="more of everything, and 10,000 plugins")
    parser.add_argument("--only", choices=["save", "cold", "call"], help="one table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    return parser.parse_args()
