"""A plugin that is only tried again gives way to what is newer."""

from __future__ import annotations

import anyio
import pytest
from serving import Live, ref, serving
from trees import PluginTree

from dagstack_dev import (
    PluginRef,
    PluginRetrying,
    ReloadCommitted,
    State,
    Transition,
)
from dagstack_dev.app.inbox import Batch
from dagstack_dev.core.passing import SetupPutOff


async def until_tried(live: Live, times: int) -> PluginRetrying:
    """Wait until a plugin has been tried so often, and failed."""
    return await live.fact(PluginRetrying, lambda fact: fact.attempt >= times)


HANGS = """
import anyio

class Plugin:
    async def setup(self, ctx):
        journal = ctx.extras["journal"]
        journal.append("tried")
        if journal.count("tried") == 1:
            raise ConnectionError("refused")
        await anyio.sleep_forever()
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_try_that_lasts_gives_way_to_an_edit_of_another(tree: PluginTree, backend: str) -> None:
    async def main() -> None:
        tree.plugin("base", code=HANGS)
        tree.plugin("aside")
        async with serving(tree, retry_seconds=0.01, retry_limit_seconds=1e6) as live:
            await live.fact(Transition, lambda fact: fact.reload_id == 1 and is_setting_up(fact))
            tree.plugin("aside", value=2)
            assert (await until_tried(live, 2)).seconds == 0.02
            assert isinstance(live.status("base").error, SetupPutOff)
            await live.fact(ReloadCommitted)
            assert live.plugin("aside").value() == 2

    anyio.run(main, backend=backend)


def is_setting_up(fact: Transition) -> bool:
    return fact.to_state is State.SETTING_UP


async def test_a_try_that_lasts_gives_way_to_an_edit_of_its_own_plugin(tree: PluginTree) -> None:
    tree.plugin("base", code=HANGS)
    async with serving(tree, retry_seconds=0.01) as live:
        await live.fact(Transition, lambda fact: fact.reload_id == 1 and is_setting_up(fact))
        tree.plugin("base", value=2)
        await live.fact(ReloadCommitted)
        assert live.plugin("base").value() == 2


@pytest.mark.parametrize("moment", ["while the disk is looked at", "as its setup begins"])
@pytest.mark.parametrize("company", ["alone", "with an edit"])
async def test_a_try_gives_way_to_what_came_in_before_its_setup(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, moment: str, company: str
) -> None:
    asked: list[anyio.Event] = []

    def ask(*_: object) -> None:
        if not asked:
            asked.append(live.server._loop.inbox.request(everywhere=True))

    tree.plugin("base", code=HANGS)
    tree.plugin("aside")
    async with serving(tree, retry_seconds=0.2, retry_limit_seconds=1e6) as live:
        loop = live.server._loop
        look, retry = loop._hookspecs.look, loop.inbox.retry

        async def look_and_ask(batch: Batch) -> None:
            await look(batch)
            if ref("base") in batch.retried:
                ask()

        def also_edit(plugin: PluginRef) -> None:
            if company == "with an edit":
                tree.plugin("aside", value=2)
                loop.inbox.paths({str(tree.root / "aside/plugin.py")})
            retry(plugin)

        monkeypatch.setattr(loop._revival, "_on_due", also_edit)
        if moment == "while the disk is looked at":
            monkeypatch.setattr(loop._hookspecs, "look", look_and_ask)
        else:
            live.server.registry.observe(
                lambda fact: (
                    ask()
                    if isinstance(fact, Transition)
                    and fact.ref == ref("base")
                    and is_setting_up(fact)
                    else None
                )
            )
        await until_tried(live, 2)
        assert isinstance(live.status("base").error, SetupPutOff)
        await asked[0].wait()


async def test_a_try_does_not_give_way_to_data(tree: PluginTree) -> None:
    tree.plugin(
        "base",
        code=HANGS.replace(
            "sleep_forever()", "lowlevel.checkpoint(); await ctx.extras['seen'].wait()"
        ),
    )
    seen = anyio.Event()
    async with serving(tree, extras={"seen": seen}, retry_seconds=0.01) as live:
        await live.fact(Transition, lambda fact: fact.reload_id == 1 and is_setting_up(fact))
        (tree.root / "base/events.log").write_text("tried\n")
        while not live.server._loop.inbox._batch.paths:
            await anyio.sleep(0.001)
        seen.set()
        await live.fact(Transition, lambda fact: fact.to_state is State.READY)
        assert not any(isinstance(each.error, SetupPutOff) for each in live.of(Transition))
