"""Calls never stop while plugins are reloaded, well and badly: none fails, none is lost."""

from __future__ import annotations

from pathlib import Path

from dagstack_dev.core.events import DrainTimedOut, ReloadCommitted, ReloadRolledBack
from scripts.benchlib.load import run_load

EDITS = 40


async def test_no_call_fails_and_none_reaches_an_instance_that_is_torn_down(
    tmp_path: Path,
) -> None:
    outcome = await run_load(tmp_path / "plugins", reloads=EDITS, callers=20, threads=2)
    assert outcome.failures == []
    assert outcome.count(DrainTimedOut) == 0
    assert outcome.count(ReloadCommitted) > EDITS / 3
    assert outcome.count(ReloadRolledBack) > 0
    assert len(outcome.waits) > EDITS
