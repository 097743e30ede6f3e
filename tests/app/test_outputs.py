"""What plugins write into their own folders does not loop, and costs nobody an edit."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev.app import own_writes, write_log
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
        ctx.start_soon(self.write)
    async def write(self):
        while True:
            with (Path(__file__).parent / "rows.csv").open("a") as file:
                file.write("row\\n")
            await anyio.sleep(0.05)
"""

IN_A_THREAD = """
import asyncio
from pathlib import Path
class Plugin:
    async def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        text = str(len(ctx.extras["journal"]))
        await asyncio.to_thread((Path(__file__).parent / "state.json").write_text, text)
"""

IN_ITS_PLACE = """
import os
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        state = Path(__file__).parent / "state.json"
        Path(f"{state}.tmp").write_text(str(len(ctx.extras["journal"])))
        os.replace(f"{state}.tmp", state)
"""

ON_CALL = """
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        self.file = (Path(__file__).parent / "rows.csv").open("a")
        ctx.callback(self.file.close)
        self.append("header")
    def end(self):
        (Path(__file__).parent / "more.csv").unlink()
    def append(self, row):
        self.file.write(f"{row}\\n")
        self.file.flush()
"""

BY_A_PROCESS = """
import subprocess
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("setup")
        number = len(ctx.extras["journal"])
        subprocess.run(["sh", "-c", f"echo {number} > {NAME}"], cwd=Path(__file__).parent)
"""

SHOWS_A_PAGE = """
from pathlib import Path
class Plugin:
    def setup(self, ctx):
        self.page = (Path(__file__).parent / "page.html").read_text()
"""


@pytest.mark.parametrize("code", [SAME_FILE, NEW_FILE, SOON_AFTER, IN_A_THREAD, IN_ITS_PLACE])
async def test_what_a_plugin_writes_itself_reloads_nothing(tree: PluginTree, code: str) -> None:
    folder = tree.plugin("base", code=code)
    async with serving(tree) as live:
        problem = await live.fact(WatchProblem)
        path = Path(problem.path or "")
        assert path.parent == folder
        assert "is written by the plugin itself" in problem.message
        assert f'write ignore = ["{path.name}"] in the manifest' in problem.message
        await live.server.wait_idle()
        assert live.journal == ["setup"]
        assert live.outcomes == []
        live.forget()
        tree.plugin("base", code=code + "# edited\n")
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert live.journal == ["setup"]
        assert not live.of(WatchProblem), "it is told once"


async def test_what_a_plugin_writes_when_it_is_called_reloads_nothing(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_log, "SOON_NS", 0)  # It has been open for long.
    tree.plugin("base", code=ON_CALL)
    async with serving(tree) as live:
        for row in range(5):
            live.plugin("base").append(row)
            await live.server.wait_idle()
        assert live.journal == ["setup"]
        assert live.outcomes == []


@pytest.mark.parametrize("linked", ["plugins", "plugins/base"], ids=["root", "plugin"])
async def test_it_may_have_written_by_the_real_path_of_what_is_a_link(
    tmp_path: Path, linked: str
) -> None:
    tree = PluginTree(tmp_path / "plugins")
    tree.plugin("base", code=SAME_FILE.replace("__file__)", "__file__).resolve()"))
    (tmp_path / linked).rename(tmp_path / "real")
    (tmp_path / linked).symlink_to(tmp_path / "real")
    async with serving(tree) as live:
        assert "is written by the plugin itself" in (await live.fact(WatchProblem)).message
        await live.server.wait_idle()
        assert live.journal == ["setup"]


async def test_what_a_plugin_removes_when_it_is_called_reloads_nothing(tree: PluginTree) -> None:
    tree.write(tree.plugin("base", code=ON_CALL) / "more.csv", "more")
    async with serving(tree) as live:
        live.plugin("base").end()
        await live.server.wait_idle()
        assert live.journal == ["setup"]


async def test_an_edit_of_what_a_plugin_has_written_once_reloads_it(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree.plugin("base", code=SAME_FILE)
    async with serving(tree) as live:
        await live.settle()
        monkeypatch.setattr(write_log, "SOON_NS", 0)  # That was long ago.
        (folder / "state.json").write_text("edited")
        await live.fact(ReloadCommitted)


async def test_what_another_plugin_writes_reloads_the_one_it_belongs_to(tree: PluginTree) -> None:
    code = SAME_FILE.replace("parent /", 'parent.parent / "other" /')
    tree.plugin("other")
    tree.plugin("base", code=code)
    async with serving(tree) as live:
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert live.affected == {"other"}


@pytest.mark.parametrize("name", ["state.json", "run-{number}.json"], ids=["one file", "many"])
async def test_what_another_process_writes_at_every_setup_reloads_once_a_minute_at_most(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(own_writes, "FREE_RELOADS", 3)
    code = BY_A_PROCESS.replace("{NAME}", name)
    folder = tree.plugin("base", code=code)
    async with serving(tree) as live:
        problem = await live.fact(WatchProblem)
        assert (problem.path or "").startswith(str(folder))
        assert "has changed with each of 3 setups of its plugin" in problem.message
        assert "write ignore = [" in problem.message
        await live.server.wait_idle()
        assert len(live.journal) == own_writes.FREE_RELOADS
        for text in ("new", "newer"):
            await live.settle()
            assert live.journal == [], "nobody has touched it"
            tree.plugin("base", code=f"{code}# {text}\n")
            await live.fact(ReloadCommitted)
            assert live.journal


async def test_assets_saved_in_quick_succession_all_end_up_live(tree: PluginTree) -> None:
    folder = tree.plugin("site", code=SHOWS_A_PAGE)
    page = tree.write(folder / "page.html", "0")
    async with serving(tree) as live:
        site = live.plugin("site")
        for number in range(1, own_writes.FREE_RELOADS):
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
