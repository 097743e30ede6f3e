"""What a dispatch reaches before, during and after a reload."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev import (
    BroadcastCollectDispatcher,
    BroadcastErrors,
    BroadcastNotifyDispatcher,
    ChainDispatcher,
    DispatchClass,
    HookSpec,
    KindSpec,
    PluginContext,
    PluginRegistry,
    PluginUnavailable,
    SingletonDispatcher,
)

KIND = KindSpec(
    kind="demo",
    hooks=tuple(
        HookSpec(name=name, dispatch=DispatchClass(dispatch))
        for name, dispatch in {
            "find": "broadcast_collect",
            "tell": "broadcast_notify",
            "rank": "chain",
            "active": "singleton",
        }.items()
    ),
)

CODE = """
class Plugin:
    async def setup(self, ctx):
        self.name = {name!r} + {version!r}
        held = ctx.extras.get("held")
        if held is not None and {version!r} in held.stops:
            held.entered.set()
            await held.go.wait()
            if held.fails:
                raise RuntimeError("no")

    def find(self, ctx):
        return self.name

    async def rank(self, ctx, value):
        return value + [self.name]

    def active(self, ctx):
        return self.name
"""


class Held:
    """Where setups stop until they are let go, those of the versions in `stops`."""

    def __init__(self, *stops: str, fails: bool = False) -> None:
        self.stops = stops
        self.fails = fails
        self.entered = anyio.Event()
        self.go = anyio.Event()


def write(tree: PluginTree, name: str, version: str = "1", **options: Any) -> None:
    tree.plugin(name, code=CODE.format(name=name, version=version), **options)


@pytest.fixture
def registry() -> PluginRegistry:
    registry = PluginRegistry()
    registry.add_hookspecs(KIND)
    return registry


def context(live: Live) -> PluginContext:
    return live.server._context


async def find(live: Live) -> list[Any]:
    collect = BroadcastCollectDispatcher(live.server.registry)
    results, errors = await collect.dispatch_async("demo", "find", context(live))
    assert errors is None
    assert collect.dispatch("demo", "find", context(live)) == (results, None)
    return results


async def test_plugins_come_change_and_go(tree: PluginTree, registry: PluginRegistry) -> None:
    write(tree, "a")
    write(tree, "b")
    async with serving(tree, registry=registry) as live:
        assert await find(live) == ["a1", "b1"]
        write(tree, "c", manifest="priority = 3\n")
        write(tree, "b", "2", manifest="tryfirst = true\n")
        await live.settle()
        assert await find(live) == ["b2", "c1", "a1"]
        tree.write("a/plugin.py", "class Plugin:\n    pass\n")
        await live.settle()
        assert await find(live) == ["b2", "c1"]
        write(tree, "a", "3", manifest="priority = 9\n")
        (tree.root / "c/dagstack.toml").unlink()
        await live.settle()
        assert await find(live) == ["b2", "a3"]
        active = SingletonDispatcher(registry)
        assert active.dispatch("demo", "active", context(live)) == "a3"


async def test_what_fails_or_is_blocked_is_left_out_and_what_is_rolled_back_is_not(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    write(tree, "a")
    tree.plugin("bad", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n    find = setup\n")
    write(tree, "waits", depends_on=["bad"])
    async with serving(tree, registry=registry) as live:
        assert await find(live) == ["a1"]
        tree.write("a/plugin.py", "class Plugin:\n    def setup(self, ctx): 1 / 0\n")
        write(tree, "bad")
        await live.settle()
        assert live.status("a").pending
        assert await find(live) == ["a1", "bad1", "waits1"]


async def test_an_asynchronous_dispatch_waits_for_what_is_being_swapped(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    write(tree, "a")
    write(tree, "b")
    held = Held("2")
    async with (
        serving(tree, registry=registry, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        answers: dict[str, Any] = {}
        ctx = context(live)

        async def ask() -> None:
            collect = BroadcastCollectDispatcher(registry)
            answers["find"] = await collect.dispatch_async("demo", "find", ctx)
            answers["rank"] = await ChainDispatcher(registry).dispatch_async(
                "demo", "rank", ctx, initial_value=[]
            )

        write(tree, "a", "2")
        with anyio.fail_after(GUARD_SECONDS):
            await held.entered.wait()
            group.start_soon(ask)
            while not registry.table.entries[ref("a")].gate.calls.waiting:
                await anyio.lowlevel.checkpoint()
        assert answers == {}
        held.go.set()
        await live.server.wait_idle()
        with anyio.fail_after(GUARD_SECONDS):
            while len(answers) < 2:
                await anyio.lowlevel.checkpoint()
        assert answers == {"find": (["a2", "b1"], None), "rank": ["a2", "b1"]}
        gate = registry.table.entries[ref("a")].gate
        assert (gate.calls.in_flight, gate.calls.waiting) == ([], [])


async def test_a_synchronous_dispatch_waits_in_a_thread_and_is_refused_on_the_loop(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    write(tree, "a")
    write(tree, "b")
    held = Held("2")
    async with (
        serving(tree, registry=registry, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        collect = BroadcastCollectDispatcher(registry)
        answers: list[Any] = []

        def dispatch() -> tuple[list[Any], BroadcastErrors | None]:
            return collect.dispatch("demo", "find", context(live))

        async def ask() -> None:
            answers.append(await anyio.to_thread.run_sync(dispatch))

        write(tree, "a", "2")
        with anyio.fail_after(GUARD_SECONDS):
            await held.entered.wait()
        results, errors = dispatch()
        assert results == ["b1"]
        assert errors is not None
        [(name, error)] = errors.errors
        assert (name, type(error)) == ("a", PluginUnavailable)
        group.start_soon(ask)
        with anyio.fail_after(GUARD_SECONDS):
            while not registry.table.entries[ref("a")].gate.calls.waiting:
                await anyio.sleep(0.001)
        held.go.set()
        await live.server.wait_idle()
        with anyio.fail_after(GUARD_SECONDS):
            while not answers:
                await anyio.sleep(0.001)
        assert answers == [(["a2", "b1"], None)]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_dispatch_meets_a_roll_back_and_reaches_who_is_there_in_the_end(
    tree: PluginTree, registry: PluginRegistry, *, fails: bool
) -> None:
    write(tree, "a")
    write(tree, "b")
    held = Held("2", fails=fails)
    async with (
        serving(tree, registry=registry, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        found: list[Any] = []

        async def ask() -> None:
            found.extend(await find(live))

        write(tree, "a", "2")
        with anyio.fail_after(GUARD_SECONDS):
            await held.entered.wait()
            group.start_soon(ask)
            while not registry.table.entries[ref("a")].gate.calls.waiting:
                await anyio.lowlevel.checkpoint()
        held.go.set()
        await live.server.wait_idle()
        with anyio.fail_after(GUARD_SECONDS):
            while len(found) < 2:
                await anyio.lowlevel.checkpoint()
        assert found == ["a1" if fails else "a2", "b1"]


async def test_a_plugin_that_does_not_come_back_is_left_out(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    write(tree, "a", depends_on=["b"])
    write(tree, "b")
    write(tree, "c")
    async with (
        serving(tree, registry=registry) as live,
        anyio.create_task_group() as group,
    ):
        held = context(live).extras["held"] = Held("1", "2", fails=True)
        found: list[Any] = []

        async def ask() -> None:
            found.extend(await find(live))

        write(tree, "b", "2")
        with anyio.fail_after(GUARD_SECONDS):
            await held.entered.wait()
            group.start_soon(ask)
            while not registry.table.entries[ref("a")].gate.calls.waiting:
                await anyio.lowlevel.checkpoint()
        held.go.set()
        await live.server.wait_idle()
        assert live.states == {"a": "blocked", "b": "failed", "c": "ready"}
        with anyio.fail_after(GUARD_SECONDS):
            while not found:
                await anyio.lowlevel.checkpoint()
        assert found == ["c1"]


async def test_a_plugin_that_dispatches_in_its_setup_and_teardown_waits_for_no_other(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    write(tree, "a")
    caller = """
    from dagstack_dev import BroadcastCollectDispatcher

    class Plugin:
        async def look(self):
            collect = BroadcastCollectDispatcher(self.ctx.registry)
            found, errors = await collect.dispatch_async("demo", "find", self.ctx)
            assert errors is None
            assert collect.dispatch("demo", "find", self.ctx) == (found, None)
            self.ctx.extras["journal"].append(found)

        async def setup(self, ctx):
            self.ctx = ctx
            await self.look()

        async def teardown(self):
            await self.look()

        def find(self, ctx):
            return "caller"
    """
    tree.plugin("caller", code=caller, depends_on=["a"])
    write(tree, "after", depends_on=["caller"])
    async with serving(tree, registry=registry) as live:
        journal: list[Any] = live.journal
        assert journal == [["a1"]]
        await live.settle()
        await live.server.reload(ref("a"))
        assert journal == [["a1"], ["a1"]]
        assert await find(live) == ["a1", "after1", "caller"]
        live.forget()
    assert journal == [["a1"]]


async def test_a_hook_for_dispatchers_keeps_no_old_generation(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    write(tree, "a")
    async with serving(tree, registry=registry) as live:
        assert await find(live) == ["a1"]
        old = weakref.ref(type(live.instance("a")))
        refused = live.plugin("a").find
        write(tree, "a", "2")
        await live.settle()
        assert await find(live) == ["a2"]
        del refused
        gc.collect()
        assert old() is None


async def test_a_notification_during_a_reload_is_for_the_next_generation(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    code = """
    class Plugin:
        async def setup(self, ctx):
            self.journal = ctx.extras["journal"]
            held = ctx.extras["held"]
            if VERSION in held.stops:
                held.entered.set()
                await held.go.wait()

        def tell(self, ctx, word):
            self.journal.append(f"{VERSION} {word}")
    """
    held = Held("2")
    tree.plugin("a", code=code)
    edit(tree.root / "a/plugin.py", "\nclass", 'VERSION = "1"\n\nclass')
    async with (
        serving(tree, registry=registry, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        notify = BroadcastNotifyDispatcher(registry)
        await notify.dispatch_async("demo", "tell", context(live), "before")
        edit(tree.root / "a/plugin.py", '"1"', '"2"')
        with anyio.fail_after(GUARD_SECONDS):
            await held.entered.wait()
            group.start_soon(notify.dispatch_async, "demo", "tell", context(live), "meanwhile")
            while not registry.table.entries[ref("a")].gate.calls.waiting:
                await anyio.lowlevel.checkpoint()
        held.go.set()
        await live.server.wait_idle()
        with anyio.fail_after(GUARD_SECONDS):
            while len(live.journal) < 2:
                await anyio.lowlevel.checkpoint()
        assert live.journal == ["1 before", "2 meanwhile"]
