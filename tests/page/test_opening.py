"""The page is opened in the browser, and files in the editor, or it is said that they cannot be."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from asking import Asking
from command_runs import Watching
from pages import paging, problem
from trees import PluginTree

from dagstack_dev.api.socket import find_server
from dagstack_dev.core.events import WatchProblem
from dagstack_dev.page.access import address_in, agents_in

OPENS = '#!/bin/sh\necho "$1" > opening\nmv opening opened\n'
FAILS = "#!/bin/sh\nexit 3\n"


class Desktop:
    """What opens files and URLs for a person: `xdg-open`, or on macOS `open`.

    Attributes:
        variables: of the environment in which it is found, and nothing else is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = [folder / "bin" / name for name in ("xdg-open", "open")]
        self.variables = {"PATH": str(folder / "bin")}
        (folder / "bin").mkdir()

    def does(self, script: str | None) -> None:
        for each in self._programs:
            each.unlink(missing_ok=True)
            if script is not None:
                each.write_text(script.replace("mv ", "/bin/mv "))
                each.chmod(0o755)

    def opened(self) -> str:
        """What it was given, waited for."""
        opened = self._folder / "opened"
        while not opened.exists():
            time.sleep(0.01)
        text = opened.read_text()
        opened.unlink()
        return text.rstrip("\n")


@pytest.fixture
def desktop(tmp_path: Path) -> Desktop:
    return Desktop(tmp_path)


def test_a_key_serves_the_page_and_opens_it(
    tree: PluginTree, desktop: Desktop, sockets: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    desktop.does(OPENS)
    run = watch("plugins", columns=300, typing=True, environment=desktop.variables)
    run.line("press h for help")
    os.write(run.terminal, b"o")
    (address,) = re.findall(r"http://\S+", run.line("page  http"))
    base = address.partition("?")[0]
    run.line(f"opening {base}")
    file = Path(desktop.opened())
    assert file.parent == sockets
    assert file.stat().st_mode & 0o777 == 0o600
    assert address_in(file) == address
    assert f'content="0; url={address}"' in file.read_text()
    with urlopen(address) as answer:
        assert b'name="origin-secret"' in answer.read()
    os.write(run.terminal, b"o")
    run.line(f"opening {base}")
    assert desktop.opened() == str(file)
    desktop.does(FAILS)
    os.write(run.terminal, b"o")
    run.line(f"{base} cannot be opened: ")
    assert run.screen.endswith("has failed, with exit code 3")
    desktop.does(None)
    os.write(run.terminal, b"o")
    run.line("cannot be started: No such file or directory")
    assert run.end() == 0
    assert run.screen.count(address) == 1
    assert not file.exists()
    assert run.errors == ""


def test_an_editor_that_is_not_there_is_not_said_to_open_anything(
    tree: PluginTree, desktop: Desktop, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one", code="class Plugin\n")
    run = watch("plugins", columns=300, typing=True, environment=desktop.variables)
    run.line("press h for help")
    os.write(run.terminal, b"f")
    run.line("plugins/one/plugin.py:1 cannot be opened: ")
    desktop.does(OPENS)
    os.write(run.terminal, b"f")
    assert desktop.opened().endswith("/plugins/one/plugin.py")
    assert run.end() == 0


def test_a_command_has_the_page_served_and_opens_it(
    tree: PluginTree, tmp_path: Path, desktop: Desktop, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    run = watch("plugins", "--log-format", "json")
    run.event("watch.started")
    ask = Asking(tmp_path, desktop.variables)
    assert ask.json("status")["page"] is None
    done = ask.run("page")
    address = done.stdout.rstrip("\n")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S+", address)
    assert "it cannot be opened here: " in done.stderr
    base, _, token = address.partition("?token=")
    status = ask.run("status")
    assert f"page: {base}; open it with: dagstack-dev page" in status.stdout
    told = status.stdout + ask.run("status", "--json").stdout
    assert token not in told
    assert ask.json("page")["agents_token"] not in told
    desktop.does(OPENS)
    done = ask.run("page")
    assert (done.stdout, done.stderr) == (f"{address}\n", "")
    file = desktop.opened()
    agents_url, agents_token = agents_in(Path(file))
    assert ask.json("page") == {
        "url": base,
        "file": file,
        "address": address,
        "agents_url": agents_url,
        "agents_token": agents_token,
    }
    assert agents_url == f"{base}mcp"
    agents = ask.run("page", "--agents")
    assert agents.stdout == f"{agents_url}\nAuthorization: Bearer {agents_token}\n"
    assert ask.run("page", "--no-open").stdout == f"{address}\n"
    assert run.end() == 0
    assert not Path(file).exists()
    assert token not in "".join(run.lines) + run.errors
    assert agents_token not in "".join(run.lines) + run.errors


def test_what_a_killed_server_has_left_of_its_page_is_removed(
    tree: PluginTree, tmp_path: Path, sockets: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    run = watch("plugins", "--page", "--log-format", "json")
    run.event("watch.started")
    assert len([*sockets.glob("*.html")]) == 1
    run.end(signal.SIGKILL)
    assert find_server(tmp_path) is None
    assert [*sockets.iterdir()] == []


async def test_a_port_that_is_taken_is_reported_and_the_rest_runs(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = watch("plugins", "--page", "--page-port", port, "--log-format", "json")
        message = run.event("watch.problem")["message"]
        assert message.startswith("the page cannot be served: ")
        assert str(port) in message
        run.event("watch.started")
        asked = Asking(tmp_path).run("page", "--no-open")
        assert asked.returncode == 1
        assert str(port) in asked.stderr
    asked = Asking(tmp_path).run("page", "--no-open")
    assert asked.stdout.startswith(f"http://127.0.0.1:{port}/?token=")
    assert run.end() == 0


async def test_files_that_the_server_watches_are_opened_and_no_others(
    tree: PluginTree, tmp_path: Path
) -> None:
    tree.plugin("one")
    outside = tmp_path / "outside.py"
    outside.write_text("")
    linked = tmp_path / "linked"
    (tree.root / "one").rename(linked)
    (tree.root / "one").symlink_to(linked)
    (tree.root / "leads_outside.py").symlink_to(outside)
    plugin = tree.root / "one" / "plugin.py"
    opened: list[tuple[str, int]] = []
    async with paging(tree, on_open=lambda *place: opened.append(place)) as page:
        answer = await page.post("/api/open", path=str(plugin), line=7)
        assert answer.status == 200, answer.content
        answer = await page.post("/api/open", path=str(linked / "plugin.py"))
        assert answer.json == {"message": f"opening {linked / 'plugin.py'}:1"}
        assert opened == [(str(linked / "plugin.py"), 7), (str(linked / "plugin.py"), 1)]
        opened.clear()
        for path in (
            str(outside),
            f"{tree.root}/../outside.py",
            f"{tree.root}/leads_outside.py",
            f"{tree.root}/none.py",
            f"{tree.root}",
            f"{tree.root}2/plugin.py",
            "plugins/one/plugin.py",
            "one/plugin.py",
            "/etc/passwd",
            "/dev/null",
            "",
        ):
            answer = await page.post("/api/open", path=path)
            assert problem(answer) == (404, "no-such-file"), path
        for odd in ({"path": "/\0"}, {"path": f"{plugin}", "line": 0}, {"path": 1}, {}):
            answer = await page.post("/api/open", **odd)
            assert problem(answer) in {(400, "bad-request"), (404, "no-such-file")}
        assert opened == []


async def test_it_is_said_that_nothing_opens_a_file(tree: PluginTree) -> None:
    tree.plugin("one")
    plugin = str(tree.root / "one" / "plugin.py")
    async with paging(tree) as page:
        answer = await page.post("/api/open", path=plugin)
        assert problem(answer) == (409, "unavailable")
        assert "LocalApi(on_open=function)" in answer.json["detail"]

    def fail(path: str, line: int) -> None:
        raise OSError(f"no screen for {path}:{line}")

    async with paging(tree, on_open=fail) as page:
        answer = await page.post("/api/open", path=plugin)
        assert answer.json["detail"] == f"no screen for {plugin}:1"
        assert not page.live.of(WatchProblem)
