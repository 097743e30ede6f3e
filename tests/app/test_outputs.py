"""What plugins write into their own folders does not loop, and costs nobody an edit."""

from __future__ import annotations

import pytest
from serving import Live, serving
from trees import PluginTree

from dagstack_dev.app import outputs
from dagstack_dev.core.events import ReloadCommitted, ReloadSkipped, WatchProblem

SAME_FILE = """
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        (Path(__file__).parent / "state.json").write_text(str(len(ctx.extras["journal"])))
"""

NEW_FILE = """
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        number = len(ctx.extras["journal"])
        (Path(__file__).parent / f"run-{number}.json").write_text("{}")
"""

SOON_AFTER = """
import anyio
from pathlib import Path
class Plugin:
    async def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        self.number = len(ctx.extras["journal"])
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.write)
    async def write(self):
        await anyio.sleep(0.02)
        (Path(__file__).parent / "state.json").write_text(str(self.number))
    async def teardown(self):
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)
"""

SHOWS_A_PAGE = """
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        self.page = (Path(__file__).parent / "page.html").read_text()
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of a second and more, in hundredths."""
    monkeypatch.setattr(outputs, "FIRST_WAIT_SECONDS", 0.01)


async def until_quiet(live: Live) -> None:
    """Wait for the last late reload to be used up."""
    suspects = live.server._loop.collector.own_writes._suspects
    while not any(
        suspect.late == outputs.LATE_RELOADS and not suspect.waiting and not suspect.due
        for suspect in suspects.values()
    ):
        await live.fact(WatchProblem)
        await live.server.wait_idle()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("code", [SAME_FILE, NEW_FILE, SOON_AFTER])
async def test_a_plugin_that_writes_data_at_every_setup_does_not_loop(
    tree: PluginTree, code: str
) -> None:
    folder = tree.plugin("base", code=code)
    async with serving(tree) as live:
        assert live.journal, "it runs"
        await until_quiet(live)
        assert len(live.journal) <= 1 + outputs.FREE_RELOADS + outputs.LATE_RELOADS
        (problem,) = live.of(WatchProblem)
        assert (problem.path or "").startswith(str(folder))
        live.forget()
        tree.plugin("base", code=code + "# edited\n")
        await live.fact(ReloadCommitted)
        assert live.journal


@pytest.mark.usefixtures("impatient")
async def test_assets_saved_in_quick_succession_all_end_up_live(tree: PluginTree) -> None:
    folder = tree.plugin("site", code=SHOWS_A_PAGE)
    page = tree.write(folder / "page.html", "0")
    async with serving(tree) as live:
        site = live.plugin("site")
        for number in range(1, 25):
            live.forget()
            page.write_text(str(number), encoding="utf-8")
            await live.fact(ReloadCommitted)
            assert site.page == str(number)


async def test_a_file_beside_the_plugins_is_no_event(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.write("events.json", "{}")
        await live.settle()
        tree.plugin("base", value=2)
        await live.fact(ReloadCommitted)
        assert live.of(ReloadSkipped) == []
