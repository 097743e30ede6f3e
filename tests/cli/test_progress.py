"""What is said of a start or a reload that takes long."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from command_runs import Watching
from trees import PluginTree

SLOW = """
import pathlib, time

class Plugin:
    def setup(self, ctx):
        print("from a plugin", flush=True)
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
"""


def test_a_slow_start_says_how_far_it_is_until_it_has_ended(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    tree.plugin("slow", depends_on=["first"], code=SLOW)
    run = watch("plugins", columns=100, typing=True)
    run.line("from a plugin")
    run.line("1 of 2 ready, setting up demo/slow")  # It ends with a return.
    (tree.root.parent / "go").touch()
    run.line("2 ready")
    run.line("press h for help")
    assert run.end() == 0
    last = max(i for i, line in enumerate(run.lines) if "setting up demo/slow" in line)
    assert run.lines[last + 1] == ""
    assert run.lines[last + 2].startswith("\x1b[K")  # Wiped before the banner.


ANY_START_IS_QUICK = """
from dagstack_dev.cli import main, progress
progress.PATIENCE_SECONDS = 600
main.main()
"""


def test_a_quick_start_has_no_such_line(tree: PluginTree, watch: Callable[..., Watching]) -> None:
    tree.plugin("first")
    program = (sys.executable, "-c", ANY_START_IS_QUICK)
    run = watch("plugins", columns=100, typing=True, program=program)
    run.line("press h for help")
    assert run.end() == 0
    assert "of 1 ready" not in run.screen


def test_a_slow_reload_names_what_has_been_slow(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    tree.plugin("top", depends_on=["first"])
    run = watch("plugins", columns=160)
    run.line("2 ready")
    tree.plugin(
        "first",
        code="""
        import time
        time.sleep(0.2)
        class Plugin:
            def setup(self, ctx):
                time.sleep(0.4)
        """,
    )
    line, ms = run.line("↻ demo/first"), r"[\d.]+ m?s"
    assert re.search(rf"  {ms}: import of demo/first {ms}, setup of demo/first {ms}$", line)
    assert run.end() == 0
