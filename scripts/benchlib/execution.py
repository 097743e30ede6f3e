"""What a call costs where the manifest says that it runs, beside the bare thing."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from dagstack_dev import PluginContext, PluginRegistry
from scripts.benchlib.report import Table, say

MODELS: Final = ("sync", "thread_cpu_bound", "process_cpu_bound")

CALLS: Final = {"sync": 20_000, "thread_cpu_bound": 500, "process_cpu_bound": 500}
LARGE_CALLS: Final = 50

MANIFEST: Final = """\
[plugin]
name = "{name}"
kind = "bench"
core_version = ">=0.1.0,<1.0.0"
runtime = "in_process"
entry_point = "plugin:Plugin"
execution_model = "{name}"
"""

CODE: Final = """\
class Plugin:
    def same(self, value):
        return value
"""

SIZES: Final = {"an int": 1, "1 MB": b"x" * 1_000_000}


def same(value: object) -> object:
    """Answer `value`."""
    return value


def measure(repetitions: int) -> Table:
    """The table of calls by execution model."""
    say("execution models")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    return anyio.run(_measure, repetitions)


async def _measure(repetitions: int) -> Table:
    table = Table(
        "Call by execution model, in us",
        ("execution_model", "passed", "bare thing", "bare", "through", "over bare"),
        note=f"each the best of {repetitions} rounds, in turn",
    )
    with tempfile.TemporaryDirectory() as folder:
        _write_plugins(Path(folder))
        registry = PluginRegistry().discover(folder)
        logger = structlog.get_logger()
        await registry.setup_all(PluginContext(config={}, logger=logger, registry=registry))
        # As anyio's own process workers: a fork of a process with threads may never come alive.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            for model in MODELS:
                proxy = registry.get_plugin("bench", model)
                for passed, value in SIZES.items():
                    if passed == "an int" or model == "process_cpu_bound":
                        what, bare, through = _runs(model, proxy, value, pool)
                        calls = CALLS[model] if passed == "an int" else LARGE_CALLS
                        best = await _best_in_turn(calls, bare, through, repetitions)
                        table.add(_row(model, passed, what, best))
        await registry.teardown_all()
    return table


def _write_plugins(folder: Path) -> None:
    for model in MODELS:
        home = folder / model
        home.mkdir()
        (home / "dagstack.toml").write_text(MANIFEST.format(name=model), encoding="utf-8")
        (home / "plugin.py").write_text(CODE, encoding="utf-8")


def _row(model: str, passed: str, what: str, best: tuple[float, float]) -> dict[str, object]:
    bare, through = best
    return {
        "execution_model": model,
        "passed": passed,
        "bare thing": what,
        "bare": bare,
        "through": through,
        "over bare": through - bare,
    }


Run = Callable[[int], Awaitable[None]]


def _runs(model: str, proxy: Any, value: object, pool: ProcessPoolExecutor) -> tuple[str, Run, Run]:
    """What is compared: its name, so many calls of it, so many calls through the proxy."""

    async def through(calls: int) -> None:
        for _ in range(calls):
            await proxy.same(value)

    async def through_here(calls: int) -> None:
        for _ in range(calls):
            proxy.same(value)

    async def direct(calls: int) -> None:
        for _ in range(calls):
            same(value)

    async def thread(calls: int) -> None:
        for _ in range(calls):
            await anyio.to_thread.run_sync(same, value)

    async def process(calls: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(calls):
            await loop.run_in_executor(pool, same, value)

    match model:
        case "thread_cpu_bound":
            return "anyio.to_thread.run_sync", thread, through
        case "process_cpu_bound":
            return "ProcessPoolExecutor, 1 worker", process, through
        case _:
            return "direct call", direct, through_here


async def _best_in_turn(
    calls: int, bare: Run, through: Run, repetitions: int
) -> tuple[float, float]:
    """The best time of one call of each, in us."""
    best = [float("inf"), float("inf")]
    for _ in range(repetitions):
        for index, run in enumerate((bare, through)):
            began = perf_counter()
            await run(calls)
            best[index] = min(best[index], (perf_counter() - began) / calls * 1e6)
    return best[0], best[1]
