"""The same server in an app that runs on trio."""

from __future__ import annotations

import anyio
import pytest
from serving import make_live, serving
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted, ReloadRolledBack, WatchStarted

ASYNC = """
import anyio
class Plugin:
    VALUE = {value}
    async def setup(self, ctx):
        self.journal = ctx.extras["journal"]
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.group.start_soon(anyio.sleep_forever)
        self.journal.append("setup {value}")
    async def teardown(self):
        self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)
        self.journal.append("teardown {value}")
    async def value(self):
        await anyio.lowlevel.checkpoint()
        return self.VALUE
"""


def test_a_life_with_edits_on_trio(tree: PluginTree) -> None:
    async def main() -> None:
        tree.plugin("base", code=ASYNC.format(value=1))
        tree.plugin("user", depends_on=["base"])
        async with serving(tree) as live:
            proxy = live.plugin("base")
            assert await proxy.value() == 1
            live.forget()
            tree.plugin("base", code=ASYNC.format(value=2))
            await live.fact(ReloadCommitted)
            assert await proxy.value() == 2
            tree.plugin("base", code="class Plugin:\n    async def setup(self, ctx): 1 / 0\n")
            await live.settle()
            assert live.outcomes == [ReloadRolledBack]
            assert await proxy.value() == 2
            await live.server.reload(("demo", "user"))
            live.forget()
        assert live.journal == ["teardown user 1", "teardown 2"]

    anyio.run(main, backend="trio")


def test_a_cancellation_on_trio_tears_down(tree: PluginTree) -> None:
    async def main() -> None:
        tree.plugin("base", code=ASYNC.format(value=1))
        live = make_live(tree)
        with anyio.CancelScope() as scope:
            async with live.server:
                await live.fact(WatchStarted)
                scope.cancel()
                await anyio.sleep_forever()
        assert live.journal == ["setup 1", "teardown 1"]

    anyio.run(main, backend="trio")


def test_an_exception_of_the_body_comes_out_of_the_block_on_trio(tree: PluginTree) -> None:
    async def main() -> None:
        tree.plugin("base", code=ASYNC.format(value=1))
        live = make_live(tree)
        with pytest.raises(LookupError, match="mine"):
            async with live.server:
                raise LookupError("mine")
        assert live.journal == ["setup 1", "teardown 1"]

    anyio.run(main, backend="trio")
