"""A plugin that dies by itself while its transaction is under way, or being rolled back."""

from __future__ import annotations

import anyio
from serving import ref, serving
from trees import PluginTree

from dagstack_dev.core.blame import root_error
from dagstack_dev.core.events import ReloadFailed, ReloadRolledBack, ReloadStarted, Transition
from dagstack_dev.core.lifecycle import Stage, State

DIES_THE_SECOND_TIME = """
    import anyio
    setups = []
    class Plugin:
        async def setup(self, ctx):
            self.group = await anyio.create_task_group().__aenter__()
            if setups:
                self.group.start_soon(self.die)
            setups.append(self)

        async def die(self):
            raise LookupError("bang")

        async def teardown(self):
            await self.group.__aexit__(None, None, None)
"""
READY_AFTER_THAT = """
    import anyio
    setups = []
    class Plugin:
        async def setup(self, ctx):
            while len(setups) == 1 and ctx.registry.statuses()[("demo", "frail")].state != "failed":
                await anyio.lowlevel.checkpoint()
            setups.append(self)
"""


async def test_it_is_failed_with_what_it_died_of(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("frail", code=DIES_THE_SECOND_TIME, depends_on=["base"])
    tree.plugin("slow", code=READY_AFTER_THAT, depends_on=["base"])
    async with serving(tree) as live:
        tree.plugin("base", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n")
        await live.settle()
        assert live.states == {"base": "ready", "frail": "failed", "slow": "ready"}
        fact = live.of(ReloadFailed)[0]  # Another one tells of the crash alone.
        assert root_error(fact.errors[ref("frail")]).args == ("bang",)
        status = live.status("frail")
        assert status.stage is Stage.RUN
        assert status.error is not None
        assert root_error(status.error).args == ("bang",)
        assert live.status("base").pending

        tree.plugin("base", value=2)
        tree.plugin("frail", value=2, depends_on=["base"])
        await live.settle()
        assert set(live.states.values()) == {"ready"}


DIES_WHEN_TOLD = """
    import anyio
    class Plugin:
        def setup(self, ctx):
            self.end = anyio.Event()
            ctx.start_soon(self.work)

        async def work(self):
            await self.end.wait()
            raise LookupError("bang")
"""


async def test_what_depends_on_a_plugin_that_died_stays_down_when_a_neighbour_is_rolled_back(
    tree: PluginTree,
) -> None:
    tree.plugin("mortal", code=DIES_WHEN_TOLD)
    tree.plugin("neighbour")
    tree.plugin("user", depends_on=["mortal", "neighbour"])
    async with serving(tree, retry_seconds=0) as live:
        tree.write("neighbour/plugin.py", "1 / 0\nclass Plugin: ...\n")
        await live.settle()
        assert live.states == {"mortal": "ready", "neighbour": "ready", "user": "ready"}
        live.forget()
        live.instance("mortal").end.set()
        await live.fact(ReloadFailed)
        assert live.states == {"mortal": "failed", "neighbour": "ready", "user": "blocked"}
        assert live.status("neighbour").pending


HOLDS = """
    class Plugin:
        async def hold(self, begun, release):
            begun.set()
            await release.wait()
"""


async def test_what_dies_while_calls_end_runs_again_when_its_reload_is_rolled_back(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=HOLDS)
    tree.plugin("mortal", code=DIES_WHEN_TOLD, depends_on=["base"])
    begun, release = anyio.Event(), anyio.Event()
    async with serving(tree, retry_seconds=0) as live, anyio.create_task_group() as callers:
        callers.start_soon(live.plugin("base").hold, begun, release)
        await begun.wait()
        tree.write("mortal/plugin.py", "def broken(:\n")
        await live.settle()
        assert live.status("mortal").pending
        live.forget()
        tree.plugin("base", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n")
        await live.fact(ReloadStarted)
        live.instance("mortal").end.set()
        died = await live.fact(Transition, lambda each: each.to_state is State.FAILED)
        assert (died.ref, died.stage) == (ref("mortal"), Stage.RUN)
        assert not live.reached(State.STOPPED), "the calls had ended"
        release.set()
        await live.fact(ReloadRolledBack)
        assert live.states == {"base": "ready", "mortal": "ready"}
        assert live.status("mortal").pending
        await live.settle()
        assert live.states == {"base": "ready", "mortal": "ready"}
        assert live.status("mortal").pending
