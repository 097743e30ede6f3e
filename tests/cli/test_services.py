"""Standard resources and services at the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from command_runs import Watching
from trees import PluginTree

CODE = """
from dagstack_dev import Progress

class Plugin:
    def setup(self, ctx):
        runs = int(ctx.checkpoint.load("runs") or 0) + 1
        ctx.checkpoint.save("runs", str(runs).encode())
        ctx.resources.blob_store.put("report", b"kept")
        ctx.logger.info("begun", runs=runs, year=ctx.resources.clock.now().year)
        ctx.progress.report(Progress(runs, 10, "runs"))
"""
MANIFEST = '[plugin.resources]\nrequired = ["clock", "blob_store"]\n'


def test_a_state_folder_outlives_the_run(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("it", code=CODE, manifest=MANIFEST)
    for runs in (1, 2):
        run = watch("plugins", "--state", "state")
        begun = run.event("begun", plugin="demo/it")
        assert begun["runs"] == runs
        assert begun["year"] >= 2026
        told = run.event("progress", plugin="demo/it")
        assert (told["current"], told["total"], told["message"]) == (runs, 10, "runs")
        assert run.end() == 0
    files = {str(path.relative_to(tmp_path / "state")) for path in tmp_path.glob("state/**/*.*")}
    assert files == {"checkpoints/demo/it/runs.checkpoint", "blobs/report.blob"}


def test_without_one_nothing_is_written(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("it", code=CODE, manifest=MANIFEST)
    for _ in range(2):
        run = watch("plugins")
        assert run.event("begun", plugin="demo/it")["runs"] == 1
        assert run.end() == 0
    assert {path.name for path in tmp_path.iterdir()} == {"plugins"}


def test_a_state_folder_in_a_watched_one_reloads_nothing(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    path = tree.plugin("it", code=CODE, manifest=MANIFEST)
    run = watch("plugins", "--state", "plugins/it/state")
    assert run.event("begun")["runs"] == 1
    run.event("watch.started")
    (path / "plugin.py").write_text(CODE + "# newer\n", encoding="utf-8")
    assert run.event("reload.started")["paths"] == [str(path / "plugin.py")]
    assert run.event("begun")["runs"] == 2
    run.event("reload.committed")
    (path / "plugin.py").write_text(CODE + "# newest\n", encoding="utf-8")
    assert run.event("reload.started")["reload_id"] == 2
    assert run.end() == 0


def test_progress_is_one_quiet_line(tree: PluginTree, watch: Callable[..., Watching]) -> None:
    tree.plugin("it", code=CODE, manifest=MANIFEST)
    run = watch("plugins", columns=100)
    line = run.line("progress")
    assert "demo/it" in line
    assert "current=1  total=10  message=runs" in line
    assert run.end() == 0
