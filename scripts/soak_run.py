"""Edits random plugin trees for as long as asked, and compares reloads with restarts.

Started by `scripts/soak`, in an environment with the group `dev`; see `--help`.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from model.sequence import STEPS, sequence
from soaking.cold import ColdStarts
from soaking.host import silence_logs
from soaking.live import Outcome, run
from soaking.notation import read, write
from soaking.shrinking import shrink
from soaking.steps import Step, generate

ACTIONS = 40
"""Actions in a sequence."""

REPORT_SECONDS = 10.0
"""How often to report how far it is."""


@dataclass
class Totals:
    """What has been done so far."""

    sequences: int = 0
    actions: int = 0
    quiet_points: int = 0
    divergences: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more sequence."""
        self.sequences += 1
        self.actions += outcome.actions
        self.quiet_points += outcome.quiet_points
        self.divergences += bool(outcome.problems)


def main() -> int:
    """Soak, or replay one sequence; the answer is the exit code."""
    options = _options()
    if options.replay is not None:
        return _replay(options.replay, options.shrink_seconds)
    # Without it the workers would go on alone.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    totals = Totals()
    began = reported = monotonic()
    until = began + options.minutes * 60 if options.minutes else None
    seeds = count(options.seed)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        waiting: dict[Future[Outcome], int] = {}
        while True:
            enough = (until is not None and monotonic() >= until) or (
                options.steps is not None and totals.actions >= options.steps
            )
            while not enough and len(waiting) < options.jobs:
                seed = next(seeds)
                waiting[pool.submit(_modelled if options.model else _one, seed)] = seed
            if not waiting:
                break
            for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                seed, outcome = waiting.pop(done), done.result()
                totals.add(outcome)
                if outcome.problems:
                    _report_divergence(seed, outcome)
            if monotonic() - reported >= REPORT_SECONDS:
                reported = monotonic()
                _report_totals(totals, reported - began)
    _report_totals(totals, monotonic() - began)
    return 1 if totals.divergences else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--minutes", type=float, help="how long; 1 by default")
    much.add_argument("--steps", type=int, help="how many actions")
    parser.add_argument("--seed", type=int, default=0, help="of the first sequence; default 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default 1")
    parser.add_argument(
        "--model",
        action="store_true",
        help="only what decides, on a model of the rest, held against the laws of a reload",
    )
    parser.add_argument(
        "--replay",
        type=_sequence,
        metavar="SEED|FILE",
        help="run one sequence, shorten it if it goes wrong, print it as such a file",
    )
    parser.add_argument(
        "--shrink-seconds", type=float, default=60, help="how long to shorten; 0: not at all"
    )
    options = parser.parse_args()
    if options.minutes is None and options.steps is None:
        options.minutes = 1.0
    return options


def _sequence(given: str) -> list[Step]:
    """The steps of a seed, or in a file."""
    return generate(int(given), ACTIONS) if given.isdecimal() else read(Path(given).read_text())


_COLD_STARTS: list[ColdStarts] = []
"""The one of this worker process."""


def _one(seed: int) -> Outcome:
    """One sequence, in a worker."""
    if not _COLD_STARTS:
        silence_logs()
        _COLD_STARTS.append(ColdStarts().__enter__())
        gc.freeze()  # A collection looks for instances that were left behind, at nothing else.
    return _run(generate(seed, ACTIONS), _COLD_STARTS[0])


def _modelled(seed: int) -> Outcome:
    """One sequence on the model."""
    problems = sequence(seed)
    return Outcome(STEPS, STEPS - bool(problems), tuple(problems))


def _run(steps: Sequence[Step], cold_starts: ColdStarts) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return anyio.run(run, steps, Path(folder).resolve() / "plugins", cold_starts)


def _replay(steps: list[Step], shrink_seconds: float) -> int:
    """Run `steps`, shorten them as long as they go wrong, and print what a file can hold."""
    silence_logs()
    with ColdStarts() as cold_starts:
        outcome = _run(steps, cold_starts)
        if outcome.problems and shrink_seconds:
            until = monotonic() + shrink_seconds

            def fails(kept: Sequence[int]) -> bool:
                return bool(_run([steps[each] for each in kept], cold_starts).problems)

            kept = shrink(len(steps), fails, lambda: monotonic() < until)
            shorter = _run([steps[each] for each in kept], cold_starts)
            if shorter.problems:
                steps, outcome = [steps[each] for each in kept], shorter
    lines = [line for problem in outcome.problems or ["passes"] for line in problem.splitlines()]
    print(*(f"# {line}" for line in lines), write(steps), sep="\n", end="")
    return 1 if outcome.problems else 0


def _report_divergence(seed: int, outcome: Outcome) -> None:
    lines = "\n  ".join(outcome.problems)
    print(f"sequence {seed} diverges at action {outcome.actions}:\n  {lines}")
    print(f"  shorten it: scripts/soak --replay {seed} > FILE", flush=True)


def _report_totals(totals: Totals, seconds: float) -> None:
    speed = totals.actions / seconds
    print(
        f"{totals.sequences} sequences, {totals.actions} steps, {totals.quiet_points} quiet "
        f"points, {totals.divergences} divergences in {seconds:.0f} s ({speed:.0f} steps/s)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
