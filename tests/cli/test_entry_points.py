"""`watch --entry-points`: installed plugins at the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from command_runs import CHECKOUT, Watching
from installing import installation
from serving import edit
from trees import PluginTree

PLUGIN = """
DAGSTACK_PLUGIN_MANIFEST = {
    "name": "echo",
    "kind": "demo",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "echoes:Echo",
}


class Echo:
    def setup(self, ctx):
        ctx.logger.info("echoing", word="old")
"""


def test_installed_plugins_are_run_and_an_editable_one_is_reloaded(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    with installation(tmp_path / "python") as made:
        home = made.package(
            "echo-dist", {"echoes.py": PLUGIN}, entry_points={"echo": "echoes:Echo"}
        )
        made.package("bad", {}, entry_points={"bad": "nowhere"})
    path = ":".join((CHECKOUT["PYTHONPATH"], str(made.site), str(home)))
    run = watch("plugins", "--entry-points", environment={"PYTHONPATH": path})
    assert run.event("echoing", plugin="demo/echo")["word"] == "old"
    assert run.event("watch.started")["ready"] == 2
    assert "no Python file of a module 'nowhere'" in run.event("watch.problem")["message"]
    edit(home / "echoes.py", "old", "new")
    assert run.event("echoing", plugin="demo/echo")["word"] == "new"
    run.event("reload.committed", affected=["demo/echo"])
    assert run.end() == 0


def test_nothing_but_installed_plugins_will_do(
    tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    with installation(tmp_path / "python") as made:
        made.package(
            "echo-dist", {"echoes.py": PLUGIN}, entry_points={"e": "echoes:Echo"}, editable=False
        )
    path = ":".join((CHECKOUT["PYTHONPATH"], str(made.site)))
    run = watch("--entry-points", environment={"PYTHONPATH": path})
    assert run.event("watch.started")["ready"] == 1
    assert run.end() == 0


def test_the_terminal_names_what_is_watched_of_installed_plugins(
    tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    with installation(tmp_path / "python") as made:
        home = made.package("echo-dist", {"echoes.py": PLUGIN}, entry_points={"e": "echoes:Echo"})
    path = ":".join((CHECKOUT["PYTHONPATH"], str(made.site), str(home)))
    run = watch("--entry-points", environment={"PYTHONPATH": path}, columns=200)
    run.line("dagstack-dev watching code in python/projects/echo-dist")
    assert run.end() == 0
