"""Keys at a real terminal, and who has the keyboard when plugins want it, too."""

from __future__ import annotations

import os
import signal
import termios
import time
from collections.abc import Callable
from shutil import which

import pytest
from asking import Asking
from command_runs import Watching
from trees import PluginTree

HINT = "press h for help"

TALKS = """
class Plugin:
    def setup(self, ctx):
        ctx.logger.debug("whisper")
        ctx.logger.info("talk")
"""


def test_keys_act_on_the_running_server(tree: PluginTree, watch: Callable[..., Watching]) -> None:
    tree.plugin("talker", code=TALKS)
    tree.plugin("broken", code="class Plugin: ...\nraise OSError('no disk')\n")
    tree.plugin("behind", depends_on=["broken"])
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    _type(run, "h")
    run.line("reload all plugins")
    _type(run, "s")
    run.line("1 ready, 1 failed, 1 blocked")
    run.line("  demo/broken  failed")
    run.line("  demo/behind  blocked by demo/broken")
    _type(run, "g")
    run.line("3 plugins")
    run.line("demo/talker  ready")
    _type(run, "e")
    run.line("demo/broken failed to import")
    run.line("❱    2  raise OSError('no disk')")
    _type(run, "l")
    run.line("log level debug")
    _type(run, "r")
    run.line("reloading all plugins")
    run.line("whisper")
    run.line("asked for")
    _type(run, "ll")
    run.line("log level warning")
    _type(run, "p")
    run.line("paused")
    _type(run, "s")
    run.line("  demo/broken  failed")
    run.line("  paused: edits wait; p takes them in")
    tree.plugin("broken")
    _type(run, "p")
    run.line("resumed")
    run.line("↻ demo/broken")
    _type(run, "\x1b[A\x1bOQ?")  # An arrow, and what is no key.
    _type(run, "e")
    run.line("no failures")
    _type(run, "q")
    assert run.ended() == 0
    assert run.screen.count("talk") - run.screen.count("talker") == 2  # Not at level warning.
    assert "\x1b[2J" not in "".join(run.lines)
    assert run.errors == ""


SLOW = """
import os, time

class Plugin:
    def setup(self, ctx):
        print("blocking")
        while not os.path.exists("typed"):
            time.sleep(0.01)
"""


def test_what_is_typed_after_quit_is_not_obeyed(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("slow", code="class Plugin: ...\n")
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    tree.plugin("slow", code=SLOW)
    run.line("blocking")
    _type(run, "qlp\r")
    (tree.root.parent / "typed").touch()
    run.line("ending; Ctrl-C ends at once")
    assert run.ended() == 0
    assert "log level" not in run.screen
    assert "paused" not in run.screen


@pytest.mark.parametrize("ask", ["q", "Ctrl-C"])
def test_what_keeps_the_program_from_ending_is_said_at_once(
    tree: PluginTree, watch: Callable[..., Watching], ask: str
) -> None:
    tree.plugin("slow", code="class Plugin: ...\n")
    run = watch("plugins", columns=200, typing=True)
    run.line(HINT)
    tree.plugin("slow", code=SLOW)
    run.line("blocking")
    if ask == "q":
        _type(run, "lql")
    else:
        run.send(signal.SIGINT)
    run.line("ending as soon as demo/slow: setup returns, at plugins/slow/plugin.py:")
    assert _echoes(run)
    (tree.root.parent / "typed").touch()
    assert run.ended() == 0
    assert run.screen.count("ending") == 1


@pytest.mark.parametrize("ask", ["q", "Ctrl-C"])
def test_the_keyboard_is_given_back_when_the_end_begins(
    tree: PluginTree, watch: Callable[..., Watching], ask: str
) -> None:
    stubborn = """
    import os, time

    class Plugin:
        def teardown(self):
            while not os.path.exists("typed"):
                time.sleep(0.01)
    """
    tree.plugin("stubborn", code=stubborn)
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    if ask == "q":
        _type(run, ask)
    else:
        run.send(signal.SIGINT)
    run.line("ending; Ctrl-C ends at once")
    assert _echoes(run)
    (tree.root.parent / "typed").touch()
    assert run.ended() == 0


def test_what_cannot_be_read_is_among_the_failures_until_it_can(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.write("unread/dagstack.toml", "[plugin")
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    _type(run, "s")
    run.line("1 cannot be used")
    run.line("  plugins/unread  cannot be used")
    _type(run, "g")
    run.line("1 plugin")
    run.line("plugins/unread  cannot be used")
    _type(run, "e")
    run.line("plugins/unread cannot be used")
    run.line("❱    1  [plugin")
    tree.plugin("unread")
    run.line("+ demo/unread")
    _type(run, "e")
    run.line("no failures")
    assert run.end() == 0


def test_what_waits_for_a_plugin_that_does_not_exist_is_among_the_failures(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("greeter", depends_on=["store"])
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    _type(run, "e")
    run.line("demo/greeter waits for store, which does not exist")
    assert run.end() == 0
    assert "no failures" not in run.screen


def test_a_pause_and_what_waits_for_its_end_are_part_of_the_status(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("greeter")
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    _type(run, "ps")
    run.line("1 ready")
    run.line("  paused: edits wait; p takes them in")
    tree.plugin("greeter", value=2)
    status = Asking(tree.root.parent)
    while not status.json("status", code=None)["has_edits_waiting"]:
        time.sleep(0.01)
    _type(run, "s")
    run.line("  paused: edits of demo/greeter wait; p takes them in")
    assert run.end() == 0


def test_a_failure_has_the_same_title_again(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    failing = "class Plugin:\n    def setup(self, ctx): raise OSError\n"
    tree.plugin("first")
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    for code, title in (
        ("class Plugin\n", "demo/first rejected"),
        (failing, "demo/first failed"),
        ("class Plugin(\n", "demo/first rejected"),
    ):
        tree.plugin("first", code=code)
        run.line(title)
        _type(run, "e")
        assert "still running generation 1" in run.line(title)
    assert run.end() == 0


def test_a_cleared_screen_is_still_above(tree: PluginTree, watch: Callable[..., Watching]) -> None:
    tree.plugin("first")
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    _type(run, "c")
    run.until(lambda line: not line)
    _type(run, "q")
    assert run.ended() == 0
    cleared = "\n".join(run.lines).partition("\x1b[H\x1b[J")[0]
    assert cleared.count("\n") >= 49  # The terminal has 50 lines.
    assert "\x1b[3J" not in cleared


STUCK = """
import time

class Plugin:
    def setup(self, ctx): ...
    def teardown(self):
        print("stuck", flush=True)
        time.sleep(1000)
"""


BREAKS = """
from dagstack_dev.host.reload.executor import PlanExecutor

class Plugin:
    def setup(self, ctx):
        PlanExecutor.apply = None
"""


def _ask_twice(run: Watching) -> None:
    run.send(signal.SIGINT)
    run.line("stuck")
    run.send(signal.SIGINT)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("class Plugin: ...", lambda run: run.send(signal.SIGINT)),
        ("class Plugin: ...", lambda run: run.send(signal.SIGTERM)),
        (STUCK, _ask_twice),
        ("class Plugin: ...", lambda run: run.send(signal.SIGQUIT)),
        (BREAKS, lambda run: _type(run, "r")),
    ],
    ids=["by Ctrl-C", "by SIGTERM", "at once", "by SIGQUIT", "by a defect"],
)
def test_the_terminal_is_left_as_it_was_found(
    tree: PluginTree,
    watch: Callable[..., Watching],
    code: str,
    end: Callable[[Watching], None],
) -> None:
    tree.plugin("first", code=code)
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    assert not _echoes(run)
    held = os.dup(run.terminal)
    end(run)
    run.ended()
    assert termios.tcgetattr(held) == run.mode
    os.close(held)


@pytest.mark.parametrize("options", [["--no-keys"], ["--log-format", "json"]])
def test_without_keys_the_keyboard_is_left_alone(
    tree: PluginTree, watch: Callable[..., Watching], options: list[str]
) -> None:
    tree.plugin("first", code=TALKS)
    run = watch("plugins", *options, columns=100, typing=True)
    run.line("talk")
    assert _echoes(run)
    assert run.end() == 0
    assert HINT not in run.screen


def test_there_are_no_keys_where_standard_input_is_no_terminal(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    run = watch("plugins", columns=100)
    run.line("1 ready")
    assert run.end() == 0
    assert HINT not in run.screen


@pytest.mark.parametrize("asks", ["input()", "sys.stdin.readline()", "next(iter(sys.stdin))"])
@pytest.mark.parametrize("where", ["ask(ctx)", "ctx.run_thread(lambda stop: ask(ctx))"])
def test_a_plugin_that_reads_has_the_keyboard_meanwhile(
    tree: PluginTree, watch: Callable[..., Watching], asks: str, where: str
) -> None:
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    tree.plugin(
        "asker",
        code=f"""
        import sys

        def ask(ctx):
            name = {asks}
            ctx.logger.info(f"hello, {{name.strip()}}!")

        class Plugin:
            def setup(self, ctx):
                {where}
        """,
    )
    _wait_for_echo(run)
    _type(run, "squash\n")  # `s` and `q` are keys.
    run.until(lambda line: line == "squash")  # The echo.
    run.line("hello, squash!")
    _type(run, "s")
    run.line("1 ready")
    assert run.end() == 0


INTERRUPTED = """
import sys

class Plugin:
    def setup(self, ctx):
        place = 0
        while self.is_interrupted(place):
            place += 1
        print("done", flush=True)

    def is_interrupted(self, place):
        def interrupt(frame, event, argument):
            nonlocal place
            if event in {"call", "c_return"}:
                place -= 1
                if place < 0:
                    raise KeyboardInterrupt

        print("ask", flush=True)
        try:
            sys.setprofile(interrupt)
            input()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        if place < 0:
            print("lost", flush=True)
        return False
"""
"""Asks, and has a Ctrl-C come at the first place where Python looks for one, at the next, ..."""


def test_no_ctrl_c_is_lost_in_what_asks_nor_the_keyboard_after_one(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    tree.plugin("asker", code=INTERRUPTED)
    while "ask" in run.until(lambda line: "ask" in line or "done" in line):
        _type(run, "\n")
    assert "lost" not in run.screen
    _type(run, "s")
    run.line("1 ready")
    assert run.end() == 0


def test_a_plugin_that_reads_the_descriptor_by_itself_has_the_keyboard_for_good(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    run = watch("plugins", columns=100, typing=True)
    run.line(HINT)
    tree.plugin(
        "reader",
        code="""
        import os, sys

        class Plugin:
            def setup(self, ctx):
                descriptor = sys.stdin.fileno()
                print("ask", flush=True)
                print(os.read(descriptor, 100), flush=True)
        """,
    )
    run.line("there are no keys any more")
    run.line("ask")
    _type(run, "squash\n")
    run.line("b'squash")
    assert _echoes(run)
    assert run.end() == 0


STOPS = """
class Plugin:
    def setup(self, ctx):
        self.work(None)
    def work(self, stop):
        value = 6 * 7
        breakpoint()
        self.value = value
"""


@pytest.mark.parametrize(
    "code", [STOPS, STOPS.replace("self.work(None)", "ctx.run_thread(self.work)")]
)
def test_keys_give_way_to_a_debugger_and_come_back_after_it(
    tree: PluginTree, watch: Callable[..., Watching], code: str
) -> None:
    run = watch("plugins", columns=100, typing=True, environment={"PYTHON_BASIC_REPL": "1"})
    run.line(HINT)
    tree.plugin("debugged", code=code)
    run.line("plugin.py(")
    _type(run, "p value\n")
    run.until(lambda line: line == "42")
    _type(run, "p value + 1\n")
    run.until(lambda line: line == "43")
    _type(run, "c\n")
    _type(run, "s")
    run.line("1 ready")
    _type(run, "q")
    assert run.ended() == 0


SHELL = ("setsid", "-c", "bash", "--norc", "-ic")
"""Gives a shell the terminal. What follows is its script, which finds the command in `$@`."""

needs_setsid = pytest.mark.skipif(which("setsid") is None, reason="gives a shell the terminal")


@needs_setsid
def test_a_shell_has_the_terminal_while_we_are_in_the_background(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    script = """
    "$@"
    stty -a | grep -o -- '-\\?icanon'
    bg %1
    read -r line
    echo "the shell read $line"
    fg %1
    """
    run = watch("plugins", columns=100, typing=True, prefix=(*SHELL, script, "bash"))
    run.line(HINT)
    _type(run, "\x1a")
    run.until(lambda line: line == "icanon")
    _type(run, "squash\n")
    run.line("the shell read squash")
    _type(run, "s")
    run.line("1 ready")
    _type(run, "q")
    assert run.ended() == 0


@needs_setsid
def test_there_are_keys_after_a_start_in_the_background(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    script = """
    stty -icanon -echo  # As at the prompt of a shell.
    "$@" &
    read -r line
    stty icanon echo
    echo "the shell gives the terminal"
    fg %1
    """
    run = watch("plugins", columns=100, typing=True, prefix=(*SHELL, script, "bash"))
    run.line(HINT)
    _type(run, "\n")
    run.line("the shell gives the terminal")
    while _echoes(run):
        time.sleep(0.01)
    _type(run, "s")
    run.line("1 ready")
    _type(run, "q")
    assert run.ended() == 0


def _type(run: Watching, keys: str) -> None:
    os.write(run.terminal, keys.encode())


def _wait_for_echo(run: Watching) -> None:
    while not _echoes(run):
        time.sleep(0.01)


def _echoes(run: Watching) -> bool:
    return bool(termios.tcgetattr(run.terminal)[3] & termios.ECHO)
