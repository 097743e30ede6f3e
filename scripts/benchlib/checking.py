"""How long `check` and `graph` take, each in a fresh process, beside the parsing of the files."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.benchlib.checkouts import ROOT
from scripts.benchlib.fresh import ms_since
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.trees import PLAIN, write_tree

_PARSE: Final = "import ast, pathlib, sys; [ast.parse(each.read_bytes()) for each in {files}]"
_FILES: Final = "pathlib.Path(sys.argv[1]).rglob('*.py')"

WAYS: Final = {
    "bare parse": ("-c", _PARSE.format(files=_FILES)),
    "dagstack-dev check": ("-m", "dagstack_dev", "check"),
    "dagstack-dev graph": ("-m", "dagstack_dev", "graph"),
}

_IMPORTING: Final = f"""\
from helpers.words import WORD

from .own import VALUE
{PLAIN}"""
"""A plugin that imports a module of its own, and one that all share."""


def measure(sizes: Sequence[int], repetitions: int) -> Table:
    """The table of checks; the ways run in turn."""
    table = Table(
        "Check and graph, in ms",
        ("plugins", "way", "first", "p50", "p95", "/bare", "CPU", "CPU/bare", "runs"),
        note="the whole process. Each plugin has two files, and all share a third. first: "
        "no bytecode is kept yet",
    )
    for plugins in sizes:
        say(f"check: {plugins} plugins")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            tree = Path(folder)
            _write(tree, plugins)
            costs: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for _ in range(1 + repetitions):
                for way, arguments in WAYS.items():
                    costs[way].append(_run(*arguments, str(tree)))
        bare: tuple[float, float] | None = None
        for way, ((first, _), *warm) in costs.items():
            clock, cpu = ([each[at] for each in warm] for at in range(2))
            middle = percentile(clock, 50), percentile(cpu, 50)
            row: dict[str, object] = {"plugins": plugins, "way": way, "first": first}
            row |= {"p50": middle[0], "p95": percentile(clock, 95), "CPU": middle[1]}
            if bare is not None:
                row |= {"/bare": middle[0] / bare[0], "CPU/bare": middle[1] / bare[1]}
            bare = bare or middle
            table.add(row | {"runs": repetitions})
    return table


def _write(tree: Path, plugins: int) -> None:
    write_tree(tree, plugins, _IMPORTING)
    for folder in tree.iterdir():
        (folder / "own.py").write_text("VALUE = 1\n", encoding="utf-8")
    (tree / "helpers").mkdir()
    (tree / "helpers/__init__.py").touch()
    (tree / "helpers/words.py").write_text("WORD = 'a word'\n", encoding="utf-8")


def _run(*arguments: str) -> tuple[float, float]:
    """Run one process to its end; return its milliseconds, and those of CPU."""
    before, began = _cpu_ms(), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, env={}, check=True
    )
    return ms_since(began), _cpu_ms() - before


def _cpu_ms() -> float:
    """Return the milliseconds of CPU that all processes started here have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1000
