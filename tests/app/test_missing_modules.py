"""A plugin that misses a module is tried again when that is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev import ReloadCommitted, State
from dagstack_dev.app.reload import loop
from dagstack_dev.app.reload.revisions import missing_in
from dagstack_dev.core.errors.registry import INSTALL_MCP
from dagstack_dev.core.events import Transition

WAYS = {
    "at import": "import late_to_come\nclass Plugin: ...",
    "of a package": "from late_to_come.part import VALUE\nclass Plugin: ...",
    "in setup": "class Plugin:\n    def setup(self, ctx):\n        import late_to_come",
    "in other words": """
try:
    import late_to_come
except ImportError as error:
    raise RuntimeError("please install it") from error
class Plugin: ...
""",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle_at_once: None) -> Iterator[Path]:
    """A folder like `site-packages`; what was imported from it is forgotten."""
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.01)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [each for each in sys.modules if each.startswith("late_to_come")]:
        del sys.modules[name]


def install(site: Path, text: str = "") -> None:
    """As an installer does it: beside, and then into its place."""
    made = site.parent / "late_to_come"
    made.mkdir()
    (made / "__init__.py").write_text(text)
    (made / "part.py").write_text("VALUE = 1")
    made.rename(site / "late_to_come")


@pytest.mark.parametrize("runs_before", [False, True], ids=["failed", "pending"])
@pytest.mark.parametrize("code", WAYS.values(), ids=WAYS.keys())
async def test_it_is_tried_again_when_the_module_is_installed(
    tree: PluginTree, site: Path, code: str, runs_before: bool
) -> None:
    tree.plugin("base", code=None if runs_before else code)
    async with serving(tree) as live:
        if runs_before:
            tree.plugin("base", code=code)
            await live.settle()
            assert live.status("base").pending
        else:
            assert live.states == {"base": "failed"}
        live.forget()
        install(site)
        await live.fact(ReloadCommitted)
        assert live.states == {"base": "ready"}
        (ready,) = (each for each in live.of(Transition) if each.to_state is State.READY)
        assert ready.reason == "late_to_come was installed"
        assert not live.status("base").pending


async def test_one_that_is_there_and_does_not_help_is_tried_once(
    tree: PluginTree, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    from pathlib import Path
    class Plugin:
        def setup(self, ctx):
            ctx.extras["journal"].append("tried")
            raise ImportError("No module named 'late_to_come'")
    """
    tree.plugin("base", code=code)
    async with serving(tree) as live:
        install(site)
        looks = 0
        look = live.server._loop._state.look_for_modules

        def count() -> dict[str, str]:
            nonlocal looks
            looks += live.journal == ["tried", "tried"]
            return look()

        monkeypatch.setattr(live.server._loop._state, "look_for_modules", count)
        while looks < 3:
            await anyio.sleep(0.01)
        assert live.journal == ["tried", "tried"]


def test_what_an_error_says_is_missing() -> None:
    assert missing_in(None) == set()
    assert missing_in(ModuleNotFoundError("No module named 'a.b'")) == {"a.b"}
    assert missing_in(RuntimeError(f"run {INSTALL_MCP}")) == {"httpx2"}


SETS_UP_ONCE = """
setups = []
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("old")
        setups.append(self)
        if len(setups) > 1:
            raise RuntimeError("once only")
"""
DOES_WITHOUT_IT_AT_FIRST = """
try:
    import late_to_come
except ImportError:
    late_to_come = None
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("new")
        if late_to_come is None:
            raise RuntimeError("please install it")
"""


async def test_it_is_tried_again_after_a_roll_back_that_failed_as_well(
    tree: PluginTree, site: Path
) -> None:
    tree.plugin("base", code=SETS_UP_ONCE)
    async with serving(tree) as live:
        tree.plugin("base", code=DOES_WITHOUT_IT_AT_FIRST)
        await live.settle()
        assert live.states == {"base": "failed"}
        live.forget()
        install(site)
        await live.fact(ReloadCommitted)
        assert live.states == {"base": "ready"}


async def test_a_plugin_that_has_moved_and_misses_a_module_is_tried_again(
    tree: PluginTree, site: Path
) -> None:
    tree.plugin("user", folder="before")
    async with serving(tree) as live:
        (tree.root / "before").rename(tree.root / "after")
        tree.write("after/plugin.py", "import late_to_come\nclass Plugin: ...\n")
        await live.settle()
        assert live.status("user").pending
        live.forget()
        install(site)
        await live.fact(ReloadCommitted)
        assert not live.status("user").pending
