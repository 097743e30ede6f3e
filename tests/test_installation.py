"""What pip installs is enough: the package with what it declares, and nothing of development."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from urllib.request import Request, urlopen
from zipfile import ZipFile

import pytest
from command_runs import Watching
from mcp_servers import mcp_plugin
from trees import PluginTree

from dagstack_dev.page.serving import WEB

pytestmark = pytest.mark.timeout(300)  # Each makes an environment, at the speed of the index.

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = ROOT / "requirements" / "constraints.txt"
EXTRAS = {
    "api": {"starlette", "uvicorn"},
    "http": {"httpx"},
    "mcp": {"httpx2", "mcp"},
    "test": {"pytest"},
}
"""The packages of each extra that modules of ours import."""

IMPORT_ALL = """
import importlib, json, pkgutil
import dagstack_dev

lacking = {}
for each in pkgutil.walk_packages(dagstack_dev.__path__, "dagstack_dev."):
    try:
        importlib.import_module(each.name)
    except ModuleNotFoundError as error:
        lacking[each.name] = error.name.partition(".")[0]
print(json.dumps(lacking))
"""

PLAIN = """
class Plugin:
    def setup(self, ctx):
        assert ctx.config["size"] == 3

    def double(self, number: int) -> int:
        return 2 * number
"""
HOOKSPECS = """
kind: demo
hooks:
  - name: double
    dispatch: singleton
"""
USES_HTTP = """
import httpx

class Plugin:
    async def setup(self, ctx):
        try:
            await ctx.resources.http_client.get("http://127.0.0.1:1/")
        except httpx.ConnectError:
            return
        raise AssertionError("who has answered?")
"""
USES_SERVER = """
from contextlib import suppress

class Plugin:
    async def setup(self, ctx):
        server = ctx.registry.get_plugin("tool", "server")
        with suppress(Exception):
            await server.size()
        assert await server.value() == "1"
"""
OWN_TEST = "def test_it(plugin_context, seeded_rng): assert plugin_context.resources.rng\n"
SERVER = """
import json, sys

TOOLS = [
    {{"name": "size", "outputSchema": {{"type": "object", "$ref": "http://127.0.0.1:{port}/x"}}}},
    {{"name": "value"}},
]
RESULTS = {{
    "initialize": {{
        "protocolVersion": "2025-06-18",
        "capabilities": {{"tools": {{}}}},
        "serverInfo": {{"name": "server", "version": "1"}},
    }},
    "tools/list": {{"tools": [tool | {{"inputSchema": {{"type": "object"}}}} for tool in TOOLS]}},
    "size": {{"content": [], "structuredContent": {{"size": 1}}}},
    "value": {{"content": [{{"type": "text", "text": "1"}}]}},
}}
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        what = message.get("params", {{}}).get("name", message["method"])
        answer = {{"jsonrpc": "2.0", "id": message["id"], "result": RESULTS[what]}}
        print(json.dumps(answer), flush=True)
"""


class Environment:
    """A virtual environment that holds the package, what it declares, and nothing else."""

    def __init__(self, folder: Path, pins: Path, wheel: Path, extras: str) -> None:
        self.programs = folder / "bin"
        venv.create(folder)
        pip(
            *("--python", str(folder / "bin" / "python"), "install", "--no-compile"),
            *("--constraint", str(pins), f"{wheel}[{extras}]" if extras else str(wheel)),
        )

    def run(self, program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end."""
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": "", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )

    def lacking(self, cwd: Path) -> set[str]:
        """The packages that some module of ours has imported in vain."""
        done = self.run("python", "-c", IMPORT_ALL, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout).values())

    def tests(self, tree: PluginTree) -> str:
        """What `dagstack-dev test` says; it has to succeed."""
        done = self.run("dagstack-dev", "test", str(tree.root), cwd=tree.root.parent)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class PipFailed(Exception):
    """With what pip has said."""


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        env={**os.environ, "PIP_USER": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PipFailed(done.stdout + done.stderr)


Install = Callable[..., Environment]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built; where the package index cannot be reached, tests are skipped."""
    folder = tmp_path_factory.mktemp("wheel")
    try:
        pip("wheel", "--no-deps", "--build-constraint", str(PINS), "-w", str(folder), str(ROOT))
    except PipFailed as error:
        if "build dependencies" in str(error) and "CI" not in os.environ:
            pytest.skip("the package index cannot be reached")
        raise
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Make an environment with these extras, and versions from this file."""

    def make(extras: str, pins: Path = PINS) -> Environment:
        return Environment(tmp_path_factory.mktemp("installed"), pins, wheel, extras)

    return make


def oldest(requirement: str) -> str:
    bound = re.fullmatch(r"([\w-]+)>=([\d.]+)(,<\d+)?", requirement)
    assert bound is not None, f"{requirement}: has no lower bound"
    return f"{bound[1]}=={bound[2]}"


@pytest.fixture
def project(tree: PluginTree) -> PluginTree:
    """Plugins that need a part of the package each, and no extra."""
    schema = '{ type = "object", properties = { size = { default = 3 } } }'
    more = f'execution_model = "process_cpu_bound"\nconfig_schema = {schema}\n'
    tree.plugin("plain", code=PLAIN, manifest=more)
    tree.plugin("user", depends_on=["plain"])
    tree.write("kinds.yaml", HOOKSPECS)
    return tree


@contextmanager
def unasked() -> Iterator[int]:
    """A port of this machine; fails when anybody has connected to it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_pages_of_the_docs_are_in_the_wheel_without_their_pictures(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        shipped = {Path(each).name for each in archive.namelist() if "/docs/" in each}
    assert shipped == {each.name for each in (ROOT / "docs").glob("*.md")}


def test_every_extra_is_known_here() -> None:
    assert PROJECT["optional-dependencies"].keys() == EXTRAS.keys()


def test_without_extras_every_command_runs_and_says_what_an_extra_is_for(
    install: Install, project: PluginTree, watch: Callable[..., Watching]
) -> None:
    environment = install("")
    assert environment.lacking(project.root.parent) <= set().union(*EXTRAS.values())
    every_command_runs(environment, project, watch, "2 plugins: 2 passed")
    asked = environment.run("dagstack-dev", "status", cwd=project.root.parent)
    assert (asked.returncode, asked.stdout) == (4, "")
    assert "pip install 'dagstack-dev[api]'" in asked.stderr
    door = environment.run("dagstack-dev", "mcp", cwd=project.root.parent)
    assert door.returncode == 1
    assert "`mcp` needs an extra: pip install 'dagstack-dev[mcp]'" in door.stderr
    paged = environment.run("dagstack-dev", "watch", "--page", "plugins", cwd=project.root.parent)
    assert paged.returncode == 2
    assert "--page needs an extra: pip install 'dagstack-dev[api]'" in paged.stderr
    project.plugin("tested")
    project.write("tested/tests/test_it.py", OWN_TEST)
    done = environment.run("dagstack-dev", "test", "plugins/tested", cwd=project.root.parent)
    assert "pytest is not installed: pip install pytest" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize("extra", ["http", "mcp"])
def test_an_extra_brings_all_that_its_modules_import(
    install: Install, tree: PluginTree, extra: str
) -> None:
    environment = install(extra)
    assert not environment.lacking(tree.root.parent) & EXTRAS[extra]
    if extra == "http":
        tree.plugin("user", code=USES_HTTP, manifest='resources.required = ["http_client"]\n')
    else:
        assert environment.run("dagstack-dev", "mcp", cwd=tree.root.parent).returncode == 0
        mcp_plugin(tree, "server")
        tree.plugin("user", code=USES_SERVER, depends_on=["server"])
    assert " passed" in environment.tests(tree)


def test_every_command_runs_with_all_extras_and_the_oldest_libraries_that_are_declared(
    install: Install, project: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    declared = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    pins = tmp_path / "lowest.txt"
    pins.write_text("".join(f"{oldest(each)}\n" for each in declared), encoding="utf-8")
    environment = install(",".join(EXTRAS), pins)
    assert not environment.lacking(tmp_path)
    project.plugin("fetcher", code=USES_HTTP, manifest='resources.required = ["http_client"]\n')
    project.write("user/tests/test_it.py", OWN_TEST)
    with unasked() as port:  # What a server's schema refers to, nobody fetches.
        mcp_plugin(project, "server", code=SERVER.format(port=port))
        project.plugin("caller", code=USES_SERVER, depends_on=["server"])
        every_command_runs(environment, project, watch, "5 plugins: 5 passed")
    the_page_is_complete(environment, project, watch)


def the_page_is_complete(
    environment: Environment, project: PluginTree, watch: Callable[..., Watching]
) -> None:
    running = watch(
        *("plugins/plain", "--page"),
        columns=100,
        program=[str(environment.programs / "dagstack-dev")],
        environment={"PYTHONPATH": ""},
    )
    base, _, token = running.line("page  http").split()[-1].partition("?token=")
    with urlopen(base) as answer:
        assert answer.read() == (WEB / "index.html").read_bytes()
    for file in filter(Path.is_file, WEB.rglob("*")):
        with urlopen(f"{base}{file.relative_to(WEB)}") as answer:
            assert answer.read() == file.read_bytes()
    status = Request(f"{base}api/status", headers={"Authorization": f"Bearer {token}"})
    with urlopen(status) as answer:
        assert json.load(answer)["plugins"][0]["plugin"] == "demo/plain"
    assert running.end(signal.SIGINT) == 0


def every_command_runs(
    environment: Environment, project: PluginTree, watch: Callable[..., Watching], summary: str
) -> None:
    folder = project.root.parent
    assert "dagstack-dev " in environment.run("dagstack-dev", "--version", cwd=folder).stdout
    assert summary in environment.tests(project)
    listed = environment.run("dagstack-dev", "new", "--list", cwd=folder).stdout.splitlines()
    for template in [line.split()[0] for line in listed]:
        new = ("new", template, "--template", template, "--into", "new")
        made = environment.run("dagstack-dev", *new, cwd=folder)
        assert made.returncode == 0, made.stderr
    checked = environment.run("dagstack-dev", "check", "new", cwd=folder).stdout
    assert "4 plugins checked" in checked
    assert "new/python" not in checked
    shown = environment.run("dagstack-dev", "docs", "mcp", cwd=folder)
    assert shown.stdout == (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8"), shown.stderr
    why = environment.run("dagstack-dev", "why", "plugins/plain/plugin.py", "plugins", cwd=folder)
    assert "demo/user" in why.stdout, why.stderr
    running = watch(
        *("plugins", "--hookspecs", "plugins/kinds.yaml"),
        program=[str(environment.programs / "dagstack-dev")],
        environment={"PYTHONPATH": ""},
    )
    running.event("plugin.ready", plugin="demo/user")
    project.plugin("user", value=2, depends_on=["plain"])
    running.event("reload.committed")
    assert running.end(signal.SIGINT) == 0
    assert not running.errors
