"""How a run ends: in order when asked once, at once when asked twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from command_runs import CHECKOUT, GUARD_SECONDS, Watching
from trees import PluginTree

BLOCKING = """
import time

class Plugin:
    def setup(self, ctx):
        self.log = ctx.logger

    def teardown(self):
        self.log.info("blocking")
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_tears_everything_down_in_reverse_order_and_exits_with_0(
    tree: PluginTree, watch: Callable[..., Watching], number: signal.Signals
) -> None:
    tree.plugin("a")
    tree.plugin("b", depends_on=["a"])
    tree.plugin("c", depends_on=["b"])
    run = watch("plugins")
    run.event("watch.started")
    assert run.end(number) == 0
    stopped = [e["plugin"] for e in run.events if e["event"] == "plugin.stopped"]
    assert stopped == ["demo/c", "demo/b", "demo/a"]
    assert run.events[-1]["event"] == "watch.stopped"
    assert run.errors == ""


def test_what_a_terminal_shows_for_ctrl_c_does_not_push_the_next_line_aside(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    run = watch("plugins", columns=80)
    run.line("1 ready")
    assert run.end(signal.SIGINT) == 0
    (last,) = (number for number, line in enumerate(run.lines) if "torn down" in line)
    assert run.lines[last - 2 : last] == ["", "  "]  # What ends with a carriage return each.


def test_a_second_signal_ends_at_once_with_130_while_a_teardown_blocks_the_loop(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("stubborn", code=BLOCKING)
    run = watch("plugins")
    run.event("watch.started")
    run.send(signal.SIGINT)
    run.event("blocking")
    assert run.end(signal.SIGINT) == 130
    assert "Traceback" not in run.errors


OVERDUE = """
import time
from dagstack_dev.cli.leftovers import at_the_end

class Plugin:
    def setup(self, ctx):
        self.log = ctx.logger
        at_the_end(lambda: time.sleep(1))  # Several looks of the watchdog.

    def teardown(self):
        while True:
            try:
                time.sleep(600)
            except BaseException:
                self.log.info("overdue")
"""


def test_what_breaks_into_a_teardown_that_is_overdue_does_not_break_into_the_end(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("stubborn", code=OVERDUE, manifest="teardown_timeout_sec = 1\n")
    run = watch("plugins")
    run.event("watch.started")
    run.send(signal.SIGINT)
    run.event("overdue")
    assert run.end(signal.SIGINT) == 130


def test_a_signal_during_the_start_ends_it_in_order(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    tree.plugin(
        "waiting",
        depends_on=["first"],
        code="""
        import anyio

        class Plugin:
            async def setup(self, ctx):
                ctx.logger.info("waiting")
                await anyio.sleep_forever()
        """,
    )
    run = watch("plugins")
    run.event("waiting")
    assert run.end() == 0
    last = {e["plugin"]: e["to_state"] for e in run.events if "to_state" in e}
    assert last == {"demo/first": "stopped", "demo/waiting": "stopped"}
    assert run.errors == ""


def test_a_teardown_that_fails_is_reported_and_the_rest_goes_down_all_the_same(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    tree.plugin(
        "b",
        depends_on=["a"],
        code="class Plugin:\n    def teardown(self):\n        raise OSError('busy')\n",
    )
    run = watch("plugins")
    run.event("watch.started")
    assert run.end() == 0
    (failed,) = (e for e in run.events if e["event"] == "plugin.teardown_failed")
    assert (failed["error"]["type"], failed["error"]["line"]) == ("OSError", 3)
    (error,) = run.events[-1]["errors"]
    assert error["message"] == "busy"
    assert [e["plugin"] for e in run.events if e["event"] == "plugin.stopped"][-1] == "demo/a"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_reader_that_goes_away_ends_the_run_in_order_and_without_noise(
    tree: PluginTree, form: str
) -> None:
    tree.plugin(
        "marker",
        code="""
        from pathlib import Path

        class Plugin:
            def teardown(self):
                Path("torn_down").touch()
        """,
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", "watch", "plugins", "--log-format", form],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout is not None
        assert run.stderr is not None
        os.read(run.stdout.fileno(), 1)
        run.stdout.close()
        tree.plugin("another")  # Something to write about.
        assert run.wait(GUARD_SECONDS) == 0
        assert run.stderr.read() == ""
    assert (tree.root.parent / "torn_down").exists()


def test_a_thread_that_a_plugin_leaves_running_is_named_and_holds_nothing_up(
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
    run = watch("plugins")
    run.event("watch.started")
    run.send(signal.SIGINT)
    run.event("watch.stopped")
    assert run.error("in spite of") == (
        "dagstack-dev: ended in spite of poller, left running by plugins\n"
    )
    assert run.process.wait(GUARD_SECONDS) == 0
    assert "Traceback" not in run.errors


def test_a_defect_of_the_server_itself_is_one_line_and_the_plugins_go_down_in_order(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin(
        "saboteur",
        code="""
        from dagstack_dev.host.reload.executor import PlanExecutor

        class Plugin:
            def setup(self, ctx):
                PlanExecutor.apply = None
        """,
    )
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("another")
    assert run.ended() == 1
    assert run.events[-1]["event"] == "watch.stopped"
    assert run.errors.startswith("dagstack-dev: a defect of dagstack-dev ended it: TypeError: ")
    assert len(run.errors.splitlines()) == 1


STOPS = """
class Plugin:
    def setup(self, ctx):
        value = 6 * 7
        breakpoint()
        self.value = value
"""


def test_a_breakpoint_has_the_terminal_and_leaving_it_fails_that_setup_alone(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("debugged", code=STOPS, manifest="startup_timeout_sec = 1\n")
    tree.plugin("other")
    run = watch("plugins", columns=100, typing=True, environment={"PYTHON_BASIC_REPL": "1"})
    run.line("plugin.py(")  # The line of the call, and before Python 3.13 the next one.
    os.write(run.terminal, b"p value\n")
    run.until(lambda line: line == "42")
    run.send(signal.SIGINT)
    os.write(run.terminal, b"\n")  # For that line to end; it may be what is interrupted.
    run.line("KeyboardInterrupt")
    os.write(run.terminal, b"q\n")
    run.line("BdbQuit")
    run.line("1 ready, 1 not")
    assert run.end() == 0
    assert "blocking" not in run.screen
