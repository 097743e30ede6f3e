"""A server over a registry that the app has filled, and maybe set up, itself."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from serving import Live, context, edit, ref
from trees import PluginTree

from dagstack_dev import DevServer, PluginRegistry, PluginUnavailable, Settings, State
from dagstack_dev.core.events import ReloadCommitted, ReloadRolledBack

BY_HAND = {
    "name": "mine",
    "kind": "host",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "m:C",
    "depends_on": ["base"],
}


class Mine:
    """A plugin object of the app."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    def setup(self, ctx: Any) -> None:
        self.seen = ctx.registry.get_plugin("demo", "base").value()
        self.journal.append(f"setup mine seeing {self.seen}")

    def teardown(self) -> None:
        self.journal.append("teardown mine")


def live_over(registry: PluginRegistry, journal: list[str]) -> Live:
    ctx = context(journal, registry)
    return Live(DevServer(context=ctx, settings=Settings(debounce_ms=10)), journal)


async def test_a_registry_that_is_set_up_is_taken_over_and_left_running(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    await registry.setup_all(context(journal, registry))
    proxy = registry.get_plugin("demo", "base")
    journal.clear()
    live = live_over(registry, journal)
    async with live.server:
        assert journal == []
        tree.plugin("base", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert proxy.value() == 2
        journal.clear()
    assert journal == []
    assert proxy.value() == 2
    await registry.teardown_all()
    assert journal == ["teardown user 1", "teardown base 2"]


async def test_a_registry_that_is_only_discovered_is_set_up_and_torn_down(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    registry.register_manifest(BY_HAND, Mine(journal))
    live = live_over(registry, journal)
    async with live.server:
        assert set(live.states.values()) == {"ready"}
        assert journal[0] == "setup base 1"
        assert sorted(journal[1:]) == ["setup mine seeing 1", "setup user 1"]
        assert live.status("base").generation == 1
    assert journal[-1] == "teardown base 1"
    assert len(journal) == 6


@pytest.mark.parametrize("is_set_up", [True, False], ids=["set up", "discovered"])
async def test_edits_between_discover_and_the_server_are_picked_up(
    tree: PluginTree, is_set_up: bool
) -> None:
    tree.plugin("base")
    gone = tree.plugin("gone")
    moved = tree.plugin("moved")
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    if is_set_up:
        await registry.setup_all(context(journal, registry))
    tree.plugin("base", value=2)
    tree.plugin("new", depends_on=["base"])
    shutil.rmtree(gone)
    moved.rename(tree.root / "elsewhere")
    live = live_over(registry, journal)
    async with live.server:
        assert live.states == {"base": "ready", "new": "ready", "moved": "ready"}
        assert live.plugin("base").value() == 2
        assert live.status("moved").path == str(tree.root / "elsewhere")
    if is_set_up:
        assert "teardown gone 1" in journal
        await registry.teardown_all()


async def test_a_plugin_by_hand_follows_the_watched_one_that_it_depends_on(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("base")
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    mine = Mine(journal)
    registry.register_manifest(BY_HAND, mine)
    await registry.setup_all(context(journal, registry))
    live = live_over(registry, journal)
    async with live.server:
        tree.plugin("base", value=2)
        await live.settle()
        assert journal == [
            "teardown mine",
            "teardown base 1",
            "setup base 2",
            "setup mine seeing 2",
        ]
        assert live.instance("mine", "host") is mine

        tree.write("base/plugin.py", "class Plugin:\n    def setup(self, ctx): 1 / 0\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert journal[-1] == "setup mine seeing 2"
        assert live.state("mine", "host") is State.READY

        shutil.rmtree(folder)
        await live.settle()
        assert live.state("mine", "host") is State.BLOCKED
        with pytest.raises(PluginUnavailable):
            registry.get_plugin("host", "mine").teardown()
        tree.plugin("base", value=3)
        await live.settle()
        assert live.state("mine", "host") is State.READY
        assert mine.seen == 3
    await registry.teardown_all()


async def test_a_plugin_by_hand_can_be_reloaded_by_request(tree: PluginTree) -> None:
    tree.plugin("base")
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    registry.register_manifest(BY_HAND, Mine(journal))
    await registry.setup_all(context(journal, registry))
    live = live_over(registry, journal)
    async with live.server:
        live.forget()
        await live.server.reload(ref("mine", "host"))
        assert journal == ["teardown mine", "setup mine seeing 1"]
    await registry.teardown_all()


async def test_an_ambiguous_name_that_a_plugin_by_hand_depends_on_can_be_mended(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    registry.register_manifest(BY_HAND, Mine(journal))
    await registry.setup_all(context(journal, registry))
    live = live_over(registry, journal)
    async with live.server:
        twin = tree.plugin("base", kind="other", folder="twin")
        await live.settle()
        assert live.status("mine", "host").pending
        edit(twin / "dagstack.toml", '"base"', '"twin"')
        await live.settle()
        assert not live.status("mine", "host").pending
        tree.plugin("base", value=2)
        await live.settle()
        assert journal[-1] == "setup mine seeing 2"
    await registry.teardown_all()


async def test_two_servers_one_after_the_other_over_one_registry(tree: PluginTree) -> None:
    tree.plugin("base")
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    for value in (2, 3):
        live = live_over(registry, journal)
        async with live.server:
            tree.plugin("base", value=value)
            await live.settle()
            assert live.plugin("base").value() == value
        assert live.states == {"base": "stopped"}


async def test_the_patience_of_the_server_holds_for_what_was_there_and_ends_with_it(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    registry = PluginRegistry().discover(tree.root)
    await registry.setup_all(context([], registry))
    [entry] = registry.table.present()

    def patience() -> tuple[float, float]:
        return entry.gate.rules.patience, registry.runner.drain_seconds

    before = patience()
    settings = Settings(call_patience=0.25, drain_seconds=0.5)
    async with DevServer(registry=registry, settings=settings):
        assert patience() == (0.25, 0.5)
    assert patience() == before
    await registry.teardown_all()


async def test_what_is_registered_beside_a_running_server_can_be_set_up(tree: PluginTree) -> None:
    tree.plugin("base")
    journal: list[str] = []
    registry = PluginRegistry().discover(tree.root)
    ctx = context(journal, registry)
    await registry.setup_all(ctx)
    live = live_over(registry, journal)
    async with live.server:
        registry.register_manifest(BY_HAND, Mine(journal))
        await registry.setup_all(ctx)
        assert journal == ["setup base 1", "setup mine seeing 1"]
        tree.plugin("base", value=2)
        await live.settle()
        assert journal[-1] == "setup mine seeing 2"
    await registry.teardown_all()
