"""`watch --trace`: a file that viewers of traces open, however the process ends."""

from __future__ import annotations

import json
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Watching
from serving import ref
from traces import rows_of
from trees import PluginTree

from dagstack_dev.cli.trace_file import TraceFile
from dagstack_dev.core.events import ReloadCommitted
from dagstack_dev.core.reloads import ReloadRecord


def record(number: int) -> ReloadRecord:
    fact = ReloadCommitted(
        reload_id=number, duration_ms=2.0, changed=(ref("a"),), affected=(ref("a"),)
    )
    return ReloadRecord(fact, 1000.0 + number)


def test_a_killed_run_leaves_a_whole_file(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    run = watch("plugins", "--trace", "plugins/a/trace.json")
    run.event("watch.started")
    for value in (2, 3):
        tree.plugin("a", value=value)
        run.event("reload.started")  # By the second one, the first reload has been written.
    run.process.kill()
    run.process.wait()
    file = tree.root / "a" / "trace.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = rows_of(json.loads(file.read_bytes()))
    first, *steps = rows["reloads 1"]
    assert first["name"] == "reload 1"
    assert first["args"]["outcome"] == "committed"
    assert {each["name"] for each in steps} >= {"debounce", "read", "prepare"}
    assert [each["name"] for each in rows["demo/a"]][:3] == ["teardown", "import", "setup"]
    assert rows["demo/a"][0]["args"]["reason"] == "plugin.py changed"


def test_a_run_without_reloads_leaves_an_empty_trace(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    file = tmp_path / "trace.json"
    file.write_text("[1]")
    run = watch("plugins", environment={"DAGSTACK_DEV_TRACE": str(file)})
    run.event("watch.started")
    assert run.end() == 0
    assert json.loads(file.read_bytes()) == []


def test_a_full_disk_is_reported_once_and_what_is_there_stays_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.json"
    file = TraceFile(str(path))
    file.write(record(1))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, hard))
    try:
        file.write(record(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write(record(3))
    assert path.read_bytes() == before
    assert [each["name"] for each in rows_of(json.loads(before))["reloads 1"]] == ["reload 1"]
    said = f"dagstack-dev: --trace {path} cannot be written: File too large; the server goes on\n"
    assert capfd.readouterr().err == said
