"""A cold start, each in a fresh process.

    python -m scripts.benchlib.cold WAY TREE

prints the milliseconds between the end of its imports and the moment when all plugins are ready.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.subjects import ROOT
from scripts.benchlib.trees import REPORT_VARIABLE, write_tree

BARE: Final = "bare import"
WAYS: Final = (BARE, "discover + setup_all", "DevServer")


def start_bare(tree: str) -> float:
    """Walk, parse, import, set up; no more."""
    from scripts.benchlib.bare import load_all  # noqa: PLC0415 - each way imports its own

    began = time.perf_counter()
    load_all(tree)
    return _ms_since(began)


def start_registry(tree: str) -> float:
    """The registry of the specification."""
    from dagstack_dev import PluginContext, PluginRegistry  # noqa: PLC0415 - as above

    async def start() -> float:
        began = time.perf_counter()
        registry = PluginRegistry()
        registry.discover(tree)
        context = PluginContext(config={}, logger=logging.getLogger("bench"), registry=registry)
        await registry.setup_all(context)
        took = _ms_since(began)
        await registry.teardown_all()
        return took

    _log_into_nothing()
    return asyncio.run(start())


def start_server(tree: str) -> float:
    """The dev server, until it watches."""
    from dagstack_dev import DevServer  # noqa: PLC0415 - as above

    async def start() -> float:
        began = time.perf_counter()
        async with DevServer(tree):
            return _ms_since(began)

    _log_into_nothing()
    return asyncio.run(start())


def _log_into_nothing() -> None:
    """Log as the command does by default, at `info` and as JSON; nobody reads it."""
    import structlog  # noqa: PLC0415 - as above

    nothing = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(nothing),
    )


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


STARTS: Final[dict[str, Callable[[str], float]]] = dict(
    zip(WAYS, (start_bare, start_registry, start_server), strict=True)
)


def measure(sizes: tuple[int, ...], repetitions: int) -> Table:
    """The table of cold starts."""
    table = Table(
        "Cold start, in ms",
        ("plugins", "start", "p50", "/bare", "per plugin", "process p50", "starts"),
        note="p50: after the imports; process: from its start to its end. Python writes no "
        "bytecode of plugins, so that every way compiles every file",
    )
    # What is measured is not how long it takes to compile this package itself.
    subprocess.run([sys.executable, "-c", "import dagstack_dev"], cwd=ROOT, check=True)
    for plugins in sizes:
        say(f"cold starts: {plugins} plugins")
        inside: dict[str, list[float]] = {way: [] for way in WAYS}
        whole: dict[str, list[float]] = {way: [] for way in WAYS}
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            tree = Path(folder, "plugins")
            write_tree(tree, plugins)
            for _ in range(repetitions):
                for way in WAYS:
                    began = time.perf_counter()
                    inside[way].append(_in_fresh_process(way, tree))
                    whole[way].append(_ms_since(began))
        for way in WAYS:
            took = percentile(inside[way], 50)
            row: dict[str, object] = {
                "plugins": plugins,
                "start": way,
                "p50": took,
                "per plugin": took / plugins,
                "process p50": percentile(whole[way], 50),
                "starts": repetitions,
            }
            if way != BARE:
                row["/bare"] = took / percentile(inside[BARE], 50)
            table.add(row)
    return table


def _in_fresh_process(way: str, tree: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "scripts.benchlib.cold", way, str(tree)],
        cwd=ROOT,
        env={REPORT_VARIABLE: "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(STARTS[sys.argv[1]](sys.argv[2])))
