"""A transient failure is tried again, without an edit."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev import (
    Fact,
    PluginLeaked,
    PluginRetrying,
    ReloadCommitted,
    ReloadStarted,
    State,
    Transition,
)

UNTIL_UP = """
class Down(Exception):
    is_transient = True

class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("tried")
        if not ctx.extras["up"]:
            raise Down("nobody is there")
    def value(self):
        return 1
"""
"""A plugin that cannot be set up before the host's `up` holds something."""

CRASHES = """
import anyio

class Plugin:
    async def setup(self, ctx):
        self.crash = anyio.Event()
        ctx.start_soon(self.wait)
    async def wait(self):
        await self.crash.wait()
        raise ConnectionResetError("hung up")
"""


class Forgetful(list[Fact]):
    """Keeps nothing."""

    def append(self, fact: Fact) -> None:
        pass


async def until_tried(live: Live, times: int) -> PluginRetrying:
    """Wait until a plugin has been tried so often, and failed."""
    return await live.fact(PluginRetrying, lambda fact: fact.attempt >= times)


async def test_it_comes_up_by_itself_with_what_waits_for_it(tree: PluginTree) -> None:
    up: list[None] = []
    tree.plugin("base", code=UNTIL_UP)
    tree.plugin("user", depends_on=["base"])
    tree.plugin("aside")
    async with serving(tree, extras={"up": up}, retry_seconds=0.01) as live:
        await until_tried(live, 2)
        assert live.states == {"base": "failed", "user": "blocked", "aside": "ready"}
        up.append(None)
        await live.fact(ReloadCommitted)
        assert set(live.states.values()) == {"ready"}
        assert live.plugin("base").value() == 1
        assert live.reached(State.READY) == ["aside", "base", "user"]
        aside = [each for each in live.of(Transition) if each.ref == ref("aside")]
        assert {each.reload_id for each in aside} == {None}


async def test_pauses_are_reported_and_grow(tree: PluginTree) -> None:
    tree.plugin("base", code=UNTIL_UP)
    pauses = {"retry_seconds": 0.01, "retry_limit_seconds": 0.05}
    async with serving(tree, extras={"up": []}, **pauses) as live:
        await until_tried(live, 5)
        reported = live.of(PluginRetrying)[:5]
        assert [each.attempt for each in reported] == [1, 2, 3, 4, 5]
        assert [each.seconds for each in reported] == [0.01, 0.02, 0.04, 0.05, 0.05]
        assert [each.is_longest for each in reported] == [False, False, False, True, True]
        assert str(reported[0].error) == "nobody is there"


@pytest.mark.usefixtures("idle_at_once")
async def test_old_tries_do_not_pile_up(tree: PluginTree) -> None:
    seen: list[weakref.ref[object]] = []
    remember = 'import weakref; ctx.extras["seen"].append(weakref.ref(self))'
    tree.plugin("base", code=UNTIL_UP.replace('ctx.extras["journal"].append("tried")', remember))
    async with serving(tree, extras={"up": [], "seen": seen}, retry_seconds=0.001) as live:
        await until_tried(live, 6)
        reported: list[Fact] = []
        live.server.registry.observe(reported.append)
        live.facts = Forgetful()  # For facts hold errors, and these what has failed.
        await live.looked_for_leaks()
        assert not any(isinstance(each, PluginLeaked) for each in reported)
        reported.clear()
        gc.collect()
        assert sum(1 for each in seen if each() is not None) <= 1


async def test_any_other_failure_waits_for_an_edit(tree: PluginTree) -> None:
    tree.plugin("broken", code=UNTIL_UP.replace("is_transient = True", "is_transient = False"))
    tree.plugin("base", code=UNTIL_UP)
    async with serving(tree, extras={"up": []}, retry_seconds=0.01) as live:
        await until_tried(live, 3)
        assert {each.ref for each in live.of(PluginRetrying)} == {ref("base")}
        assert {each.changed for each in live.of(ReloadStarted)} == {(ref("base"),)}


async def test_what_became_of_it_since_decides(tree: PluginTree) -> None:
    tree.plugin("base", code=UNTIL_UP)
    async with serving(tree, extras={"up": []}, retry_seconds=0.01) as live:
        await until_tried(live, 2)
        edit(tree.root / "base/plugin.py", "raise Down", "raise RuntimeError")
        await live.settle()
        live.forget()
        await live.server.wait_idle()
        assert isinstance(live.status("base").error, RuntimeError)
        assert live.of(PluginRetrying) == []
        edit(tree.root / "base/plugin.py", "raise RuntimeError", "raise Down")
        assert (await live.fact(PluginRetrying)).attempt == 1


async def test_a_pause_ends_with_an_edit_and_with_a_forced_reload(tree: PluginTree) -> None:
    up: list[None] = []
    tree.plugin("base", code=UNTIL_UP)
    async with serving(tree, extras={"up": up}, retry_seconds=3600) as live:
        assert (await until_tried(live, 1)).seconds == 30
        live.forget()
        await live.server.reload(ref("base"))
        assert (await live.fact(PluginRetrying)).attempt == 1
        assert live.journal == ["tried"]
        up.append(None)
        edit(tree.root / "base/plugin.py", "return 1", "return 2")
        await live.server.wait_idle()
        assert live.plugin("base").value() == 2


async def test_it_is_not_tried_with_the_reloads_of_others_meanwhile(tree: PluginTree) -> None:
    tree.plugin("base", code=UNTIL_UP)
    tree.plugin("aside")
    async with serving(tree, extras={"up": []}, retry_seconds=3600) as live:
        await until_tried(live, 1)
        live.forget()
        tree.plugin("aside", value=2)
        await live.server.wait_idle()
        assert live.journal == ["teardown aside 1", "setup aside 2"]


@pytest.mark.parametrize("crashes", [False, True])
async def test_it_is_tried_with_an_edit_of_what_it_depends_on(
    tree: PluginTree, crashes: bool
) -> None:
    library = tree.plugin("library")
    tree.plugin("between", depends_on=["library"])
    tree.plugin("base", code=CRASHES if crashes else UNTIL_UP, depends_on=["between"])
    up: list[object] = []
    async with serving(tree, extras={"up": up}, retry_seconds=3600) as live:
        if crashes:
            live.instance("base").crash.set()
        await until_tried(live, 1)
        up.append(None)
        edit(library / "plugin.py", "VALUE = 1", "VALUE = 2")
        await live.server.wait_idle()
        assert live.states == dict.fromkeys(["library", "between", "base"], "ready")


async def test_it_is_tried_with_an_edit_of_shared_code_which_may_be_the_fix(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "UP = False\n")
    tree.plugin("user", code="import helpers\nclass Plugin: ...\n")
    tree.plugin(
        "base",
        code="""
        class Plugin:
            def setup(self, ctx):
                from helpers import UP
                if not UP:
                    raise ConnectionError("no such host")
        """,
    )
    async with serving(tree, retry_seconds=3600) as live:
        await until_tried(live, 1)
        tree.write("helpers/__init__.py", "UP = True\n")
        await live.server.wait_idle()
        assert live.states == {"base": "ready", "user": "ready"}


async def test_idle_does_not_wait_for_a_pause(tree: PluginTree) -> None:
    tree.plugin("base", code=UNTIL_UP)
    async with serving(tree, extras={"up": []}, retry_seconds=3600) as live:
        await live.server.wait_idle()
        assert live.state("base") is State.FAILED


async def test_a_removed_plugin_is_not_tried_again(tree: PluginTree) -> None:
    folder = tree.plugin("base", code=UNTIL_UP)
    async with serving(tree, extras={"up": []}, retry_seconds=0.01) as live:
        await until_tried(live, 1)
        (folder / "dagstack.toml").unlink()
        await live.settle()
        assert live.states == {}
        assert live.server._loop.inbox.empty


async def test_0_switches_it_off(tree: PluginTree) -> None:
    tree.plugin("base", code=UNTIL_UP)
    async with serving(tree, extras={"up": []}, retry_seconds=0) as live:
        await live.server.wait_idle()
        assert live.of(PluginRetrying) == []


async def test_a_transient_crash_blocks_and_unblocks_its_dependents(tree: PluginTree) -> None:
    tree.plugin("base", code=CRASHES)
    tree.plugin("user", depends_on=["base"])
    async with serving(tree, retry_seconds=0.01) as live:
        live.instance("base").crash.set()
        await live.fact(ReloadCommitted)
        assert live.states == {"base": "ready", "user": "ready"}
        assert live.reached(State.BLOCKED) == ["user"]
        assert live.journal == ["setup user 1", "teardown user 1", "setup user 1"]


@pytest.fixture
def imports_fail_until(tree: PluginTree, tmp_path: Path) -> Callable[[], object]:
    """A plugin whose very import needs a file; what is returned makes it."""
    path = tmp_path / "up"
    tree.plugin(
        "base",
        code=f"""
        import os
        if not os.path.exists({str(path)!r}):
            raise ConnectionRefusedError("no licence server")
        class Plugin:
            pass
        """,
    )
    return path.touch


async def test_an_import_is_tried_again_too(
    tree: PluginTree, imports_fail_until: Callable[[], object]
) -> None:
    async with serving(tree, retry_seconds=0.01) as live:
        await until_tried(live, 2)
        imports_fail_until()
        await live.fact(ReloadCommitted)
        assert live.states == {"base": "ready"}


async def test_a_port_that_is_taken_is_tried_again_until_it_is_free(tree: PluginTree) -> None:
    tree.plugin(
        "base",
        code="""
        import asyncio

        class Plugin:
            async def setup(self, ctx):
                await ctx.enter_async(await asyncio.start_server(print, *ctx.extras["address"]))
        """,
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        extras = {"address": taken.getsockname()}
        async with serving(tree, extras=extras, retry_seconds=0.01) as live:
            await until_tried(live, 2)
            taken.close()
            await live.fact(ReloadCommitted)
            assert live.states == {"base": "ready"}
