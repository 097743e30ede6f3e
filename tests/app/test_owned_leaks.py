"""What a plugin owned does not keep its old generation in memory."""

from __future__ import annotations

import anyio
import pytest
from command_runs import GUARD_SECONDS
from serving import serving
from trees import PluginTree

from dagstack_dev.core.events import PluginLeaked

OWNING = """
from collections import namedtuple
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
import anyio

class Plugin:
    VERSION = {version}
    async def setup(self, ctx):
        ctx.extras["kept"].append(ctx)
        ctx.carry["plain"] = [1, 2]
        ctx.carry.update({carried})
        ctx.enter(plain())
        await ctx.enter_async(session())
        ctx.start_soon(self.follow)
        ctx.run_thread(self.work)
        ctx.callback(self.part)
    async def follow(self):
        await anyio.sleep_forever()
    def work(self, stop):
        stop.wait()
    def part(self):
        pass

@contextmanager
def plain():
    yield

@asynccontextmanager
async def session():
    yield

Point = namedtuple("Point", "x y")

class Mood(Enum):
    GOOD = 1

class Value:
    def method(self):
        return Plugin
"""


pytestmark = pytest.mark.usefixtures("idle_at_once")


def owning(tree: PluginTree, version: int, carried: str = "{}") -> None:
    tree.plugin("it", code=OWNING.format(version=version, carried=carried))


async def test_nothing_that_a_plugin_owned_nor_its_context_keeps_it(tree: PluginTree) -> None:
    owning(tree, 1)
    kept: list[object] = []
    async with serving(tree, extras={"kept": kept}) as live:
        owning(tree, 2)
        await live.settle()
        assert live.status("it").generation == 2
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []
        assert len(kept) == 2


@pytest.mark.parametrize("carried", ['{"v": Value()}', '{"v": Mood.GOOD}', '{"v": Point(1, 2)}'])
async def test_a_value_of_the_plugins_own_class_in_carry_keeps_the_old_generation(
    tree: PluginTree, carried: str
) -> None:
    owning(tree, 1, carried=carried)
    async with serving(tree, extras={"kept": []}) as live:
        live.forget()
        owning(tree, 2)
        with anyio.fail_after(GUARD_SECONDS):
            leaked = await live.fact(PluginLeaked)
        assert leaked.generation == 1
