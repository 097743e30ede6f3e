"""Measuring in a process of its own, which nothing measured before has warmed or filled."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.benchlib.checkouts import HERE, ROOT, Checkout
from scripts.benchlib.trees import REPORT_VARIABLE


def in_fresh_process(
    module: str, *arguments: object, checkout: Checkout = HERE, write_bytecode: bool = False
) -> Any:
    """What `python -m scripts.benchlib.MODULE ARGUMENTS...` prints last, read as JSON."""
    environment = os.environ | {REPORT_VARIABLE: os.devnull} | checkout.environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if not write_bytecode:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.benchlib.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def log_into_nothing() -> None:
    """Log as the command does by default, at `info` and as JSON, to nowhere."""
    import structlog  # noqa: PLC0415 - what is bare does without

    nothing = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(nothing),
        cache_logger_on_first_use=True,
    )


def ms_since(began: float) -> float:
    """Milliseconds from `began`, on the clock of `time.perf_counter`."""
    return (time.perf_counter() - began) * 1000


def resident_mb(pid: int | str = "self") -> float:
    """How much memory a process holds; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/statm")
    if not status.exists():
        return 0.0
    pages = int(status.read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


Cost = tuple[float, float, float]
"""Milliseconds, those of CPU, and megabytes."""


def spent() -> Cost:
    """What this process has taken so far."""
    return time.perf_counter() * 1000, time.process_time() * 1000, resident_mb()


def since(before: Cost) -> Cost:
    """What it has taken from `before` on."""
    ms, cpu_ms, mb = (now - then for now, then in zip(spent(), before, strict=True))
    return ms, cpu_ms, mb
