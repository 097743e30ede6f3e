"""`dagstack-dev test`: every plugin against the contract, and its own tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_runs import CHECKOUT, GUARD_SECONDS
from trees import PluginTree

from dagstack_dev import ALL_CHECKS
from dagstack_dev.cli.main import cli

GOOD = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
        self.greeting = ctx.config.get("greeting", "Hello")

    def teardown(self):
        self.ctx = None

    async def greet(self, name):
        return {"text": f"{self.greeting}, {name}!"}
"""
SAMPLES = """
[greet]
arguments = { name = "Ann" }
expected = { text = "Hello, Ann!" }
"""
OWN_TESTS = """
from plugin import Plugin

async def test_it_greets(plugin_registry, plugin_context, frozen_clock, seeded_rng):
    plugin = Plugin()
    plugin.setup(plugin_context)
    assert plugin_context.resources.clock is frozen_clock
    assert plugin_context.resources.rng is seeded_rng
    assert await plugin.greet("Bob") == {"text": "Hello, Bob!"}

def test_the_clock(frozen_clock):
    before = frozen_clock.now()
    frozen_clock.advance(seconds=2)
    assert (frozen_clock.now() - before).total_seconds() == 2
"""


def run(tree: PluginTree, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dagstack_dev", "test", *arguments],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def good(tree: PluginTree, name: str = "greeter") -> Path:
    return tree.plugin(name, code=GOOD)


def test_a_good_plugin_passes_with_its_samples_and_its_own_tests(tree: PluginTree) -> None:
    folder = good(tree)
    tree.write(folder / "tests/contract.toml", SAMPLES)
    tree.write(folder / "tests/pytest.ini", "[pytest]\nasyncio_mode = auto\n")
    tree.write(folder / "tests/test_plugin.py", OWN_TESTS)
    done = run(tree, "plugins")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "demo/greeter plugins/greeter"
    checks = ("manifest", "lifecycle", "serialization", "determinism", "ambient_state")
    assert lines[1:6] == [f"{name} ok" for name in checks]
    assert lines[6].startswith("tests 2 passed")
    assert lines[-1] == "1 plugin: 1 passed"


FAULTS = {
    "manifest": ("", 'priority = "high"\n', "manifest FAILED", "priority"),
    "import": ("1 / 0\nclass Plugin: pass", "", "load FAILED", "ZeroDivisionError"),
    "setup": (
        "class Plugin:\n    def setup(self, ctx): raise LookupError('no luck')",
        "",
        "lifecycle FAILED",
        "LookupError: no luck",
    ),
    "leak": (
        "KEPT = []\nclass Plugin:\n    def setup(self, ctx): KEPT.append(self)",
        "",
        "lifecycle FAILED",
        "still referred to",
    ),
    "ambient": (
        "class Plugin: pass\nkept = {}\n",
        "",
        "ambient_state FAILED",
        "plugin.py:2: kept",
    ),
    "dependency": ("class Plugin: pass", "", "load FAILED", "nobody"),
}


def test_what_is_wrong_with_one_plugin_stops_no_other(tree: PluginTree) -> None:
    for name, (code, manifest, *_) in FAULTS.items():
        needs = ["nobody"] if name == "dependency" else []
        tree.plugin(name, code=code or None, manifest=manifest, depends_on=needs)
    good(tree)
    done = run(tree, "plugins")
    assert done.returncode == 1, done.stderr
    blocks = re.split(r"^(?=\S)", done.stdout, flags=re.MULTILINE)
    for name, (*_, where, words) in FAULTS.items():
        (block,) = (each for each in blocks if f"plugins/{name}\n" in each)
        assert where in " ".join(block.split())
        assert words in block
    assert blocks[-1] == f"{len(FAULTS) + 1} plugins: 1 passed, {len(FAULTS)} failed\n"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_plugin_is_tested_with_what_it_depends_on_and_its_own_configuration(
    tree: PluginTree,
) -> None:
    good(tree)
    user = """
    class Plugin:
        def setup(self, ctx):
            self.greeter = ctx.registry.get_plugin("demo", "greeter")

        async def twice(self):
            return [await self.greeter.greet("Ann")] * 2
    """
    folder = tree.plugin("user", code=user, depends_on=["greeter"])
    tree.write(
        folder / "tests/contract.toml",
        '[twice]\nexpected = [{text = "Hi, Ann!"}, {text = "Hi, Ann!"}]\n',
    )
    (tree.root.parent / "config.toml").write_text('[demo.greeter]\ngreeting = "Hi"\n')
    done = run(tree, "plugins", "--config", "config.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_samples_that_are_answered_otherwise_fail(tree: PluginTree) -> None:
    folder = good(tree)
    tree.write(folder / "tests/contract.toml", SAMPLES.replace("Hello", "Goodbye"))
    done = run(tree, "plugins", "--check", "determinism")
    assert done.returncode == 1
    assert "Goodbye, Ann!" in done.stdout
    assert "lifecycle" not in done.stdout


def test_the_line_of_a_hook_that_fails_is_named(tree: PluginTree) -> None:
    code = "NUMBERS = iter(range(9))\n\nclass Plugin:\n    def hook(self):\n        return {}\n"
    for name, result in (("counts", "next(NUMBERS)"), ("odd", "{1}"), ("raises", "1 / 0")):
        folder = tree.plugin(name, code=code.format(result))
        tree.write(folder / "tests/contract.toml", "[hook]\n")
    done = run(tree, "plugins", "--check", "serialization", "--check", "determinism")
    assert done.returncode == 1
    assert "demo/counts: hook (plugins/counts/plugin.py:4) has answered " in done.stdout
    assert "the result of hook (plugins/odd/plugin.py:4) cannot be written as JSON" in done.stdout
    assert "ZeroDivisionError: division by zero (plugins/raises/plugin.py:5)" in done.stdout


def test_ctrl_c_ends_the_own_tests_too(tree: PluginTree, tmp_path: Path) -> None:
    folder = good(tree)
    pid_file = tmp_path / "pid"
    os.mkfifo(pid_file)
    tree.write(
        folder / "tests/test_plugin.py",
        f"""
        import os, pathlib, time

        def test_slowly():
            pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))
            time.sleep(600)
        """,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", "test", "plugins"],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        own_tests = int(pid_file.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD_SECONDS) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(own_tests, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a folder with plugins"),
        (["nowhere"], "nowhere: does not exist"),
        (["plugins", "--check", "all"], "'all' is not one of"),
        (["plugins", "--config", "none.toml"], "none.toml"),
    ],
)
def test_wrong_usage_is_reported(tree: PluginTree, arguments: list[str], words: str) -> None:
    done = run(tree, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_folder_without_plugins_is_no_success(tree: PluginTree) -> None:
    done = run(tree, "plugins")
    assert done.returncode == 1
    assert "no plugins below plugins" in done.stdout


def test_own_tests_that_fail_are_shown_without_advice_on_options_of_pytest(
    tree: PluginTree,
) -> None:
    folder = good(tree)
    tree.write(folder / "tests/test_plugin.py", "def test_it():\n    assert 1 == 2\n")
    done = run(tree, "plugins")
    assert done.returncode == 1
    assert "assert 1 == 2" in done.stdout
    assert "1 failed" in done.stdout
    assert "asyncio_default_fixture_loop_scope" not in done.stdout + done.stderr


def test_a_folder_that_is_not_there_is_reported_with_the_one_that_was_meant(
    tree: PluginTree,
) -> None:
    done = run(tree, "plgins")
    assert done.returncode == 2
    assert "plgins: does not exist" in done.stderr
    assert "did you mean 'plugins'?" in done.stderr


def test_every_check_can_be_asked_for() -> None:
    (option,) = (each for each in cli.commands["test"].params if each.name == "checks")
    assert isinstance(option.type, click.Choice)
    assert set(option.type.choices) == ALL_CHECKS


def test_one_plugin_is_tested_beside_what_it_depends_on(tree: PluginTree) -> None:
    tree.plugin("store")
    tree.plugin("greeter", code=GOOD, depends_on=["store"])
    tree.plugin("broken", code="def (")
    for name in ("greeter", "demo/greeter"):
        done = run(tree, "plugins", "--plugin", name)
        assert done.returncode == 0, done.stdout
        assert re.findall(r"^demo/(\w+)", done.stdout, re.MULTILINE) == ["greeter"]
        assert "1 plugin: 1 passed" in done.stdout
    alone = run(tree, "plugins/greeter")
    assert "depends on 'store', which does not exist" in alone.stdout
    unknown = run(tree, "plugins", "--plugin", "greter")
    assert unknown.returncode == 2
    assert "there is no plugin 'greter'; did you mean 'greeter'?" in unknown.stderr
