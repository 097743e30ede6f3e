"""`--entry-points`: installed plugins at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import Asking
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


MARKED = """
from pathlib import Path

Path("has-run").touch()
"""
COMPUTED = f"{MARKED}\nDAGSTACK_PLUGIN_MANIFEST = dict(name='made')\n"
HAS_MISTAKES = f"""{MARKED}
import nowhere_at_all

DAGSTACK_PLUGIN_MANIFEST = {{
    "name": "amiss",
    "kind": "demo",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "amiss:Plugin",
    "depends_on": ["gone"],
}}


class Plugin:
    def setup(self): ...
"""
FOLDER = """
[plugin]
name = "filed"
kind = "demo"
core_version = ">=99"
runtime = "in_process"
entry_point = "plugin:Plugin"
"""


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    """Commands where a plugin of each form is installed."""
    with installation(tmp_path / "python") as made:
        files = {"echoes/__init__.py": PLUGIN.replace("echoes:", "echoes.plugin:")}
        files |= {"echoes/plugin.py": "from .words import WORD\n\n\nclass Echo: ...\n"}
        files |= {"echoes/words.py": "WORD = 1\n", "echoes/__main__.py": MARKED}
        made.package("echo", files, entry_points={"echo": "echoes"})
        amiss = {"amiss.py": HAS_MISTAKES}
        homes = [made.package("amiss", amiss, entry_points={"amiss": "amiss:Plugin"})]
        made.package("made", {"made.py": COMPUTED}, entry_points={"m": "made"}, editable=False)
        made.package("bad", {}, entry_points={"bad": "nowhere"}, editable=False)
        filed = {"filed/dagstack.toml": FOLDER, "filed/plugin.py": "class Plugin: ...\n"}
        filed |= {"filed/__init__.py": MARKED}
        made.package("filed", filed, entry_points={"filed": "filed"}, editable=False)
        homes.append(made.projects / "echo")
    path = ":".join((CHECKOUT["PYTHONPATH"], str(made.site), *map(str, homes)))
    return Asking(tmp_path, {"PYTHONPATH": path})


def test_check_finds_mistakes_in_installed_plugins_and_runs_none(
    ask: Asking, tmp_path: Path
) -> None:
    found = json.loads(ask.run("check", "--entry-points", "--format", "json").stdout)
    assert found["plugins"] == 3
    project, site = "python/projects", "python/site-packages"
    assert [(each["code"], each["path"], each["line"]) for each in found["findings"]] == [
        ("D201", f"{project}/amiss/amiss.py", None),
        ("D302", f"{project}/amiss/amiss.py", 6),
        ("D307", f"{project}/amiss/amiss.py", 19),
        ("D102", f"{site}/filed/dagstack.toml", 5),
        ("D101", "entry point bad = nowhere", None),
        ("D112", "entry point m = made", None),
    ]
    assert not (tmp_path / "has-run").exists()


def test_what_is_installed_counts_for_plugins_in_folders(ask: Asking, tree: PluginTree) -> None:
    tree.plugin("user", depends_on=["echo"])
    assert "D201" in ask.run("check", "plugins").stdout
    done = ask.run("check", "plugins", "--entry-points", "--format", "json")
    assert "demo/user" not in done.stdout
    lines = ask.run("graph", "plugins", "--entry-points", "--around", "user").stdout.splitlines()
    assert lines == ["2 plugins", "demo/echo", "└── demo/user"]
    place = "python/projects/echo/echoes/words.py"
    shown = ask.run("why", place, "plugins", "--entry-points").stdout
    assert "demo/echo imports it  python/projects/echo/echoes/__init__.py" in shown
    assert "demo/user depends on it" in shown
