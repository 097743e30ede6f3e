"""Breakpoints of an editor, across reloads: debugpy, through its protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from asking import Asking
from dap import Debugger
from trees import PluginTree

CODE = """class Plugin:
    def setup(self, ctx):
        value = {value}
        self.value = value
"""
LINE = 4

pytestmark = pytest.mark.timeout(240)  # debugpy takes seconds for each process.

Debug = Callable[[dict[Path, Sequence[int]]], Debugger]


@pytest.fixture
def debug(tmp_path: Path) -> Iterator[Debug]:
    """Start `dagstack-dev watch plugins` under a debugger with breakpoints."""
    started: list[Debugger] = []

    def start(breakpoints: dict[Path, Sequence[int]]) -> Debugger:
        started.append(Debugger("plugins", cwd=tmp_path, breakpoints=breakpoints))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_breakpoint_holds_across_reloads_and_when_its_line_moves(
    tree: PluginTree, debug: Debug
) -> None:
    code = tree.root / "debugged/plugin.py"
    tree.plugin("debugged", code=CODE.format(value=1))
    run = debug({code: [LINE]})
    session = run.session
    moved = f"# one line\n# and another\n{CODE.format(value=3)}"
    for number, line, text in (
        (1, LINE, CODE.format(value=2)),
        (2, LINE, moved),
        (3, LINE + 2, ""),
    ):
        path, at, thread, frame = session.stopped_at()
        assert (path, at) == (str(code), line)
        assert session.value("value", frame) == str(number)
        if text:
            code.write_text(text)
        if text == moved:  # As an editor does when it has saved.
            session.set_breakpoints(code, LINE + 2)
        session.ask("continue", threadId=thread)
    session.output("reload.committed")
    assert run.ended() == 0


def test_a_breakpoint_holds_in_a_plugin_s_process(tree: PluginTree, debug: Debug) -> None:
    code = tree.root / "debugged/plugin.py"
    process = 'execution_model = "process_cpu_bound"\n'
    tree.plugin("debugged", code=CODE.format(value=1), manifest=process)
    run = debug({code: [LINE]})
    for number, text in ((1, CODE.format(value=1)), (2, f"# one line\n{CODE.format(value=2)}")):
        if number > 1:
            code.write_text(text)
        session = run.joined({code: [LINE + number - 1]})
        path, line, thread, frame = session.stopped_at()
        assert (path, line) == (str(code), LINE + number - 1)
        assert session.value("value", frame) == str(number)
        session.ask("continue", threadId=thread)
        run.session.output("plugin.ready")
    assert run.ended() == 0


def test_a_server_that_has_stopped_in_the_debugger_says_where(
    tree: PluginTree, debug: Debug, tmp_path: Path
) -> None:
    code = tree.root / "debugged/plugin.py"
    tree.plugin("debugged", code=CODE.format(value=1))
    run = debug({code: [LINE - 1]})
    *_, thread, _ = run.session.stopped_at()
    shown = Asking(tmp_path).run("status").stdout
    place = rf"at .*plugins/debugged/plugin\.py:{LINE - 1}\n"
    assert re.search(
        rf"the event loop has been blocked by demo/debugged for [\d.]+ s {place}", shown
    )
    run.session.ask("continue", threadId=thread)
    assert run.ended() == 0
