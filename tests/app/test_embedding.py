"""The server inside an app: its block, its requests and its end."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import weakref
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from command_runs import GUARD_SECONDS
from serving import context, make_live, ref, serving
from trees import PluginTree

from dagstack_dev import ConfigInvalid, DevServer, KindUnknown, Settings
from dagstack_dev.core.events import ReloadCommitted, Transition, WatchStarted, WatchStopped
from dagstack_dev.core.lifecycle import State


async def test_the_block_starts_in_order_and_ends_in_reverse(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    live = make_live(tree)
    async with live.server as server:
        assert server is live.server
        assert live.journal == ["setup base 1", "setup user 1"]
        [started] = live.of(WatchStarted)
        assert (started.plugins, started.ready) == (2, 2)
        assert started.roots == (str(tree.root),)
    assert live.journal[2:] == ["teardown user 1", "teardown base 1"]
    [stopped] = live.of(WatchStopped)
    assert stopped.errors == ()


async def test_it_leaves_no_task_and_no_thread_behind(tree: PluginTree) -> None:
    tree.plugin("base", code=SLOW.format(wait="pass"))
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    async with serving(tree) as live:
        await live.server.wait_idle()
    assert asyncio.all_tasks() == tasks
    for thread in set(threading.enumerate()) - threads:
        if not thread.name.startswith("AnyIO worker"):  # Those are kept for the next call.
            thread.join(GUARD_SECONDS)
            assert not thread.is_alive(), thread.name


async def test_an_exception_in_the_body_tears_down_and_comes_out_unwrapped(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    live = make_live(tree)
    with pytest.raises(LookupError, match="mine"):
        async with live.server:
            raise LookupError("mine")
    assert live.journal == ["setup base 1", "teardown base 1"]


async def test_it_runs_next_to_the_tasks_of_the_app(tree: PluginTree) -> None:
    tree.plugin("base")
    seen: list[int] = []

    async def client(live: DevServer, reloaded: anyio.Event) -> None:
        proxy = live.registry.get_plugin("demo", "base")
        seen.append(await proxy.async_value())
        await reloaded.wait()
        seen.append(await proxy.async_value())

    async with serving(tree) as live, anyio.create_task_group() as group:
        reloaded = anyio.Event()
        group.start_soon(client, live.server, reloaded)
        await anyio.lowlevel.checkpoint()
        tree.plugin("base", value=2)
        await live.fact(ReloadCommitted)
        reloaded.set()
    assert seen == [1, 2]


async def test_reload_reloads_what_is_named_and_what_depends_on_it(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    tree.plugin("aside")
    async with serving(tree) as live:
        live.forget()
        await live.server.reload(("demo", "base"))
        assert live.journal == [
            "teardown user 1",
            "teardown base 1",
            "setup base 1",
            "setup user 1",
        ]
        assert live.status("base").generation == 2
        assert live.status("user").generation == 1
        live.forget()
        await live.server.reload()
        assert live.affected == {"base", "user", "aside"}
        assert live.status("user").generation == 2


async def test_reload_of_an_unknown_plugin_reloads_nothing(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        live.forget()
        with pytest.raises(KindUnknown, match="did you mean 'base'"):
            await live.server.reload(ref("base"), ("demo", "bas"))
        await live.server.wait_idle()
        assert live.facts == []


async def test_a_folder_removed_meanwhile_wins_over_the_request_to_reload_it(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("base")
    async with serving(tree) as live:
        (folder / "dagstack.toml").unlink()
        (folder / "plugin.py").unlink()
        await live.server.reload(ref("base"))
        await live.server.wait_idle()
        assert live.states == {}


async def test_reload_tries_a_failed_plugin_again(tree: PluginTree) -> None:
    flag: list[int] = []
    code = "class Plugin:\n    def setup(self, ctx): assert ctx.extras['flag']\n"
    tree.plugin("base", code=code)
    async with serving(tree, extras={"flag": flag}) as live:
        assert live.state("base") is State.FAILED
        flag.append(1)
        await live.server.reload(ref("base"))
        assert live.state("base") is State.READY


async def test_no_root_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="name at least one folder"):
        async with DevServer():
            pass


async def test_a_root_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "nowhere")
    assert server.roots == server.code_roots == ()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        async with server:
            pass


async def test_a_configuration_that_is_no_toml_is_an_error(tree: PluginTree) -> None:
    path = tree.write("config.toml", "[oops")
    with pytest.raises(ConfigInvalid, match=r"config.toml:1"):
        async with DevServer(tree.root, settings=Settings(config_file=path)):
            pass


async def test_without_a_context_plugins_get_one_with_the_registry(tree: PluginTree) -> None:
    tree.plugin("base", code="class Plugin:\n    def setup(self, ctx): self.ctx = ctx\n")
    async with DevServer(tree.root) as server:
        ctx = server.registry.get_plugin("demo", "base").ctx
        assert ctx.registry is server.registry
        assert ctx.config == {}


async def test_two_roots_are_one_graph(tmp_path: Path) -> None:
    one, two = PluginTree(tmp_path / "one"), PluginTree(tmp_path / "two")
    one.plugin("base")
    two.plugin("user", depends_on=["base"])
    journal: list[str] = []
    async with DevServer(one.root, two.root, context=context(journal)) as server:
        one.plugin("base", value=2)
        await server.wait_idle()
        assert journal[-2:] == ["setup base 2", "setup user 1"]


async def test_two_servers_do_not_share_modules(tmp_path: Path) -> None:
    one, two = PluginTree(tmp_path / "one"), PluginTree(tmp_path / "two")
    one.plugin("base", value=1)
    two.plugin("base", value=2)
    async with serving(one) as first, serving(two) as second:
        assert first.plugin("base").value() == 1
        assert second.plugin("base").value() == 2
        two.plugin("base", value=3)
        await second.settle()
        assert first.plugin("base").value() == 1
        assert second.plugin("base").value() == 3


SLOW = """
import anyio
class Plugin:
    VALUE = 1
    async def setup(self, ctx):
        self.journal = ctx.extras["journal"]
        self.journal.append(f"setup {{self.VALUE}}")
        {wait}
    async def teardown(self):
        self.journal.append(f"teardown {{self.VALUE}}")
"""


async def test_requests_come_back_when_the_server_stops_meanwhile(tree: PluginTree) -> None:
    tree.plugin("base", code=SLOW.format(wait="pass"))
    came_back: list[str] = []

    async def ask(live_server: DevServer, name: str) -> None:
        if name == "reload":
            await live_server.reload(ref("base"))
        else:
            await live_server.wait_idle()
        came_back.append(name)

    async with anyio.create_task_group() as group:
        async with serving(tree) as live:
            forever = SLOW.format(wait="await anyio.sleep_forever()").replace("= 1", "= 2")
            tree.plugin("base", code=forever)
            await live.fact(
                Transition, lambda each: each.to_state is State.SETTING_UP and each.generation == 2
            )
            for name in ("reload", "wait_idle", "wait_idle"):
                group.start_soon(ask, live.server, name)
            await anyio.wait_all_tasks_blocked()
            assert came_back == []
        with anyio.fail_after(GUARD_SECONDS):
            await live.server.wait_idle()
            await live.server.reload(ref("base"))
    assert sorted(came_back) == ["reload", "wait_idle", "wait_idle"]


async def test_requests_made_right_before_the_end_come_back(tree: PluginTree) -> None:
    tree.plugin("base")
    async with anyio.create_task_group() as group:
        async with serving(tree) as live:
            group.start_soon(live.server.wait_idle)
            group.start_soon(live.server.reload)
            await anyio.lowlevel.checkpoint()  # They have asked, and nobody has answered yet.
        assert set(live.states.values()) == {"stopped"}


async def test_the_server_can_be_freed_after_its_end(tree: PluginTree) -> None:
    tree.plugin("base")
    async with DevServer(tree.root, context=context()) as server:
        gone = weakref.ref(server)
    del server
    while gone() is not None:  # Its threads may be about to end.
        gc.collect()
        await anyio.sleep(0.01)


SLOW_TO_GO = """
import anyio
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
    async def teardown(self):
        self.ctx.extras["going"].set()
        await self.ctx.extras["go"].wait()
"""


async def test_a_request_for_a_plugin_that_is_being_removed_is_answered(tree: PluginTree) -> None:
    folder = tree.plugin("base", code=SLOW_TO_GO)
    going, go = anyio.Event(), anyio.Event()
    async with serving(tree, extras={"going": going, "go": go}) as live:
        shutil.rmtree(folder)
        await going.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(live.server.reload, ref("base"))
            await anyio.lowlevel.checkpoint()
            go.set()
        assert live.states == {}


async def test_a_server_is_entered_once(tree: PluginTree) -> None:
    server = DevServer(tree.root)
    async with server:
        pass
    with pytest.raises(RuntimeError, match="make a new one"):
        async with server:
            pass
