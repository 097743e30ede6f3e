"""A plugin that writes code into its own folder does not loop, and costs its author no edit."""

from __future__ import annotations

import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.app import own_writes
from dagstack_dev.core.events import ReloadCommitted, WatchProblem

GENERATES = """
import time
from pathlib import Path
class Plugin:
    VALUE = 1
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        self.generate()
    def generate(self, text=f"NUMBER = {time.time_ns()}"):
        (Path(__file__).parent / "generated.py").write_text(text)
    def value(self):
        return self.VALUE
"""

NAMES_ANEW = GENERATES.replace('"generated.py"', 'f"generated_{time.time_ns()}.py"')

BY_A_PROCESS = """
import subprocess, time
from pathlib import Path
class Plugin:
    VALUE = 1
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        line = f"echo NUMBER = {time.time_ns()} > generated.py"
        subprocess.run(["sh", "-c", line], cwd=Path(__file__).parent)
    def value(self):
        return self.VALUE
"""

ALWAYS_THE_SAME = GENERATES.replace("{time.time_ns()}", "0")


async def test_code_that_a_plugin_writes_when_it_is_called_reloads_it(tree: PluginTree) -> None:
    tree.plugin("a", code=ALWAYS_THE_SAME)
    async with serving(tree) as live:
        await live.settle()
        live.plugin("a").generate("NUMBER = 1")
        await live.fact(ReloadCommitted)


@pytest.mark.parametrize("code", [GENERATES, NAMES_ANEW, BY_A_PROCESS])
async def test_code_that_differs_after_every_setup_reloads_once_a_minute_at_most(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(own_writes, "FREE_RELOADS", 3)
    folder = tree.plugin("a", code=code)
    async with serving(tree) as live:
        problem = await live.fact(WatchProblem)
        assert (problem.path or "").startswith(f"{folder}/generated")
        assert "once a minute at most" in problem.message
        await live.server.wait_idle()
        assert len(live.journal) == own_writes.FREE_RELOADS
        for value in (2, 3):
            await live.settle()
            assert live.journal == [], "nobody has touched it"
            edit(folder / "plugin.py", f"VALUE = {value - 1}", f"VALUE = {value}")
            await live.fact(ReloadCommitted)
            assert live.plugin("a").value() == value


async def test_what_is_held_back_is_taken_in_the_end(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_writes, "FREE_RELOADS", 2)
    monkeypatch.setattr(own_writes, "PAUSE_SECONDS", 0.02)
    tree.plugin("a", code=GENERATES)
    async with serving(tree) as live:
        await live.fact(WatchProblem)
        for _ in range(4):
            live.forget()
            await live.fact(ReloadCommitted)


async def test_the_same_code_written_at_every_setup_is_no_change(tree: PluginTree) -> None:
    tree.plugin("a", code=ALWAYS_THE_SAME)
    async with serving(tree) as live:
        await live.settle()
        await live.settle()
        assert live.journal == []
        assert not live.of(WatchProblem)
