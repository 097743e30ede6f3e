"""Plugins that cannot run yet: they wait, and come alive as soon as the disk allows it."""

from __future__ import annotations

import shutil

import anyio
import pytest
from serving import edit, ref, serving
from trees import CODE, PluginTree

from dagstack_dev import DependencyCycle, DependencyMissing, PluginUnavailable, State
from dagstack_dev.core.blame import blame
from dagstack_dev.core.events import ReloadCommitted, Transition
from dagstack_dev.core.lifecycle import Stage

SETUP_RAISES = """
class Plugin:
    def setup(self, ctx):
        raise RuntimeError("in setup")
"""


async def test_a_missing_dependency_that_appears_brings_its_dependents_alive(
    tree: PluginTree,
) -> None:
    tree.plugin("user", depends_on=["base"])
    tree.plugin("top", depends_on=["user"])
    async with serving(tree) as live:
        assert live.states == {"user": "blocked", "top": "blocked"}
        assert live.status("user").blocked_by == ("base",)
        assert isinstance(live.status("user").error, DependencyMissing | None)
        assert live.status("top").blocked_by == ("demo/user",)
        tree.plugin("base")
        await live.settle()
        assert live.journal == ["setup base 1", "setup user 1", "setup top 1"]
        assert live.outcomes == [ReloadCommitted]
        assert set(live.states.values()) == {"ready"}


async def test_what_waits_for_a_missing_name_waits_for_what_has_just_failed_too(
    tree: PluginTree,
) -> None:
    tree.plugin("user", depends_on=["nowhere", "base"])
    async with serving(tree) as live:
        tree.plugin("base", code=SETUP_RAISES)
        await live.settle()
        assert live.status("user").blocked_by == ("nowhere", "demo/base")


async def test_a_removed_dependency_blocks_its_dependents_until_it_is_back(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    tree.plugin("aside")
    async with serving(tree) as live:
        proxy = live.plugin("user")
        shutil.rmtree(folder)
        await live.settle()
        assert live.journal == ["teardown user 1", "teardown base 1"]
        assert live.states == {"user": "blocked", "aside": "ready"}
        assert live.status("user").blocked_by == ("base",)
        with pytest.raises(PluginUnavailable, match="base"):
            proxy.value()
        tree.plugin("base", value=2)
        await live.settle()
        assert live.states == {"user": "ready", "aside": "ready", "base": "ready"}
        assert proxy.value() == 1


FIRST_START = {
    "syntax error": ("class Plugin(", Stage.PREPARE),
    "import raises": ("class Plugin: pass\n1 / 0", Stage.IMPORT),
    "constructor raises": ("class Plugin:\n    def __init__(self): 1 / 0", Stage.IMPORT),
    "setup raises": (SETUP_RAISES, Stage.SETUP),
}


@pytest.mark.parametrize(("code", "stage"), FIRST_START.values(), ids=FIRST_START.keys())
async def test_a_failure_at_the_first_start_fails_alone(
    tree: PluginTree, code: str, stage: Stage
) -> None:
    tree.plugin("base", code=code)
    tree.plugin("user", depends_on=["base"])
    tree.plugin("top", depends_on=["user", "fine"])
    tree.plugin("fine")
    async with serving(tree) as live:
        assert live.states == {
            "base": "failed",
            "user": "blocked",
            "top": "blocked",
            "fine": "ready",
        }
        assert live.status("base").stage is stage
        assert live.status("base").error is not None
        assert live.status("user").blocked_by == ("demo/base",)
        kept = live.instance("fine")
        tree.plugin("base", value=2)
        await live.settle()
        assert set(live.states.values()) == {"ready"}
        assert live.outcomes == [ReloadCommitted]
        assert live.instance("fine") is kept
        assert live.journal == ["setup base 2", "setup user 1", "setup top 1"]


async def test_a_cycle_at_the_first_start_fails_its_members_and_blocks_what_needs_them(
    tree: PluginTree,
) -> None:
    tree.plugin("a", depends_on=["b"])
    tree.plugin("b", depends_on=["a"])
    tree.plugin("user", depends_on=["a"])
    tree.plugin("fine")
    async with serving(tree) as live:
        assert live.states == {"a": "failed", "b": "failed", "user": "blocked", "fine": "ready"}
        assert isinstance(live.status("a").error, DependencyCycle)
        tree.plugin("b")
        await live.settle()
        assert live.journal == ["setup b 1", "setup a 1", "setup user 1"]
        assert set(live.states.values()) == {"ready"}


async def test_a_blocked_plugin_whose_own_setup_fails_does_not_hurt_its_dependency(
    tree: PluginTree,
) -> None:
    tree.plugin("user", depends_on=["base"], code=SETUP_RAISES)
    async with serving(tree) as live:
        tree.plugin("base")
        await live.settle()
        assert live.states == {"base": "ready", "user": "failed"}


async def test_a_dependency_dropped_from_the_manifest_unblocks(tree: PluginTree) -> None:
    tree.plugin("user", depends_on=["nowhere"])
    async with serving(tree) as live:
        assert live.state("user") is State.BLOCKED
        edit(tree.root / "user/dagstack.toml", '"nowhere"', "")
        await live.settle()
        assert live.state("user") is State.READY


async def test_an_edit_of_a_blocked_plugin_keeps_it_blocked_without_importing_it(
    tree: PluginTree,
) -> None:
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.plugin("user", depends_on=["base"], code="1 / 0\nclass Plugin: pass")
        await live.settle()
        assert live.state("user") is State.BLOCKED
        assert live.of(Transition) == []
        tree.plugin("user", depends_on=["base"], value=2)
        tree.plugin("base")
        await live.settle()
        assert live.plugin("user").value() == 2


CRASHING = """
import anyio
class Plugin:
    async def setup(self, ctx):
        self.journal = ctx.extras["journal"]
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.group.start_soon(self.work, ctx.extras["die"])
        self.journal.append("setup base")
    async def work(self, die):
        await die.wait()
        raise RuntimeError("died at work")
    async def teardown(self):
        self.journal.append("teardown base")
        self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)
"""


async def test_a_crashed_plugin_fails_its_dependents_wait_and_the_next_edit_mends_all(
    tree: PluginTree,
) -> None:
    die = anyio.Event()
    tree.plugin("base", code=CRASHING)
    tree.plugin("user", depends_on=["base"])
    tree.plugin("aside")
    async with serving(tree, extras={"die": die}) as live:
        proxy = live.plugin("base")
        live.forget()
        die.set()
        await live.fact(Transition, lambda each: each.to_state is State.BLOCKED)
        await live.server.wait_idle()
        assert live.states == {"base": "failed", "user": "blocked", "aside": "ready"}
        status = live.status("base")
        assert status.stage is Stage.RUN
        assert status.error is not None
        assert blame(status.error).message == "died at work"
        assert live.status("user").blocked_by == ("demo/base",)
        assert "teardown user 1" in live.journal
        with pytest.raises(PluginUnavailable):
            proxy.value()

        tree.plugin("base", value=2)
        await live.settle()
        assert set(live.states.values()) == {"ready"}
        assert live.journal == ["setup base 2", "setup user 1"]
        assert proxy.value() == 2
        assert live.outcomes == [ReloadCommitted]


async def test_a_crashed_plugin_is_tried_again_when_another_plugin_changes(
    tree: PluginTree,
) -> None:
    die = anyio.Event()
    tree.plugin("base", code=CRASHING)
    tree.plugin("aside")
    extras = {"die": die}
    async with serving(tree, extras=extras) as live:
        live.forget()
        die.set()
        await live.fact(Transition, lambda each: each.to_state is State.FAILED)
        await live.server.wait_idle()
        assert live.state("base") is State.FAILED
        tree.plugin("base", code=CRASHING.replace("await die.wait()", "await anyio.Event().wait()"))
        await live.settle()
        assert live.state("base") is State.READY


async def test_the_blocked_are_set_up_only_once_all_they_wait_for_is_ready(
    tree: PluginTree,
) -> None:
    tree.plugin("user", depends_on=["one", "two"])
    async with serving(tree) as live:
        tree.plugin("one")
        await live.settle()
        assert live.states == {"user": "blocked", "one": "ready"}
        assert live.status("user").blocked_by == ("two",)
        tree.plugin("two", code=CODE.format(name="two", value=1))
        await live.settle()
        assert live.journal == ["setup two 1", "setup user 1"]
        assert live.affected == {ref("two").name, "user"}


async def test_a_plugin_that_dies_as_soon_as_it_is_ready_is_failed_and_comes_back(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    tree.plugin("b", depends_on=["a"], code=TAKES_ITS_TIME)
    async with serving(tree) as live:
        tree.plugin("a", code=DIES_AT_ONCE)
        await live.server.wait_idle()
        await live.fact(Transition, lambda fact: fact.to_state is State.FAILED)
        await live.server.wait_idle()
        statuses = live.server.statuses()
        assert statuses[ref("a")].state is State.FAILED
        assert statuses[ref("a")].stage is Stage.RUN
        assert statuses[ref("b")].state is State.BLOCKED
        assert statuses[ref("b")].blocked_by == ("demo/a",)
        tree.plugin("a", value=2)
        await live.server.wait_idle()
        assert [s.state for s in live.server.statuses().values()] == [State.READY] * 2


async def test_an_error_that_cannot_be_put_into_words_fails_its_plugin_alone(
    tree: PluginTree,
) -> None:
    tree.plugin("a", code=CANNOT_SAY)
    tree.plugin("b")
    async with serving(tree) as live:
        statuses = live.server.statuses()
        assert statuses[ref("a")].state is State.FAILED
        assert statuses[ref("b")].state is State.READY


DIES_AT_ONCE = """
import anyio

class Plugin:
    async def setup(self, ctx):
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.die)

    async def die(self):
        raise RuntimeError("gone")

    async def teardown(self):
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)
"""

TAKES_ITS_TIME = """
import anyio

class Plugin:
    async def setup(self, ctx):
        await anyio.sleep(0.05)
"""

CANNOT_SAY = """
class Speechless(Exception):
    def __str__(self):
        raise KeyError("words")

class Plugin:
    def setup(self, ctx):
        raise Speechless
"""
