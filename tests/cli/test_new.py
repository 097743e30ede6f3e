"""`dagstack-dev new`: what it writes is right at once, and nothing is overwritten."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from asking import Asking
from command_runs import CHECKOUT, GUARD_SECONDS, Watching, inherited
from trees import PluginTree

from dagstack_dev.cli.main import cli
from dagstack_dev.cli.new import TEMPLATES

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node found")


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


@pytest.mark.timeout(200)  # The SDK takes a second to import, in each of ten processes.
@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("python", "tool/True"),
        ("package", "llm/my-own.3"),
        ("mcp-python", "llm/my-own.3"),
        pytest.param("mcp-javascript", "llm/my-own.3", marks=needs_node),
    ],
)
def test_a_new_plugin_passes_check_and_test(ask: Asking, template: str, name: str) -> None:
    made = ask.run("new", name, "--template", template)
    assert made.returncode == 0, made.stderr
    folder = ask.folder / "plugins" / name.partition("/")[2]
    files = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
    said = re.findall(r"^  (\S+)$", made.stdout.partition("next:")[0], re.MULTILINE)
    assert {*said} == {*files, "../dagstack.schema.json", "../../AGENTS.md"}
    schema = (folder / "dagstack.toml").read_text().partition("\n")[0].removeprefix("#:schema ")
    assert (folder / schema).read_text() == ask.run("schema").stdout
    assert "greeter" not in "".join((folder / each).read_text().lower() for each in files)
    checked = ask.run("check", "plugins")
    assert checked.returncode == 0, checked.stdout
    assert "1 plugin checked, nothing found" in checked.stdout
    tested = ask.run("test", "plugins", timeout=180)
    assert tested.returncode == 0, tested.stdout
    assert f"{name}  plugins/" in tested.stdout
    assert "skipped" not in tested.stdout, "there are samples"
    assert re.search(r"^  tests +[12] passed", tested.stdout, re.MULTILINE)


def test_the_steps_that_are_named_next_work(ask: Asking, watch: Callable[..., Watching]) -> None:
    steps = ask.run("new", "tool/greeter").stdout.partition("next:\n")[2]
    commands = [line.partition("#")[0].split() for line in steps.splitlines()]
    assert [each[:2] for each in commands] == [
        ["dagstack-dev", each] for each in ("watch", "call", "test")
    ]
    running = watch(*commands[0][2:], "--log-format", "json")
    running.event("plugin.ready", plugin="tool/greeter")
    assert ask.run(*commands[1][1:]).stdout == "Hello, Ada!\n"
    assert "  greet(name: str) -> str  plugins/" in ask.run("status", "greeter").stdout
    assert "greet(name: str) -> str: missing" in ask.run("call", "greeter", "greet").stderr
    assert ask.run(*commands[2][1:]).returncode == 0


def test_a_plugin_comes_into_the_folder_that_is_watched(
    tree: PluginTree, ask: Asking, watch: Callable[..., Watching]
) -> None:
    root = tree.root.parent / "extensions"
    PluginTree(root).plugin("first")
    running = watch("extensions", "--log-format", "json")
    running.event("watch.started")
    said = ask.run("new", "second").stdout
    assert "tool/second is in extensions/second:" in said
    assert "dagstack-dev watch" not in said
    running.event("plugin.ready", plugin="tool/second")
    assert running.end() == 0
    assert not [each for each in running.events if each["level"] in {"warning", "error"}]


def test_a_plugin_comes_into_the_folder_that_the_settings_name(ask: Asking) -> None:
    (ask.folder / "dagstack-dev.toml").write_text('paths = ["extensions"]\n')
    assert ask.run("new", "first").returncode == 0
    assert (ask.folder / "extensions/first/plugin.py").exists()


def test_a_plugin_comes_into_the_folder_that_a_variable_names(tmp_path: Path) -> None:
    ask = Asking(tmp_path, {"DAGSTACK_DEV_PATHS": os.pathsep.join(["ours", "theirs"])})
    (tmp_path / "dagstack-dev.toml").write_text('paths = ["extensions"]\n')
    assert ask.run("new", "first").returncode == 0
    assert (tmp_path / "ours/first/plugin.py").exists()


def test_a_path_in_the_settings_may_begin_at_the_home_folder(tmp_path: Path) -> None:
    ask = Asking(tmp_path, {"HOME": str(tmp_path / "home")})
    (tmp_path / "dagstack-dev.toml").write_text('paths = ["~/extensions"]\n')
    assert ask.run("new", "first").returncode == 0
    assert (tmp_path / "home/extensions/first/plugin.py").exists()


def test_what_agents_are_told_is_true(ask: Asking, watch: Callable[..., Watching]) -> None:
    ask.run("new", "web/shop", "--into", "my plugins")
    told = (ask.folder / "AGENTS.md").read_text()
    start, *commands = [
        shlex.split(each)[1:] for each in re.findall(r"`(dagstack-dev [^`]+)`", told)
    ]
    running = watch(*start[1:], "--log-format", "json")
    running.event("plugin.ready", plugin="web/shop")
    wait, status, call, test, *rest = commands
    assert [each[0] for each in (test, *rest)] == ["test", "check", "logs", "docs", "docs"]
    test += ["--check", "manifest"]  # The rest takes seconds, and is tested elsewhere.
    for command in (wait, status, call, test, *rest):
        done = ask.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    plugin = ask.folder / "my plugins/shop/plugin.py"
    plugin.write_text(plugin.read_text() + ")")
    assert ask.run(*wait).returncode == 1
    assert "unmatched ')' at my plugins/shop/plugin.py:" in ask.run(*status).stdout
    assert ask.run(*call).stdout == "Hello, Ada!\n"
    plugin.write_text(plugin.read_text()[:-1])
    assert ask.run(*wait).returncode == 0


def test_what_agents_are_told_lies_with_the_settings_and_is_written_once(ask: Asking) -> None:
    (ask.folder / "dagstack-dev.toml").write_text('paths = ["extensions"]\n')
    below = Asking(ask.folder / "docs")
    below.folder.mkdir()
    assert "\n  ../../AGENTS.md\n" in below.run("new", "first").stdout
    told = ask.folder / "AGENTS.md"
    assert "dagstack-dev watch extensions/" in told.read_text()
    told.write_text("mine")
    assert "AGENTS.md" not in ask.run("new", "second").stdout
    assert told.read_text() == "mine"


def test_what_agents_are_told_lies_with_plugins_that_are_elsewhere(tmp_path: Path) -> None:
    ask = Asking(tmp_path / "here")
    ask.folder.mkdir()
    assert ask.run("new", "first", "--into", "../there").returncode == 0
    told = (tmp_path / "there/AGENTS.md").read_text()
    assert "dagstack-dev test ./ --plugin tool/first" in told


def test_the_steps_can_be_pasted_wherever_the_plugin_is(ask: Asking) -> None:
    said = ask.run("new", "first", "--into", "my plugins").stdout
    assert "  dagstack-dev watch 'my plugins'/\n" in said
    assert "  dagstack-dev test 'my plugins/first'\n" in said


def test_nothing_is_overwritten(tree: PluginTree, ask: Asking) -> None:
    tree.write("greeter/plugin.py", "mine")
    done = ask.run("new", "tool/greeter")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dagstack-dev: plugins/greeter/plugin.py already exists\n"
    assert [each.name for each in (tree.root / "greeter").iterdir()] == ["plugin.py"]
    tree.plugin("greeter", kind="tool", folder="elsewhere")
    assert "tool/greeter already exists in plugins/elsewhere" in ask.run("new", "greeter").stderr
    assert ask.run("new", "other", "--into", "plugins/elsewhere").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the plugin: dagstack-dev new tool/greeter"),
        (["tool/json"], "'json' is a module of Python; call it json_tool, say"),
        (["node_modules"], "no plugin is looked for in a folder 'node_modules'"),
        (["tool/a b"], "name 'a b': may hold letters"),
        (["a/b/c"], "kind 'a/b': may hold letters"),
        (["tool/"], "name '': may hold letters"),
        (["a", "--template", "pyton"], "'pyton' is not one of"),
        (["--app", "--into", "plugins"], "neither --template nor --into"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(
    ask: Asking, arguments: list[str], words: str
) -> None:
    done = ask.run("new", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(ask.folder.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(ask: Asking) -> None:
    (ask.folder / "plugins").write_text("a file")
    done = ask.run("new", "greeter")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"dagstack-dev: plugins/greeter/\S+: .*\n", done.stderr)


def at_a_terminal(folder: Path, *arguments: str, typed: str) -> str:
    """Run `new` at a terminal to its end; what is seen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", "new", *arguments],
        cwd=folder,
        env=inherited() | CHECKOUT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b""
        try:
            while part := os.read(ours, 4096):
                seen += part
        except OSError:
            pass  # A terminal ends with an error.
        assert process.wait(GUARD_SECONDS) == 0, seen
    os.close(ours)
    return seen.decode()


def test_at_a_terminal_the_name_and_the_template_are_asked_for(tmp_path: Path) -> None:
    seen = at_a_terminal(tmp_path, typed="tool/json\nllm/first\npackage\n")
    assert "'json' is a module of Python" in seen
    assert "Template (python, package, mcp-python, mcp-javascript) [python]:" in seen
    assert (tmp_path / "plugins/first/wording.py").exists()
    seen = at_a_terminal(tmp_path, "--template", "python", typed="second\n")
    assert "Template" not in seen


def test_at_a_terminal_a_name_is_enough(tmp_path: Path) -> None:
    seen = at_a_terminal(tmp_path, "tool/third", typed="")
    assert seen.startswith("tool/third is in plugins/third:")
    assert (tmp_path / "plugins/third/plugin.py").exists()


def test_every_template_is_listed_and_can_be_asked_for(ask: Asking) -> None:
    (option,) = (each for each in cli.commands["new"].params if each.name == "template")
    assert isinstance(option.type, click.Choice)
    assert [*option.type.choices] == [*TEMPLATES]
    listed = ask.run("new", "--list").stdout
    assert [line.split(maxsplit=1) for line in listed.splitlines()] == [
        [*each] for each in TEMPLATES.items()
    ]


def test_a_new_app_runs_and_its_plugin_is_reloaded(ask: Asking) -> None:
    made = ask.run("new", "--app", "hello")
    assert made.returncode == 0, made.stderr
    steps = made.stdout.partition("next:\n")[2].splitlines()
    assert steps[0] == "  python hello/app.py"
    assert "run under `python app.py`" in (ask.folder / "hello/AGENTS.md").read_text()
    assert ask.run("check", "hello/plugins").returncode == 0
    assert "hello/app.py already exists" in ask.run("new", "--app", "hello").stderr
    plugin = ask.folder / "hello/plugins/greeter/plugin.py"
    with subprocess.Popen(
        [sys.executable, "hello/app.py"],
        cwd=ask.folder,
        env=inherited() | CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as app:
        assert app.stdout is not None
        assert app.stdout.readline() == "Hello, Ada!\n"
        plugin.write_text(plugin.read_text().replace('"Hello"', '"Good morning"'))
        assert "Good morning, Ada!\n" in iter(app.stdout.readline, "")
        assert ask.run(*steps[1].partition("#")[0].split()[1:]).returncode == 0
        ended = ask.run("stop", "--server", "hello/plugins")
        assert ended.returncode == 0, ended.stderr
        app.stdout.read()
        assert app.wait(GUARD_SECONDS) == 0
        assert app.stderr is not None
        assert "Traceback" not in app.stderr.read()
