"""Settings files and environment variables, by the real command."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import Asking
from command_runs import Watching
from trees import PluginTree

from dagstack_dev.cli.ask import COMMANDS as ASKING
from dagstack_dev.cli.main import cli
from dagstack_dev.cli.settings import settings_of

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Settings files\n")[1].split("\n## ")[0]

CHECKED = "1 plugin checked, nothing found\n"


@pytest.fixture
def project(tree: PluginTree, tmp_path: Path) -> Path:
    """A project with one plugin; it is the top of a working tree."""
    tree.plugin("a")
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    return tmp_path


def check(folder: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """The exit code and the output of `dagstack-dev check` in `folder`."""
    done = Asking(folder, variables).run("check", *arguments)
    return done.returncode, done.stdout + done.stderr


def test_watch_needs_no_argument(project: Path, watch: Callable[..., Watching]) -> None:
    (project / "dagstack-dev.toml").write_text(
        'paths = ["plugins"]\nlog-level = "warning"\npolling = true\n'
    )
    run = watch("--log-level", "info", environment={"DAGSTACK_DEV_LOG_LEVEL": "error"})
    assert run.event("watch.started")["ready"] == 1
    assert run.end() == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dagstack-dev.toml", 'paths = ["plugins"]'),
        ("dagstack-dev.toml", 'paths = "plugins"'),
        ("pyproject.toml", '[tool.dagstack-dev]\npaths = ["plugins"]'),
    ],
)
@pytest.mark.parametrize("folder", [".", "src", "src/deep"])
def test_the_nearest_file_counts_and_its_paths_are_relative_to_it(
    project: Path, name: str, text: str, folder: str
) -> None:
    (project / "src" / "deep").mkdir()
    (project / name).write_text(text)
    (project / "src" / "pyproject.toml").write_text("[tool.other]\nbroken =\n")
    assert check(project / folder) == (0, CHECKED)


def test_the_search_ends_at_the_top_of_the_working_tree_and_at_home(project: Path) -> None:
    (project / "dagstack-dev.toml").write_text('paths = ["plugins"]')
    inner = project / "src" / "inner"
    inner.mkdir()
    assert check(inner)[0] == 0
    assert check(inner, HOME=str(project / "src"))[0] == 2
    (project / "src" / ".git").mkdir()
    code, said = check(inner)
    assert (code, "name a folder with plugins" in said) == (2, True)


def test_in_one_folder_dagstack_dev_toml_wins(project: Path) -> None:
    (project / "dagstack-dev.toml").write_text('paths = ["plugins"]')
    (project / "pyproject.toml").write_text('[tool.dagstack-dev]\npaths = ["src"]')
    assert check(project) == (0, CHECKED)


def test_a_flag_overrides_a_variable_and_that_the_file(project: Path) -> None:
    (project / "dagstack-dev.toml").write_text('paths = ["nowhere"]')
    assert check(project)[0] == 2
    assert check(project, DAGSTACK_DEV_PATHS="plugins:src") == (0, CHECKED)
    assert check(project, "plugins", DAGSTACK_DEV_PATHS="none") == (0, CHECKED)


def test_all_that_is_wrong_is_reported_with_its_line(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        "[tool.dagstack-dev]\n"
        'paths = ["plugins", 3]\n'
        "watch_code = []\n"
        "settle = 0\n"
        'polling = "yes"\n'
        'log-level = "loud"\n'
        "config = 5\n"
        'core-version = "one"\n'
    )
    code, said = check(project)
    assert code == 2
    assert said.removeprefix("dagstack-dev: ").splitlines() == [
        "pyproject.toml:2: paths: 3 is not a valid string.",
        "pyproject.toml:3: watch_code: no such setting; did you mean 'watch-code'?",
        "pyproject.toml:4: settle: 0 is not in the range 1<=x<=10000.",
        "pyproject.toml:5: polling: 'yes' is not a valid boolean.",
        "pyproject.toml:6: log-level: 'loud' is not one of 'debug', 'info', 'warning', 'error'.",
        "pyproject.toml:7: config: 5 is not a valid string.",
        (
            "pyproject.toml:8: core-version: --core-version 'one' is not a PEP 440 version; write"
            " for example 0.1.0"
        ),
    ]


def test_a_path_that_leads_nowhere_is_said_with_where_it_was_set(
    project: Path, watch: Callable[..., Watching]
) -> None:
    (project / "dagstack-dev.toml").write_text('\npaths = ["plugins", "plugin"]\n')
    (project / "src/dagstack-dev.toml").write_text('paths = ["."]\nconfig = "none.toml"\n')
    missing = "plugin: does not exist; a folder with plugins was expected; did you mean 'plugins'?"
    in_file = f"dagstack-dev: dagstack-dev.toml:2: paths: {missing}\n"
    assert check(project) == (2, in_file)
    assert check(project, "plugin") == (2, f"dagstack-dev: {missing}\n")
    assert check(project, DAGSTACK_DEV_PATHS="plugin")[1].startswith(
        "dagstack-dev: DAGSTACK_DEV_PATHS: plugin: does not exist"
    )
    said = check(project / "src")[1]
    assert said.startswith("dagstack-dev: dagstack-dev.toml:2: config: none.toml: ")
    run = watch()
    assert run.ended() == 2
    assert run.errors == in_file


def test_a_file_that_is_no_toml_is_named(project: Path) -> None:
    file = project / "dagstack-dev.toml"
    file.write_text("paths = [\n")
    code, said = check(project / "src")
    assert (code, said.startswith("dagstack-dev: ../dagstack-dev.toml:1: is not")) == (2, True)
    file.write_bytes(b'paths = ["plugins"]\n# \xff')
    code, said = check(project)
    assert (code, said.startswith("dagstack-dev: dagstack-dev.toml:2: is not UTF-8")) == (2, True)


def test_a_current_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    prefix = ("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh")
    commands = "status", "check plugins", "watch plugins", "new greeter", "new --app", "schema"
    for command in map(str.split, commands):
        gone.mkdir(exist_ok=True)
        done = Asking(gone, prefix=prefix).run(*command)
        assert done.returncode == 2
        assert done.stderr.endswith("the current folder is gone; change to one that is there\n")
        assert "Traceback" not in done.stderr


def test_the_help_names_the_file_in_force(project: Path) -> None:
    assert "Settings in force" not in Asking(project).run("watch", "--help").stdout
    (project / "dagstack-dev.toml").write_text("nonsense = 1")
    assert (
        Asking(project / "src")
        .run("watch", "--help")
        .stdout.endswith("\n\nSettings in force: ../dagstack-dev.toml\n")
    )


def test_a_running_server_may_be_named(project: Path) -> None:
    (project / "dagstack-dev.toml").write_text('server = "src"')
    done = Asking(project).run("status")
    assert (done.returncode, "no server runs for src" in done.stderr) == (4, True)


def test_the_page_lists_exactly_the_settings_there_are() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` \|.*\| (.*) \|$", SECTION, re.MULTILINE))
    assert listed.keys() == settings_of(cli.commands.values()).keys()
    asking = {command.name for command in ASKING}
    for key, commands in listed.items():
        reading = {name for name, each in cli.commands.items() if key in settings_of([each])}
        if key == "server":
            assert reading == asking | {"mcp"}
        else:
            assert set(re.findall(r"`([\w-]+)`", commands)) == reading


def test_the_example_of_the_page_is_a_settings_file(project: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    (project / "dagstack-dev.toml").write_text(example)
    (project / "dev.toml").write_text("[demo.a]\n")
    assert check(project) == (0, CHECKED)
    (project / "dagstack-dev.toml").write_text(example.replace("log-level", "log-levl"))
    (line,) = re.findall(r"```\n(dagstack-dev: .*)\n```", SECTION)
    assert check(project) == (2, line + "\n")


@pytest.mark.parametrize("setting", [True, False])
def test_a_file_that_git_ignores_reloads_nothing_unless_it_is_to(
    project: Path, tree: PluginTree, watch: Callable[..., Watching], *, setting: bool
) -> None:
    (project / ".gitignore").write_text("*.csv\nplugin.py\n")
    (project / "dagstack-dev.toml").write_text(
        f'paths = ["plugins"]\ngitignore = {"true" if setting else "false"}\n'
    )
    run = watch()
    run.event("watch.started")
    tree.write("a/rows.csv", "1")
    if not setting:
        assert run.event("reload.started")["paths"] == [str(tree.root / "a/rows.csv")]
        run.event("reload.committed")
    code = tree.root / "a/plugin.py"
    code.write_text(f"{code.read_text()}\n")
    assert run.event("reload.started")["paths"] == [str(code)]
    run.event("reload.committed")
    assert run.end() == 0


def test_why_and_graph_leave_out_what_watch_does(project: Path, tree: PluginTree) -> None:
    tree.write("a/rows.csv", "1")
    tree.write("a/drafts/rows.txt", "1")
    (project / ".gitignore").write_text("*.csv\n")
    settings = project / "dagstack-dev.toml"
    asking = Asking(project)
    for text, reloads in [
        ("", {"rows.csv": False, "drafts/rows.txt": True}),
        ('ignore = ["drafts"]\ngitignore = false\n', {"rows.csv": True, "drafts/rows.txt": False}),
    ]:
        settings.write_text(f'paths = "plugins"\n{text}')
        for file, does in reloads.items():
            why = asking.run("why", tree.root / "a" / file).stdout
            assert ("reloads nothing: it is ignored" in why) is not does
            save = asking.run("graph", "--reload", tree.root / "a" / file).stdout
            assert ("it is ignored" in save) is not does
