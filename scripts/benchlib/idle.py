"""What a program that watches costs while nothing is saved."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from scripts.benchlib.fresh import resident_mb
from scripts.benchlib.report import Table, say
from scripts.benchlib.subjects import FLOOR, OURS, Subject

CALM_DOWN_SEC = 3.0
"""After the start, for whatever is done once it is over."""


def measure(sizes: Sequence[tuple[int, int]], seconds: float) -> Table:
    """The table of idle programs; `sizes` are plugins and the step of the watch in ms."""
    table = Table(
        "Idle, in percent of one CPU",
        ("plugins", "step", "program", "CPU", "/floor", "RSS MB"),
        note=f"over {seconds:g} s, both at once; the floor is watchfiles with the same step",
    )
    if not sys.platform.startswith("linux"):
        return table
    for plugins, step_ms in sizes:
        say(f"idle: {plugins} plugins, step {step_ms} ms")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
            subjects = []
            for number, recipe in enumerate((OURS, FLOOR)):
                own = Path(folder, str(number))
                own.mkdir()
                subject = Subject(recipe, own, plugins=plugins, step_ms=step_ms)
                subjects.append(stack.enter_context(subject))
            time.sleep(CALM_DOWN_SEC)
            before = [cpu_seconds(subject.pid) for subject in subjects]
            time.sleep(seconds)
            used = [
                (cpu_seconds(subject.pid) - already) / seconds * 100
                for subject, already in zip(subjects, before, strict=True)
            ]
            for subject, percent in zip(subjects, used, strict=True):
                row: dict[str, object] = {
                    "plugins": plugins,
                    "step": f"{step_ms} ms",
                    "program": subject.recipe.name,
                    "CPU": percent,
                    "RSS MB": resident_mb(subject.pid),
                }
                if subject.recipe is not FLOOR:
                    row["/floor"] = percent / used[-1] if used[-1] else float("nan")
                table.add(row)
    return table


def cpu_seconds(pid: int) -> float:
    """What a process has used of all CPUs so far."""
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")
