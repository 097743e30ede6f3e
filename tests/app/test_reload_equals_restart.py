"""Reload equals restart: random work on a plugin tree, beside cold starts of the same files.

`scripts/soak` does the same for as long as asked, and shortens what goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from soaking.cold import ColdStarts
from soaking.live import run
from soaking.pictures import silence_logs
from soaking.steps import describe, generate

SEEDS = range(6)
ACTIONS = 40


@pytest.fixture(scope="module")
def cold_starts() -> Iterator[ColdStarts]:
    with ColdStarts() as starts:
        yield starts


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_edits_what_runs_is_what_a_restart_brings_up(
    tmp_path: Path, cold_starts: ColdStarts, seed: int
) -> None:
    silence_logs()  # After the fixture that captures logs: what is logged would stay in memory.
    steps = generate(seed, ACTIONS)
    outcome = await run(steps, tmp_path / "plugins", cold_starts)
    problems = "\n".join(outcome.problems)
    assert not outcome.problems, f"{problems}\nafter:\n" + "\n".join(map(describe, steps))
    assert outcome.actions >= ACTIONS
