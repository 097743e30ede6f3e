"""Changes, calls and output that meet a reload under way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
from serving import Live, ref, serving
from trees import CODE, PluginTree

from dagstack_dev.core.events import (
    ReloadCommitted,
    ReloadSkipped,
    Transition,
)
from dagstack_dev.core.lifecycle import State

WAITING = """
class Plugin:
    VALUE = {value}
    async def setup(self, ctx):
        self.ctx = ctx
        ctx.extras["journal"].append("setup {value}")
        if {value} == 2:
            await ctx.extras["go_on"].wait()
    async def teardown(self):
        self.ctx.extras["journal"].append("teardown {value}")
    def value(self):
        return self.VALUE
"""


async def test_an_edit_of_another_plugin_during_a_reload_is_a_reload_beside_it(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=WAITING.format(value=1))
    tree.plugin("other")
    go_on = anyio.Event()
    async with serving(tree, extras={"go_on": go_on}) as live:
        live.forget()
        tree.plugin("base", code=WAITING.format(value=2))
        await live.fact(Transition, lambda each: each.to_state is State.SETTING_UP)
        tree.plugin("other", value=3)
        await live.fact(ReloadCommitted)
        assert live.plugin("other").value() == 3
        assert live.state("base") is State.SETTING_UP
        go_on.set()
        await live.fact(ReloadCommitted, lambda each: each.changed == (ref("base"),))


WRITES = """
import sqlite3
from pathlib import Path
class Plugin:
    VALUE = 1
    def setup(self, ctx):
        here = Path(__file__).parent
        with open(here / "run.log", "a") as log:
            log.write("set up\\n")
        with sqlite3.connect(here / "data.sqlite") as db:
            db.execute("create table if not exists t (x)")
            db.execute("insert into t values (1)")
        db.close()
        (here / "__pycache__").mkdir(exist_ok=True)
        (here / "__pycache__" / "x.pyc").write_bytes(str(ctx.extras["journal"]).encode())
        ctx.extras["journal"].append("setup")
    def value(self):
        return self.VALUE
"""


async def test_logs_databases_and_caches_do_not_count(tree: PluginTree) -> None:
    folder = tree.plugin("base", code=WRITES)
    async with serving(tree) as live:
        live.forget()
        (folder / "run.log").write_text("more")
        with sqlite3.connect(folder / "data.sqlite") as database:
            database.execute("insert into t values (2)")
        database.close()
        (folder / "__pycache__/y.pyc").write_bytes(b"y")
        await live.server.wait_idle()
        tree.plugin("base", code=WRITES.replace("= 1", "= 2"))
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert live.journal == ["setup"]
        assert live.of(ReloadSkipped) == []


SLOW_CALLS = """
import anyio
class Plugin:
    VALUE = {value}
    alive = False
    async def setup(self, ctx):
        await anyio.lowlevel.checkpoint()
        self.alive = True
    async def teardown(self):
        self.alive = False
    async def value(self):
        assert self.alive, "called before setup or after teardown"
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert self.alive, "torn down during a call"
        return self.VALUE
"""


async def call_for_ever(live: Live, name: str, seen: list[int], scope: anyio.CancelScope) -> None:
    proxy = live.plugin(name)
    with scope:
        while True:
            seen.append(await proxy.value())


async def test_calls_through_fifty_reloads_never_fail_nor_see_a_dead_instance(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=SLOW_CALLS.format(value=0))
    tree.plugin("user", depends_on=["base"], code=SLOW_CALLS.format(value=7))
    async with serving(tree) as live, anyio.create_task_group() as group:
        seen: dict[str, list[int]] = {"base": [], "user": []}
        scopes = [anyio.CancelScope() for _ in seen]
        for name, scope in zip(seen, scopes, strict=True):
            group.start_soon(call_for_ever, live, name, seen[name], scope)
        for value in range(1, 51):
            tree.plugin("base", code=SLOW_CALLS.format(value=value))
            await live.server.wait_idle()
        calls = len(seen["base"])
        while len(seen["base"]) == calls:
            await anyio.lowlevel.checkpoint()
        for scope in scopes:
            scope.cancel()
        assert seen["base"] == sorted(seen["base"])
        assert {0, 50} <= set(seen["base"])
        assert live.status("base").generation == 51
        assert set(seen["user"]) == {7}


async def test_a_file_written_by_the_app_during_setup_is_not_lost(
    tree: PluginTree, tmp_path: Path
) -> None:
    code = CODE.format(name="base", value=1).replace("self.ctx = ctx", "self.ctx = ctx; EDIT")
    edit = '(__import__("pathlib").Path(__file__).parent / "extra.py").write_text("x = 1")'
    tree.plugin("base", code=code.replace("EDIT", edit))
    async with serving(tree) as live:
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert live.status("base").generation == 2
