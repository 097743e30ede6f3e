"""The playground with a plugin in JavaScript and one that is a remote service, as it is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_runs import GUARD_SECONDS, Watching
from node_packages import NODE_MODULES, needs_node
from playgrounds import PLAYGROUND, copy_tree

MIXED = PLAYGROUND / "mixed"


class Weather:
    """The remote service, as a process that can be killed and started again."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        program = (sys.executable, MIXED / "weather_service.py", "--while-stdin-open")
        self.process = subprocess.Popen(
            [*program, "--port", str(self.port)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        found = re.search(r":(\d+)/mcp", self.process.stderr.readline())
        assert found is not None
        self.port = int(found[1])

    def kill(self) -> None:
        self.process.kill()
        self.leave()

    def leave(self) -> None:
        """Close its standard input, which is to end it."""
        self.process.communicate(timeout=GUARD_SECONDS)


@pytest.fixture
def weather() -> Iterator[Weather]:
    weather = Weather()
    yield weather
    weather.leave()


@pytest.fixture
def running(
    tmp_path: Path, weather: Weather, watch: Callable[..., Watching]
) -> tuple[Path, Watching]:
    """A copy of the plugins, and the command that watches it."""
    copy_tree(MIXED / "plugins", tmp_path / "plugins")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    replace(tmp_path / "plugins/weather/dagstack.toml", ":8766/", f":{weather.port}/")
    config = tmp_path / "config.toml"
    config.write_text("[clock.ticker]\ninterval_sec = 0.05\n", encoding="utf-8")
    environment = {"NO_PROXY": "127.0.0.1"}
    command = watch("plugins", "--config", config, "--log-format", "json", environment=environment)
    tick(command, "Hello")
    return tmp_path / "plugins", command


def tick(command: Watching, greeting: str) -> None:
    """Wait for a report that begins so; how numbers look, Node decides."""
    command.until(
        lambda line: '"event": "tick"' in line and f'"report": "{greeting}, world' in line
    )


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@needs_node
def test_editing_javascript_reloads_its_plugin_and_what_depends_on_it(
    running: tuple[Path, Watching],
) -> None:
    plugins, command = running
    replace(plugins / "phrases/phrases.mjs", "Hello", "Ahoy")
    committed = command.event("reload.committed")
    assert set(committed["affected"]) == {"text/phrases", "job/report", "clock/ticker"}
    tick(command, "Ahoy")

    replace(plugins / "phrases/server.mjs", "serveStdio(createServer);", "serveStdio(")
    rolled_back = command.event("reload.rolled_back")
    assert "SyntaxError" in str(rolled_back)
    tick(command, "Ahoy")

    replace(plugins / "phrases/server.mjs", "serveStdio(", "serveStdio(createServer);")
    replace(plugins / "report/plugin.py", 'LANGUAGE = "en"', 'LANGUAGE = "fr"')
    tick(command, "Bonjour")
    assert command.end() == 0
    assert command.errors == ""


@needs_node
def test_a_service_that_goes_away_and_comes_back_takes_its_dependents_along(
    running: tuple[Path, Watching], weather: Weather
) -> None:
    _, command = running
    weather.kill()
    failed = command.event("plugin.failed", plugin="data/weather")
    assert "nothing listens" in str(failed)
    command.event("plugin.blocked", plugin="clock/ticker")
    weather.start()
    command.event("plugin.ready", plugin="data/weather")
    tick(command, "Hello")
    assert command.end() == 0
    assert command.errors == ""


def test_the_service_ends_with_its_standard_input(weather: Weather) -> None:
    weather.leave()
    assert weather.process.returncode == 0


def test_ctrl_c_is_not_meant_for_the_service(weather: Weather) -> None:
    # It is sent to the group of the process that reads the keyboard.
    assert os.getpgid(weather.process.pid) != os.getpgid(0)


def test_the_readme_lists_every_plugin() -> None:
    readme = (PLAYGROUND / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\|.*\| `mixed/plugins/(.+?)` ", readme, re.MULTILINE)
    assert set(listed) == {path.parent.name for path in MIXED.glob("plugins/*/dagstack.toml")}
