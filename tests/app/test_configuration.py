"""The configuration file: what it changes is reloaded, and nothing else."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import ConfigInvalid, State
from dagstack_dev.app import server
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadStarted,
)

CONFIGURED = """
class Plugin:
    def setup(self, ctx):
        self.greeting = ctx.config.get("greeting")
        if self.greeting == "bad":
            raise RuntimeError("I will not say that")
"""
CONFIG = """\
[demo.one]
greeting = "hello"

[demo.two]
greeting = "ahoy"
"""


@pytest.fixture
def config(tree: PluginTree, tmp_path: Path) -> Path:
    """Three plugins, two of them with a section of their own."""
    for name in ("one", "two", "three"):
        tree.plugin(name, code=CONFIGURED)
    tree.plugin("user", depends_on=["one"])
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


async def test_only_the_plugins_whose_section_differs_are_renewed(
    tree: PluginTree, config: Path
) -> None:
    async with serving(tree, config_file=config) as live:
        assert live.plugin("one").greeting == "hello"
        module = live.module("one")
        before = {name: live.instance(name) for name in live.states}
        edit(config, "hello", "good day")
        await live.settle()
        assert live.plugin("one").greeting == "good day"
        assert live.affected == {"one", "user"}
        assert live.module("one") is module
        assert live.status("one").generation == 1
        for name in ("two", "three"):
            assert live.instance(name) is before[name]
        assert live.instance("one") is not before["one"]


async def test_a_change_of_the_file_is_seen_through_its_event(
    tree: PluginTree, config: Path
) -> None:
    async with serving(tree, config_file=config) as live:
        live.forget()
        edit(config, "hello", "good day")
        await live.fact(ReloadCommitted)
        assert live.plugin("one").greeting == "good day"


async def test_a_change_while_the_server_starts_is_not_lost(
    tree: PluginTree, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server, "warn_of_reloading_parent", lambda _: edit(config, "hello", "good day")
    )
    async with serving(tree, config_file=config) as live:
        assert live.plugin("one").greeting == "good day"


async def test_a_change_that_means_the_same_reloads_nothing(tree: PluginTree, config: Path) -> None:
    async with serving(tree, config_file=config) as live:
        edit(config, "[demo.two]", "# a comment\n[demo.two]")
        await live.settle()
        assert live.of(ReloadStarted) == []


async def test_sections_that_come_and_go_count_as_changes(tree: PluginTree, config: Path) -> None:
    async with serving(tree, config_file=config) as live:
        config.write_text(CONFIG + '[demo.three]\ngreeting = "hi"\n')
        await live.settle()
        assert live.affected == {"three"}
        assert live.plugin("three").greeting == "hi"
        config.write_text('[demo.two]\ngreeting = "ahoy"\n')
        await live.settle()
        assert live.affected == {"one", "three", "user"}
        assert live.plugin("one").greeting is None


BROKEN = {
    "not TOML": lambda path: path.write_text("[demo"),
    "not UTF-8": lambda path: path.write_bytes(b"a = '\xff'"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_file_is_rejected_once_and_the_old_configuration_goes_on(
    tree: PluginTree, config: Path, break_it: object
) -> None:
    async with serving(tree, config_file=config) as live:
        kept = live.instance("one")
        assert callable(break_it)
        break_it(config)
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, ConfigInvalid)
        assert (rejected.ref, rejected.path) == (None, str(config))
        assert live.instance("one") is kept
        tree.plugin("three", code=CONFIGURED + "\n")
        await live.settle()
        assert live.of(PluginRejected) == []
        config.write_text(CONFIG.replace("hello", "hi"))
        await live.settle()
        assert live.plugin("one").greeting == "hi"


async def test_a_rollback_restores_the_old_configuration(tree: PluginTree, config: Path) -> None:
    async with serving(tree, config_file=config) as live:
        edit(config, "hello", "bad")
        edit(config, "ahoy", "avast")
        await live.settle()
        assert set(live.outcomes) == {ReloadRolledBack, ReloadCommitted}
        assert live.plugin("one").greeting == "hello"
        assert live.plugin("two").greeting == "avast"
        assert live.state("one") is State.READY
        assert live.status("one").pending
        edit(config, "bad", "good")
        await live.settle()
        assert live.plugin("one").greeting == "good"
        assert not live.status("one").pending


async def test_going_back_to_the_configuration_that_runs_ends_the_pending_state(
    tree: PluginTree, config: Path
) -> None:
    async with serving(tree, config_file=config) as live:
        edit(config, "hello", "bad")
        await live.settle()
        assert live.status("one").pending
        edit(config, "bad", "hello")
        await live.settle()
        assert live.plugin("one").greeting == "hello"
        assert not live.status("one").pending


async def test_code_and_configuration_changed_together_are_one_reload(
    tree: PluginTree, config: Path
) -> None:
    async with serving(tree, config_file=config) as live:
        edit(config, "hello", "bad")
        tree.plugin("one", code=CONFIGURED.replace('"bad"', '"worse"'))
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("one").greeting == "bad"
        assert live.status("one").generation == 2


async def test_a_configuration_that_is_half_way_through_a_save_is_waited_for(
    tree: PluginTree, config: Path
) -> None:
    async with serving(tree, config_file=config, debounce_ms=2000) as live:
        config.write_text("")
        async with anyio.create_task_group() as group:
            group.start_soon(live.server.wait_idle)
            while not live.server._loop._under_way:
                await anyio.lowlevel.checkpoint()
            config.write_text(CONFIG.replace("hello", "good day"))
        assert live.plugin("one").greeting == "good day"
        assert live.plugin("two").greeting == "ahoy"
        assert len(live.of(ReloadCommitted)) == 1


async def test_a_configuration_behind_a_link_is_watched_where_it_really_is(
    tree: PluginTree, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    real = config.rename(tmp_path / "elsewhere" / "real.toml")
    config.symlink_to(real)
    async with serving(tree, config_file=config) as live:
        edit(real, "hello", "good day")
        await live.fact(ReloadCommitted)
        assert live.plugin("one").greeting == "good day"


async def test_a_plugin_that_is_renamed_while_its_section_changes_is_gone_under_its_old_name(
    tree: PluginTree, config: Path
) -> None:
    async with serving(tree, config_file=config) as live:
        edit(config, "ahoy", "good day")
        edit(tree.root / "two/dagstack.toml", '"two"', '"second"')
        await live.settle()
        assert live.states["second"] == "ready"
        assert live.states.get("two", "removed") == "removed"
