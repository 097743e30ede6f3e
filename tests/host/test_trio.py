"""The registry under the other event loop that anyio drives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry, SetupTimeout


class Pulse:
    group: TaskGroup

    def __init__(self) -> None:
        self.log: list[str] = []

    async def setup(self, ctx: PluginContext) -> None:
        self.group = await anyio.create_task_group().__aenter__()
        self.group.start_soon(anyio.sleep_forever)
        self.log.append("setup")

    async def teardown(self) -> None:
        self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)
        self.log.append("teardown")


class Stuck:
    async def setup(self, ctx: PluginContext) -> None:
        await anyio.sleep_forever()


class Failing:
    async def setup(self, ctx: PluginContext) -> None:
        raise LookupError("no")


def run(main: Callable[[], Any]) -> None:
    anyio.run(main, backend="trio")


def test_the_whole_life(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], tree: PluginTree
) -> None:
    plugin = Pulse()
    put(plugin, "pulse")
    tree.plugin("sync", value="sync")
    registry.discover(tree.root)

    async def main() -> None:
        await registry.setup_all(ctx)
        assert await registry.get_plugin("demo", "sync").async_value() == "sync"
        await registry.teardown_all()

    run(main)
    assert plugin.log == ["setup", "teardown"]


@pytest.mark.parametrize(("bad", "error"), [(Stuck, SetupTimeout), (Failing, LookupError)])
def test_a_failure_rolls_back(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    bad: type,
    error: type[Exception],
) -> None:
    plugin = Pulse()
    put(plugin, "pulse")
    put(bad(), "bad", depends_on=["pulse"], startup_timeout_sec=1)

    async def main() -> None:
        with pytest.raises(error):
            await registry.setup_all(ctx)

    run(main)
    assert plugin.log == ["setup", "teardown"]
