"""Commands that ask a running server, on the real command."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from asking import QUIET_START, Asking
from command_runs import CHECKOUT, GUARD_SECONDS, Watching, inherited
from trees import PluginTree

from dagstack_dev.api import client
from dagstack_dev.cli import remote

GREETER = """
import pathlib, time

class Plugin:
    def setup(self, ctx):
        self.log, self.words = ctx.logger, []

    def greet(self, name: str, times: int = 1):
        self.log.info("greeting", whom=name)
        return {"text": f"Hello, {name}!" * times}

    def fail(self):
        raise ValueError("no such luck")

    async def later(self):
        return "now"

    def block(self):
        pathlib.Path("blocked").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)

    def interrupt(self):
        raise KeyboardInterrupt("mine")

    async def interrupt_later(self):
        raise KeyboardInterrupt("mine")

    def odd(self):
        return object()
"""


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


@pytest.fixture
def watching(tree: PluginTree, watch: Callable[..., Watching]) -> Watching:
    tree.plugin("greeter", code=GREETER)
    tree.plugin("user", depends_on=["greeter"])
    run = watch("plugins", "--log-format", "json", environment=QUIET_START)
    run.event("watch.started")
    return run


def test_status_shows_every_plugin_and_whether_it_is_what_is_on_disk(
    watching: Watching, ask: Asking
) -> None:
    done = ask.run("status")
    assert done.returncode == 0
    assert "2 plugins, all as on disk" in done.stdout
    assert "└── demo/user" in done.stdout
    status = ask.json("status")
    assert [each["plugin"] for each in status["plugins"]] == ["demo/greeter", "demo/user"]
    for each in status["plugins"]:
        receipt = each["receipt"]
        assert receipt["is_current"]
        assert receipt["running"] == receipt["on_disk"]


def test_wait_ends_with_zero_only_when_what_runs_is_what_is_on_disk(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    before = ask.json("status", "greeter")[0]["receipt"]["running"]
    tree.plugin("greeter", code=GREETER + "\n# edited\n")
    after = ask.json("wait")
    assert after["plugins"][0]["receipt"]["running"] != before
    tree.plugin("greeter", code="def (")
    status = ask.json("wait", code=1)
    assert not status["is_current"]
    receipt = status["plugins"][0]["receipt"]
    assert receipt["running"] != receipt["on_disk"]
    assert receipt["pending"].startswith("SyntaxError: ")
    assert receipt["generation"] == 2
    done = ask.run("status", "greeter")
    assert done.returncode == 1
    assert "pending" in done.stdout
    tree.plugin("greeter", code=GREETER)
    assert ask.run("wait").returncode == 0


def test_wait_names_what_is_refused_though_no_plugin_has_it(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    tree.write("new/dagstack.toml", "[plugin\n")
    done = ask.run("wait")
    assert done.returncode == 1
    assert "3 plugins, 2 as on disk\nplugins/new: " in done.stdout
    assert ask.run("status").returncode == 1
    tree.plugin("new")
    assert ask.run("wait").returncode == 0


def test_a_watched_folder_that_is_gone_is_not_as_on_disk(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    elsewhere = tree.root.with_name("elsewhere")
    tree.root.rename(elsewhere)
    watching.event("watch.problem")
    for command in ("status", "wait"):
        done = ask.run(command)
        assert done.returncode == 1
        assert done.stdout.startswith("2 plugins\nplugins: the folder was replaced or is gone; ")
    elsewhere.rename(tree.root)
    watching.event("watch.recovered")
    assert ask.run("wait").returncode == 0


def test_a_file_of_the_app_that_cannot_be_read_is_named_with_its_line_once(
    tree: PluginTree, watch: Callable[..., Watching], ask: Asking
) -> None:
    tree.plugin("greeter")
    config = tree.root.with_name("dev.toml")
    config.write_text("")
    run = watch("plugins", "--config", "dev.toml")
    run.event("watch.started")
    config.write_text("a = b\n")
    run.event("plugin.rejected")
    (line,) = (line for line in ask.run("status").stdout.splitlines() if "dev.toml" in line)
    assert (
        line == 'dev.toml: is not valid TOML: Invalid value; text needs quotes: "b" at dev.toml:1'
    )


def test_what_is_blocked_names_its_root_cause(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    tree.plugin("bad", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    tree.plugin("long", code="raise RuntimeError('no key\\nsecond line')\nclass Plugin: ...\n")
    tree.plugin("above", depends_on=["bad"])
    status = ask.json("wait", code=1)
    (above,) = (each for each in status["plugins"] if each["plugin"] == "demo/above")
    assert above["receipt"]["because"][:2] == ["demo/above", "demo/bad"]
    assert "ZeroDivisionError" in above["receipt"]["because"][-1]
    shown = ask.run("status").stdout
    assert "demo/bad" in shown
    assert "no key\n" in shown
    assert "second line" not in shown


def test_a_reload_without_an_edit_makes_a_new_generation(watching: Watching, ask: Asking) -> None:
    status = ask.json("reload", "greeter")
    assert [each["receipt"]["generation"] for each in status["plugins"]] == [2, 1]
    (reload,) = (ask.json("status", "demo/greeter")[0]["last_reload"],)
    steps = [each["step"] for each in reload["spans"] if each["plugin"] == "demo/greeter"]
    assert steps == ["teardown", "import", "setup"]
    done = ask.run("reload")
    assert done.returncode == 2
    assert "name a plugin, or say --all" in done.stderr


def test_a_call_coerces_its_arguments_by_the_annotations(watching: Watching, ask: Asking) -> None:
    answer = ask.json("call", "greeter", "greet", "name=42", "times=2")
    assert answer["result"] == {"text": "Hello, 42!Hello, 42!"}
    answer = ask.json("call", "greeter", "greet", "--json-args", '{"name": "Ada"}')
    assert answer["result"] == {"text": "Hello, Ada!"}
    assert ask.run("call", "greeter", "later").stdout == "now\n"
    assert ask.run("call", "greeter", "odd").stdout.startswith("<object object")
    done = ask.run("call", "greeter", "greet", "name=Ada", "times=often")
    assert done.returncode == 1
    assert "write, for example: times=1" in done.stderr
    assert "missing a required argument: 'name'" in ask.run("call", "greeter", "greet").stderr


TYPED = """
from pathlib import Path
from typing import Literal
from pydantic import BaseModel

class Item(BaseModel):
    name: str
    tags: list[str]

class Plugin:
    def put(self, xs: list[int] = (), item: Item | None = None, way: Literal["up", "down"] = "up",
            words: set[str] = (), path: Path | None = None, n: int = 1):
        ...
"""


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("xs=1,2", "xs: should be a valid list; write, for example: 'xs=[1, 2]'"),
        ("xs=a", "xs: should be a valid list; write, for example: 'xs=[1]'"),
        ("words=a, b", """should be a valid set; write, for example: 'words=["a", "b"]'"""),
        ("item=pen", """write, for example: 'item={"name": "text", "tags": ["text"]}'"""),
        ('item={"name": "pen"}', "tags: Field required; write, for example: 'item="),
        ("way=left", "way: should be 'up' or 'down'; write, for example: way=up"),
        ("n=many", "unable to parse string as an integer; write, for example: n=1"),
        ("n=", "n needs a value; write, for example: n=1"),
        ("wrods=1", "there is no argument 'wrods'; did you mean 'words'?"),
        ("nix=1", "path: Path | None = None, n: int = 1): there is no argument 'nix'"),
    ],
)
def test_arguments_that_do_not_fit_are_answered_with_what_to_write(
    watching: Watching, ask: Asking, tree: PluginTree, argument: str, says: str
) -> None:
    tree.plugin("typed", code=TYPED)
    watching.event("reload.committed")
    done = ask.run("call", "typed", "put", argument)
    assert done.returncode == 1
    assert says in done.stderr


def test_an_argument_that_is_given_twice_is_refused(ask: Asking) -> None:
    done = ask.run("call", "greeter", "greet", "name=Ada", "name=Eve")
    assert done.returncode == 2
    assert "name= is given twice; write a list as 'name=[1, 2]'" in done.stderr


def test_a_call_that_raises_names_the_lines_of_the_plugin(watching: Watching, ask: Asking) -> None:
    done = ask.run("call", "greeter", "fail")
    assert done.returncode == 1
    assert "ValueError: no such luck" in done.stderr
    assert "plugins/greeter/plugin.py:13 in " in done.stderr
    assert "no method 'nix'" in ask.run("call", "greeter", "nix").stderr
    assert "no method 'gret'; did you mean 'greet'?" in ask.run("call", "greeter", "gret").stderr
    assert "unavailable" not in ask.run("call", "greeter", "gret").stderr
    assert "such as name=Ada\n" in ask.run("call", "greeter", "greet", "Ada").stderr
    assert "its attribute 'words' is no method" in ask.run("call", "greeter", "words").stderr


@pytest.mark.parametrize("method", ["interrupt", "interrupt_later"])
def test_a_call_that_raises_an_interruption_has_failed_and_nothing_else(
    watching: Watching, ask: Asking, method: str
) -> None:
    done = ask.run("call", "greeter", method)
    assert done.returncode == 1
    assert "KeyboardInterrupt: mine" in done.stderr
    assert "plugins/greeter/plugin.py:" in done.stderr
    assert ask.run("status").returncode == 0
    assert watching.end() == 0
    assert "never retrieved" not in watching.errors


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("status", "greter"), "; did you mean 'greeter'?"),
        (("call", "greter", "greet"), "; did you mean 'greeter'?"),
        (("reload", "demo-user"), "; did you mean 'demo/user'?"),
        (("logs", "nope"), ""),
        (("logs", "demo/greter"), "; did you mean 'demo/greeter'?"),
        (("events", "demo/greter"), "; did you mean 'demo/greeter'?"),
    ],
)
def test_a_name_that_no_plugin_has_is_one_line(
    watching: Watching, ask: Asking, arguments: tuple[str, ...], hint: str
) -> None:
    done = ask.run(*arguments)
    word = arguments[1]
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"dagstack-dev: there is no plugin {word!r}{hint}\n"


def test_a_called_method_that_blocks_the_loop_is_reported_by_those_who_ask_and_by_itself(
    watching: Watching, ask: Asking, tmp_path: Path
) -> None:
    blocking = threading.Thread(target=ask.run, args=("call", "greeter", "block"))
    blocking.start()
    while not (tmp_path / "blocked").exists():
        pass
    shown = ask.run("status").stdout
    at = watching.event("plugin.blocking", plugin="demo/greeter", method="block")
    (tmp_path / "go").touch()
    watching.event("plugin.blocking_ended", plugin="demo/greeter", method="block")
    blocking.join()
    assert "the event loop has been blocked by demo/greeter for at least " in shown
    assert at["path"] == str(tmp_path / "plugins/greeter/plugin.py")


def test_logs_and_events_can_be_asked_for(watching: Watching, ask: Asking) -> None:
    ask.run("call", "greeter", "greet", "name=Ada")
    (logged,) = (each for each in ask.run("logs", "greeter").stdout.splitlines() if "Ada" in each)
    assert "demo/greeter  greeting  whom=Ada" in logged
    assert "plugin.ready" in ask.run("events", "user").stdout
    assert ask.run("events", "--level", "error").stdout == ""


def test_an_error_is_a_line_with_its_place(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    tree.plugin("greeter", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    words = "ZeroDivisionError: division by zero at plugins/greeter/plugin.py:3"
    assert ask.run("wait").returncode == 1
    for command in ("events", "logs"):
        shown = ask.run(command, "greeter", "--level", "error").stdout
        assert f"  error={words}" in shown
        assert "{" not in shown
    assert f"  errors=demo/greeter: {words}" in ask.run("events", "--level", "error").stdout


@pytest.mark.parametrize("command", ["logs", "events"])
def test_a_reader_that_has_seen_enough_is_a_quiet_end(
    watching: Watching, ask: Asking, command: str
) -> None:
    with following(ask.folder, command) as (process, output, errors):
        output.close()
        assert ask.run("reload", "--all").returncode == 0
        assert errors.read() == ""
        assert process.wait(GUARD_SECONDS) == 0


@pytest.mark.parametrize("command", ["logs", "events"])
def test_the_end_of_the_server_is_reported_to_those_who_follow(
    watching: Watching, ask: Asking, command: str
) -> None:
    with following(ask.folder, command) as (process, output, errors):
        assert ask.run("stop").returncode == 0
        output.read()
        assert errors.read() == "dagstack-dev: the server has ended\n"
        assert process.wait(GUARD_SECONDS) == 0


@contextmanager
def following(
    folder: Path, command: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """Run a command that goes on, up to the last event there was: it, and both its outputs."""
    with subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", command, "-f"],
        cwd=folder,
        env=inherited() | CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if not any("watch.started" in line for line in process.stdout):
                pytest.fail(f"exit code {process.wait()}: {process.stderr.read()}")
            yield process, process.stdout, process.stderr
        finally:
            process.kill()


def test_edits_wait_while_the_server_is_paused(
    watching: Watching, ask: Asking, tree: PluginTree
) -> None:
    assert ask.run("pause").stdout == "paused: edits wait\n"
    tree.plugin("greeter", code="def (")
    assert "dagstack-dev resume" in ask.run("wait").stderr
    while (status := ask.json("status", code=None))["is_busy"] or not status["has_edits_waiting"]:
        pass
    shown = ask.run("status").stdout
    assert "paused: edits wait" in shown
    assert "2 plugins, 0 as on disk" in shown
    assert "an edit waits; `dagstack-dev resume` takes it in" in shown
    assert "its dependency demo/greeter is not what is on disk" in shown
    assert "a reload is under way" not in shown
    for what in (("status", "user"), ("reload", "greeter"), ("reload", "--all")):
        assert ask.run(*what).returncode == 1
    assert ask.run("resume").stdout == "resumed\n"
    watching.event("plugin.rejected", plugin="demo/greeter")


def test_stop_ends_the_server_in_order(watching: Watching, ask: Asking) -> None:
    done = ask.run("stop", "--server", "nope")
    assert done.returncode == 4
    assert done.stderr.startswith("dagstack-dev: no server runs for nope")
    assert ask.run("stop").returncode == 0
    assert watching.ended() == 0
    assert watching.events[-1]["event"] == "watch.stopped"
    done = ask.run("status")
    assert done.returncode == 4
    assert done.stderr.startswith("dagstack-dev: no server runs for ")


def test_a_blocked_event_loop_is_reported_with_its_line(
    tree: PluginTree, watch: Callable[..., Watching], ask: Asking, tmp_path: Path
) -> None:
    code = """
    import pathlib, time

    class Plugin:
        def setup(self, ctx):
            pathlib.Path("blocked").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
    """
    tree.plugin("blocker", code=code)
    run = watch("plugins", "--log-format", "json", environment=QUIET_START)
    while not (tmp_path / "blocked").exists():
        pass
    status = ask.json("status", code=1)
    assert not any(each["receipt"]["is_current"] for each in status["plugins"])
    assert "1 plugin, none known to be as on disk" in ask.run("status").stdout
    loop = status["main_loop"]
    assert not loop["is_at_least"]  # The setup's beginning is known.
    assert not loop["is_responding"]
    assert loop["plugin"] == "demo/blocker"
    assert "plugins/blocker/plugin.py:" in loop["at"]
    (tmp_path / "go").touch()
    run.event("watch.started")
    assert ask.json("status")["main_loop"]["is_responding"]


def test_a_server_that_is_stopped_by_a_signal_is_not_waited_for_whatever_is_asked_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "HELLO_SECONDS", 0.05)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        server = remote.Remote(Path(path))
        for what, body in (("stop", {}), ("reload", {"timeout_seconds": 3600})):
            with pytest.raises(remote.NoServer, match="it may be stopped, as by Ctrl-Z"):
                server.post(what, **body)
        with pytest.raises(remote.NoServer, match="it may be stopped, as by Ctrl-Z"):
            next(server.stream("logs", "stream"))
