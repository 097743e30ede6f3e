"""From a save to a plugin that is ready again."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.benchlib.checkouts import Checkout
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.subjects import FLOOR, IN_PLACE, RESTARTS, Recipe, Subject, server

WARM_UP: Final = 5
PAUSE_SEC: Final = (0.02, 0.06)
RESTART_PAUSE_SEC: Final = (1.1, 1.2)
"""Bytecode is compared by whole seconds; a restart within one might run what was before."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        plugins: sizes of the trees for the server and its floor, by the step of the watch in ms.
        saves: per program and size.
        restart_plugins: sizes of the trees for programs that restart.
        restarts: saves of those.
    """

    plugins: Mapping[int, tuple[int, ...]]
    saves: int
    restart_plugins: tuple[int, ...]
    restarts: int


QUICK: Final = Effort({5: (1, 100, 1000), 1: (1, 1000)}, 40, (1, 1000), 3)
FULL: Final = Effort(
    {5: (1, 100, 1000, 10_000), 1: (1, 100, 1000, 10_000)}, 200, (1, 1000, 10_000), 8
)

_COLUMNS: Final = (
    *("plugins", "step", "program", "p50", "p95", "p95/p50"),
    *("p50/floor", "p95/floor", "p50/other", "saves", "lost"),
)
_NOTE: Final = "lost: saves that were missed, setups of a torn file, setups of a content twice"


def side_by_side(
    recipes: Sequence[Recipe],
    *,
    plugins: int,
    step_ms: int,
    saves: int,
    pause_sec: tuple[float, float] = PAUSE_SEC,
) -> list[Subject]:
    """Run all programs at once and save in turn, one after the other, A B A B."""
    chance = random.Random(plugins)  # noqa: S311 - no two saves in step with a watch
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        subjects = [
            stack.enter_context(
                Subject(recipe, _folder(folder, number), plugins=plugins, step_ms=step_ms)
            )
            for number, recipe in enumerate(recipes)
        ]
        for turn in range(WARM_UP * (saves > WARM_UP) + saves):
            if turn == WARM_UP and saves > WARM_UP:
                for subject in subjects:
                    subject.outcome.milliseconds.clear()
            for subject in subjects:
                time.sleep(chance.uniform(*pause_sec))
                subject.save()
        for subject in subjects:
            subject.finish()
        return subjects


def _folder(folder: str, number: int) -> Path:
    path = Path(folder, str(number))
    path.mkdir()
    return path


def measure(effort: Effort, checkouts: Sequence[Checkout]) -> Table:
    """The table of saves seen by the server and by the floor."""
    table = Table("Save to ready, in ms", _COLUMNS, _NOTE)
    recipes = (*map(server, checkouts), FLOOR)
    for step_ms, sizes in effort.plugins.items():
        for plugins in sizes:
            say(f"saves: {plugins} plugins, step {step_ms} ms")
            all_of_them = side_by_side(
                recipes, plugins=plugins, step_ms=step_ms, saves=effort.saves
            )
            _add(table, all_of_them, plugins, f"{step_ms} ms")
    return table


def measure_others(effort: Effort) -> Table:
    """The table of saves seen by other programs."""
    table = Table("Save to ready by other programs, in ms", _COLUMNS, _NOTE)
    for recipe in IN_PLACE:
        if recipe.available:
            say(f"saves: {recipe.name}")
            (one,) = side_by_side((recipe,), plugins=1, step_ms=0, saves=effort.saves // 4)
            _add(table, [one], 1, "default")
    for recipe in RESTARTS:
        for plugins in effort.restart_plugins:
            if recipe.available:
                say(f"saves: {recipe.name}, {plugins} plugins")
                (one,) = side_by_side(
                    (recipe,),
                    plugins=plugins,
                    step_ms=0,
                    saves=effort.restarts,
                    pause_sec=RESTART_PAUSE_SEC,
                )
                _add(table, [one], plugins, "default")
    return table


def _add(table: Table, subjects: Sequence[Subject], plugins: int, step: str) -> None:
    """One row for each; where there are several, the last is the floor."""
    ours, floor = subjects[0], subjects[-1]
    other = subjects[-2] if len(subjects) > 2 else None  # noqa: PLR2004 - that is three
    for subject in subjects:
        outcome = subject.outcome
        times = outcome.milliseconds
        row: dict[str, object] = {
            "plugins": plugins,
            "step": step,
            "program": subject.recipe.name,
            "p50": percentile(times, 50),
            "p95": percentile(times, 95),
            "p95/p50": percentile(times, 95) / percentile(times, 50),
            "saves": len(times) + outcome.missed,
            "lost": f"{outcome.missed}/{outcome.torn}/{outcome.repeated}",
        }
        if subject is not floor:
            for share in (50, 95):
                row[f"p{share}/floor"] = _ratio(subject, floor, share)
        if subject is ours and other is not None:
            row["p50/other"] = _ratio(ours, other, 50)
        table.add(row)


def _ratio(one: Subject, other: Subject, share: float) -> float:
    times, others = one.outcome.milliseconds, other.outcome.milliseconds
    return percentile(times, share) / percentile(others, share)
