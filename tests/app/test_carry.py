"""What a plugin hands on from one of its setups to the next."""

from __future__ import annotations

import shutil
from functools import partial

import anyio
from command_runs import GUARD_SECONDS
from serving import Live, serving
from trees import PluginTree

from dagstack_dev import DevServer, PluginRegistry
from dagstack_dev.core.events import ReloadRolledBack

COUNTING = """
class Plugin:
    VERSION = {version}
    def setup(self, ctx):
        ctx.carry["setups"] = ctx.carry.get("setups", 0) + 1
        self.carry = ctx.carry
        {then}
    def setups(self):
        return self.carry["setups"]
"""


def counting(tree: PluginTree, name: str = "it", then: str = "pass", **options: object) -> None:
    version = options.pop("version", 1)
    tree.plugin(name, code=COUNTING.format(version=version, then=then), **options)  # type: ignore[arg-type]


def setups(live: Live, name: str = "it") -> int:
    return int(live.plugin(name).setups())


async def test_it_survives_a_reload_and_one_for_a_dependency(tree: PluginTree) -> None:
    tree.plugin("base")
    counting(tree, depends_on=["base"])
    async with serving(tree) as live:
        assert setups(live) == 1
        counting(tree, depends_on=["base"], version=2)
        await live.settle()
        assert setups(live) == 2
        tree.plugin("base", value=2)
        await live.settle()
        assert setups(live) == 3


async def test_it_is_each_plugins_own(tree: PluginTree) -> None:
    counting(tree, "a")
    counting(tree, "b")
    async with serving(tree) as live:
        counting(tree, "a", version=2)
        await live.settle()
        assert (setups(live, "a"), setups(live, "b")) == (2, 1)


async def test_after_a_roll_back_the_old_generation_finds_what_the_new_one_has_left(
    tree: PluginTree,
) -> None:
    counting(tree)
    async with serving(tree) as live:
        counting(tree, version=2, then='raise LookupError("no")')
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert setups(live) == 3


async def test_it_survives_a_failure_that_nothing_can_be_rolled_back_from(
    tree: PluginTree,
) -> None:
    counting(tree, then='raise LookupError("no")')
    async with serving(tree) as live:
        assert live.states == {"it": "failed"}
        counting(tree)
        await live.settle()
        assert setups(live) == 2


async def test_it_survives_being_blocked(tree: PluginTree) -> None:
    tree.plugin("base")
    counting(tree, depends_on=["base"])
    async with serving(tree) as live:
        (tree.root / "base").rename(tree.root.parent / "base")
        await live.settle()
        assert live.states == {"it": "blocked"}
        (tree.root.parent / "base").rename(tree.root / "base")
        await live.settle()
        assert setups(live) == 2


async def test_it_survives_a_folder_that_is_moved(tree: PluginTree) -> None:
    counting(tree)
    async with serving(tree) as live:
        (tree.root / "it").rename(tree.root / "elsewhere")
        await live.settle()
        counting(tree, version=2, folder="elsewhere")
        await live.settle()
        assert setups(live) >= 2


async def test_it_survives_a_crash(tree: PluginTree) -> None:
    crash = "ctx.start_soon(self.crash)\n    async def crash(self): 1 / 0"
    counting(tree, then=crash)
    async with serving(tree) as live:
        with anyio.fail_after(GUARD_SECONDS):
            while live.states != {"it": "failed"}:
                await anyio.sleep(0.001)
        counting(tree, version=2)
        await live.settle()
        assert setups(live) == 2


async def test_a_plugin_that_is_removed_and_back_begins_anew(tree: PluginTree) -> None:
    counting(tree)
    async with serving(tree) as live:
        carry = live.instance("it").carry
        shutil.rmtree(tree.root / "it")
        await live.settle()
        assert carry == {}
        counting(tree)
        await live.settle()
        assert setups(live) == 1


async def test_a_plugin_that_is_renamed_begins_anew_and_back_again(tree: PluginTree) -> None:
    counting(tree)
    async with serving(tree) as live:
        counting(tree, "renamed", folder="it")
        await live.settle()
        assert live.states == {"renamed": "ready"}
        assert setups(live, "renamed") == 1
        counting(tree)
        await live.settle()
        assert setups(live) == 1


async def test_a_rename_that_is_rolled_back_loses_nothing(tree: PluginTree) -> None:
    counting(tree)
    async with serving(tree) as live:
        counting(tree, "renamed", folder="it", then='raise LookupError("no")')
        await live.settle()
        assert live.states == {"it": "ready"}
        assert setups(live) == 2


async def test_it_does_not_survive_a_restart(tree: PluginTree) -> None:
    counting(tree)
    registry = PluginRegistry()
    for _ in range(2):
        async with DevServer(tree.root, registry=registry):
            plugin = registry.get_plugin("demo", "it")
            assert plugin.setups() == 1


def test_both_event_loops_have_it(tree: PluginTree) -> None:
    async def main() -> None:
        await test_it_survives_a_reload_and_one_for_a_dependency(tree)

    partial(anyio.run, backend="trio")(main)
