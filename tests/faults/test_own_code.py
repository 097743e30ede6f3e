"""A plugin that writes code into its own folder does not loop, and costs its author no edit."""

from __future__ import annotations

import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev.app import outputs
from dagstack_dev.core.events import ReloadCommitted, WatchProblem

GENERATES = """
import time
from pathlib import Path
class Plugin:
    VALUE = 1
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        path = Path(__file__).parent / "generated.py"
        path.write_text(f"NUMBER = {time.time_ns()}")
    def value(self):
        return self.VALUE
"""

WRITES_THE_SAME = GENERATES.replace("{time.time_ns()}", "0")

NAMES_ANEW = GENERATES.replace('"generated.py"', 'f"generated_{time.time_ns()}.py"')


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is held back is not looked at again during the test."""
    monkeypatch.setattr(outputs, "FIRST_WAIT_SECONDS", 3600.0)
    monkeypatch.setattr(outputs, "LONGEST_WAIT_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("code", [GENERATES, NAMES_ANEW], ids=["same file", "new files"])
async def test_code_that_differs_after_every_setup_is_held_back_and_told(
    tree: PluginTree, code: str
) -> None:
    folder = tree.plugin("a", code=code)
    async with serving(tree) as live:
        problem = await live.fact(WatchProblem)
        assert (problem.path or "").startswith(f"{folder}/generated")
        assert "changes whenever its plugin is reloaded" in problem.message
        setups = len(live.journal)
        assert 1 < setups < 10
        await live.settle()
        await live.settle()
        assert live.journal == [], "nobody has touched it"


@pytest.mark.usefixtures("patient")
async def test_an_edit_of_a_plugin_that_is_held_back_is_taken_at_once(tree: PluginTree) -> None:
    tree.plugin("a", code=GENERATES)
    async with serving(tree) as live:
        await live.fact(WatchProblem)
        for value in (2, 3):
            await live.settle()
            live.forget()
            tree.plugin("a", code=GENERATES.replace("VALUE = 1", f"VALUE = {value}"))
            await live.fact(ReloadCommitted)
            assert live.plugin("a").value() == value


async def test_what_is_held_back_is_taken_in_the_end(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(outputs, "LONGEST_WAIT_SECONDS", 0.02)
    tree.plugin("a", code=GENERATES)
    async with serving(tree) as live:
        await live.fact(WatchProblem)
        for _ in range(8):
            live.forget()
            await live.fact(ReloadCommitted)


async def test_the_same_code_written_at_every_setup_is_no_change(tree: PluginTree) -> None:
    tree.plugin("a", code=WRITES_THE_SAME)
    async with serving(tree) as live:
        await live.settle()
        await live.settle()
        assert live.journal == []
        assert not live.of(WatchProblem)
