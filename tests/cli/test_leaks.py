"""What `--leaks` does to a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import Asking
from command_runs import Watching
from trees import PluginTree

LEAKING = """
import builtins

class Plugin:
    def setup(self, ctx):
        builtins.kept = [*getattr(builtins, "kept", ()), self]
        ctx.logger.info("kept", count=len(builtins.kept))
"""


LOGGING = """
import enum

class Mood(enum.StrEnum):
    GOOD = "good"

class Size(enum.IntEnum):
    BIG = 7

class Key(str):
    def __str__(self):
        return self

class Plugin:
    def setup(self, ctx):
        ctx.logger.info("felt", mood=Mood.GOOD, size=[Size.BIG], keys={Key("a"): Mood.GOOD})
"""


def save_again(tree: PluginTree) -> None:
    tree.plugin("leaking", code=LEAKING + "# saved again\n")


@pytest.mark.parametrize(
    ("options", "level", "code"),
    [((), "warning", 0), (("--leaks", "error"), "error", 3)],
)
def test_a_leak_is_reported_and_only_with_error_it_decides_how_the_run_ends(
    tree: PluginTree,
    watch: Callable[..., Watching],
    options: tuple[str, ...],
    level: str,
    code: int,
) -> None:
    tree.plugin("leaking", code=LEAKING)
    run = watch("plugins", *options)
    run.event("watch.started")
    save_again(tree)
    run.event("reload.committed")
    leaked = run.event("plugin.leaked")
    assert (leaked["plugin"], leaked["generation"], leaked["level"]) == ("demo/leaking", 1, level)
    assert leaked["holders"] == ["instance of Plugin, held by builtins.kept -> list"]
    assert run.end() == code
    assert run.errors == ""


def test_with_error_a_leak_is_reported_even_if_the_run_ends_right_after_the_reload(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("leaking", code=LEAKING)
    run = watch("plugins", "--leaks", "error")
    run.event("watch.started")
    save_again(tree)
    run.event("reload.committed")
    assert run.end() == 3
    assert [e["level"] for e in run.events if e["event"] == "plugin.leaked"] == ["error"]


def test_with_off_nothing_is_looked_for(tree: PluginTree, watch: Callable[..., Watching]) -> None:
    tree.plugin("leaking", code=LEAKING)
    run = watch("plugins", "--leaks", "off")
    run.event("watch.started")
    save_again(tree)
    run.event("reload.committed")
    assert run.end() == 0
    assert "plugin.leaked" not in {e["event"] for e in run.events}


def test_a_clean_run_ends_with_0_although_leaks_are_errors(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    run = watch("plugins", "--leaks", "error")
    run.event("watch.started")
    tree.plugin("a", value=2)
    run.event("reload.committed")
    assert run.end() == 0


def test_with_error_a_thread_that_outlives_the_run_is_an_error_too(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin(
        "threads",
        code="""
        import threading

        class Plugin:
            def setup(self, ctx):
                threading.Thread(target=threading.Event().wait, name="poller").start()
        """,
    )
    run = watch("plugins", "--leaks", "error")
    run.event("watch.started")
    assert run.end() == 3
    assert "left running by plugins" in run.errors


def test_the_terminal_shows_what_is_left_and_who_holds_it(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("leaking", code=LEAKING)
    run = watch("plugins", columns=120)
    run.line("Ctrl-C to stop")
    save_again(tree)
    run.line("! demo/leaking: generation 1 has left something behind")
    run.line("    instance of Plugin, held by builtins.kept -> list")
    assert run.end() == 0


def test_what_a_plugin_logs_keeps_no_class_of_it_alive(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("logging", code=LOGGING)
    run = watch("plugins", "--leaks", "error")
    run.event("watch.started")
    for number in range(2):
        tree.plugin("logging", code=LOGGING + f"# saved {number}\n")
        run.event("reload.committed")
    lines = Asking(tmp_path).run("logs", "demo/logging", "--json").stdout.splitlines()
    felt = [each["fields"] for each in map(json.loads, lines) if each["event"] == "felt"]
    assert (felt[-1]["mood"], felt[-1]["size"], felt[-1]["keys"]) == ("good", [7], {"a": "good"})
    code = run.end()
    assert [each["holders"] for each in run.events if each["event"] == "plugin.leaked"] == []
    assert code == 0
