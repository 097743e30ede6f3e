"""The examples of docs/apps.md do what it says."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
import warnings
from dataclasses import fields
from inspect import iscoroutine
from pathlib import Path

import pytest
from command_runs import CHECKOUT, GUARD_SECONDS
from trees import PluginTree

from dagstack_dev import DevServer, Settings

ROOT = Path(__file__).parents[2]
SHOWN = re.compile(r"```(?:toml|python)\n# (\S+)\n(.*?)```", re.DOTALL)
PLUGINS = SHOWN.findall((ROOT / "README.md").read_text(encoding="utf-8"))
PAGE = SHOWN.findall((ROOT / "docs/apps.md").read_text(encoding="utf-8"))

USES_HOOKS = """
import asyncio
import hooks

async def main():
    await asyncio.create_task(hooks.on_startup())
    welcome = hooks.server.registry.get_plugin("tool", name="welcome")
    print(welcome.greet())
    await asyncio.create_task(hooks.on_shutdown())

asyncio.run(main())
"""

USES_WEB = """
from fastapi.testclient import TestClient
from web import app

with TestClient(app) as client:
    print(client.get("/greeting").json())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The plugins of the README, and every file that the page shows."""
    for name, text in (*PLUGINS, *PAGE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | CHECKOUT,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "script"), [("app.py", None), ("uses.py", USES_HOOKS), ("uses.py", USES_WEB)]
)
def test_each_way_to_have_a_server_in_an_app_greets(
    project: Path, name: str, script: str | None
) -> None:
    if script is not None:
        (project / name).write_text(script)
    assert run(project, "-W", "error", name) == "Hello, world!\n"


def test_an_app_answers_commands(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = project / "bin" / "dagstack-dev"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m dagstack_dev "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    assert run(project, "-W", "error", "answering.py") == "Hello, world!\n"


def test_a_fixture_holds_the_server_open(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    assert "1 passed" in run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py")


def test_at_a_prompt_each_line_may_await(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As IPython does it at a terminal: the loop runs while a line awaits."""
    monkeypatch.chdir(project)
    code = (project / "notebook.py").read_text() + (
        "from pathlib import Path\n"
        "Path('plugins/store/plugin.py').write_text("
        "Path('plugins/store/plugin.py').read_text().replace('world', 'moon'))\n"
        "await server.wait_idle()\n"
        "greeted = welcome.greet()\n"
    )
    code += (project / "notebook_end.py").read_text()
    known: dict[str, object] = {}
    with asyncio.Runner() as runner:
        for line in ast.parse(code).body:
            compiled = compile(
                ast.Module([line], []), "<prompt>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            )
            awaited = eval(compiled, known)
            if iscoroutine(awaited):
                runner.run(awaited)
    assert known["greeted"] == "Hello, moon!"


@pytest.mark.parametrize(("folders", "warns"), [([], True), (["src"], False)])
def test_a_reloading_uvicorn_is_warned_of_where_it_watches_plugins(
    project: Path, folders: list[str], *, warns: bool
) -> None:
    (project / "src").mkdir()
    more = [part for folder in folders for part in ("--reload-dir", folder)]
    command = ["uvicorn", "web:app", "--reload", *more, "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=project,
        env=os.environ | CHECKOUT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            if "startup complete" in line:
                break
        server.terminate()
        server.stderr.read()
    text = "".join(lines)
    assert "startup complete" in text
    assert ("uvicorn restarts this process at each save below" in text) is warns


async def test_other_reloading_parents_are_known_by_their_mark(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.plugin("one")
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    with pytest.warns(RuntimeWarning, match="the reloader of Flask restarts this process"):
        async with DevServer(tree.root):
            pass
    monkeypatch.delenv("WERKZEUG_RUN_MAIN")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with DevServer(tree.root):
            pass


def test_the_table_has_every_setting() -> None:
    page = (ROOT / "docs/apps.md").read_text(encoding="utf-8")
    table = page.partition("## Settings")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [
        each.name for each in fields(Settings)
    ]


def test_the_example_of_settings_makes_a_server(project: Path) -> None:
    assert run(project, "settings.py") == ""
