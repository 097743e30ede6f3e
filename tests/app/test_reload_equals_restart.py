"""Reload equals restart: random work on a plugin tree, beside cold starts of the same files.

`scripts/soak` does the same for as long as asked, and shortens what goes wrong.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import GUARD_SECONDS
from soaking.actions import Edit, Put
from soaking.cold import ColdStarts
from soaking.host import silence_logs
from soaking.live import run
from soaking.modules import Module, Way
from soaking.notation import read, write
from soaking.shrinking import shrink
from soaking.sources import Life, Source
from soaking.steps import During, Moment, Pause, Quiet, Step, generate

from dagstack_dev.app.reload.shared import SharedFiles

SEEDS = range(7)
ACTIONS = 40
SOAK = Path(__file__).resolve().parents[2] / "scripts" / "soak_run.py"
SEQUENCES = sorted((Path(__file__).resolve().parents[1] / "soaking" / "sequences").rglob("*.steps"))
"""What once diverged: shortened, and `whole` as its seed had made it."""


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
    assert not outcome.problems, f"{problems}\nafter:\n" + write(steps)
    assert outcome.actions >= ACTIONS


async def test_a_defect_is_found(
    tmp_path: Path, cold_starts: ColdStarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence_logs()
    plugin = Source("demo", "a", 1, shared=(("helpers", Way.TOP),))
    steps: list[Step] = [
        Put((("a", plugin),), (("helpers", Module(2)),)),
        Quiet(),
        Put(modules=(("helpers", Module(3)),)),
        Quiet(),
    ]
    assert (await run(steps, tmp_path / "right" / "plugins", cold_starts)).problems == ()
    monkeypatch.setattr(SharedFiles, "differing", lambda *_: {})
    outcome = await run(steps, tmp_path / "wrong" / "plugins", cold_starts)
    assert (outcome.actions, outcome.quiet_points) == (2, 2)
    assert re.search("shared is .*000002.* after a restart .*000003", outcome.problems[0])


async def test_a_server_comes_to_rest_while_a_plugin_misses_a_module(
    tmp_path: Path, cold_starts: ColdStarts
) -> None:
    silence_logs()
    plugin = Source("demo", "a", 1, shared=(("helpers", Way.TOP),))
    steps: list[Step] = [
        Put((("a", plugin),)),
        Quiet(),
        Put(modules=(("helpers", Module(2)),)),
        Quiet(),
    ]
    outcome = await run(steps, tmp_path / "plugins", cold_starts)
    assert (outcome.problems, outcome.quiet_points) == ((), 2)


async def test_a_server_comes_to_rest_though_plugins_are_edited_during_each_of_their_setups(
    tmp_path: Path, cold_starts: ColdStarts
) -> None:
    silence_logs()
    steps: list[Step] = [Put((("a", Source("demo", "a", 1, life=Life.SLOW)),))]
    for version in range(2, 40):
        steps += [During(Moment.SETTING_UP, Edit("a", (("version", version),))), Pause(0.004)]
    outcome = await run([*steps, Quiet()], tmp_path / "plugins", cold_starts)
    assert outcome.problems == ()


@pytest.mark.parametrize("file", SEQUENCES, ids=lambda file: f"{file.parent.name}-{file.stem}")
async def test_what_once_went_wrong_ends_as_a_restart_does(
    tmp_path: Path, cold_starts: ColdStarts, file: Path
) -> None:
    silence_logs()
    outcome = await run(read(file.read_text()), tmp_path / "plugins", cold_starts)
    assert outcome.problems == ()


def test_a_sequence_can_be_written_to_a_file() -> None:
    for steps in (generate(seed, ACTIONS) for seed in range(50)):
        assert read(write(steps)) == steps


def test_what_is_no_step_cannot_be_read() -> None:
    with pytest.raises(KeyError):
        read("print('hello')")


def test_a_failing_sequence_is_shortened_to_what_it_takes() -> None:
    kept = shrink(40, lambda chosen: {3, 17, 31} <= set(chosen), lambda: True)
    assert kept == [3, 17, 31]


WRONG = f"""
import runpy, sys
sys.path.insert(0, {str(SOAK.parents[1] / "tests")!r})
sys.path.insert(0, {str(SOAK.parents[1] / "tests" / "support")!r})
import soaking.live
soaking.live.differs = lambda *_: ["nothing is as it should be"]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def test_the_soak_runs_in_several_processes() -> None:
    ended = soak(str(SOAK), "--steps", "1", "--jobs", "2", "--seed", "1")
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert re.match("2 sequences, .* 0 divergences", ended.stdout.splitlines()[-1])


def test_a_divergence_is_reported_as_a_file_that_repeats_it(tmp_path: Path) -> None:
    ended = soak("-c", WRONG, str(SOAK), "--replay", "3", "--shrink-seconds", "0.5")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    file = tmp_path / "3.steps"
    file.write_text(ended.stdout)
    again = soak("-c", WRONG, str(SOAK), "--replay", str(file), "--shrink-seconds", "0")
    assert again.returncode == 1, again.stdout + again.stderr
    assert read(again.stdout) == read(ended.stdout)
