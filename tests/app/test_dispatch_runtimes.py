"""One dispatch reaches plugins of every runtime and execution model."""

from __future__ import annotations

import threading

import pytest
from mcp_servers import mcp_plugin
from serving import serving
from trees import PluginTree

from dagstack_dev import (
    BroadcastCollectDispatcher,
    DispatchClass,
    DispatchMismatch,
    HookSpec,
    KindSpec,
    PluginRegistry,
    SingletonDispatcher,
)

THREADED = """
import threading

class Plugin:
    def value(self, ctx):
        return threading.get_ident()
"""


@pytest.fixture
def registry() -> PluginRegistry:
    registry = PluginRegistry()
    hook = HookSpec(name="value", dispatch=DispatchClass.BROADCAST_COLLECT)
    registry.add_hookspecs(KindSpec(kind="demo", hooks=(hook,)))
    return registry


async def test_the_tools_of_a_server_are_hooks_and_the_context_stays_here(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    mcp_plugin(tree, "served", kind="demo", value=7, manifest="priority = 5\n")
    tree.plugin("own", code="class Plugin:\n    def value(self, ctx): return ctx.registry\n")
    async with serving(tree, registry=registry) as live:
        ctx = live.server._context
        collect = BroadcastCollectDispatcher(registry)
        found, errors = await collect.dispatch_async("demo", "value", ctx)
        assert errors is None
        assert found == ["7", registry]
        with pytest.raises(DispatchMismatch):
            live.plugin("served").value()
        mcp_plugin(tree, "served", kind="demo", value=8, manifest="priority = 5\n")
        await live.settle()
        assert await collect.dispatch_async("demo", "value", ctx) == (["8", registry], None)
        only = SingletonDispatcher(registry, dispatch_class_override="singleton")
        assert await only.dispatch_async("demo", "value", ctx) == "8"


async def test_hooks_run_where_the_execution_model_says(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    tree.plugin("threaded", code=THREADED, manifest='execution_model = "thread_cpu_bound"\n')
    async with serving(tree, registry=registry) as live:
        ctx = live.server._context
        collect = BroadcastCollectDispatcher(registry)
        [[thread], errors] = await collect.dispatch_async("demo", "value", ctx)
        assert errors is None
        assert thread != threading.get_ident()
        results, errors = collect.dispatch("demo", "value", ctx)
        assert results == []
        assert "value is asynchronous; use dispatch_async" in str(errors)
