"""The examples of docs/plugins.md do what it says."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import anyio
import pytest
from answering import answering
from asking import Asking
from command_runs import GUARD_SECONDS
from serving import Live, ref, serving
from sessions import shown_commands, timeless
from structlog.typing import EventDict
from trees import PluginTree

from dagstack_dev import (
    PluginDegraded,
    PluginRecovered,
    PluginRetrying,
    Settings,
    State,
    Transition,
)

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python\n# plugins/(\w+)/plugin.py\n(.*?)```", PAGE, re.DOTALL))
METHODS = re.findall(r"^\| `(?:await )?ctx\.(\w+)\(", PAGE, re.MULTILINE)
A_NEW_PLUGIN = PAGE.partition("## What a plugin owns")[0]


@pytest.mark.timeout(120)
def test_a_new_plugin_is_as_it_is_shown(tmp_path: Path) -> None:
    ask = Asking(tmp_path)
    for command, output in shown_commands(A_NEW_PLUGIN):
        assert timeless(ask.run(*command).stdout) == timeless(output)
    written = (tmp_path / "plugins/greeter/plugin.py").read_text(encoding="utf-8")
    assert written == BLOCKS["greeter"]


@pytest.fixture
def shown(tree: PluginTree) -> PluginTree:
    """Every plugin that the page shows."""
    for name, code in BLOCKS.items():
        tree.plugin(name, code=code.replace(f"class {name.title()}", "class Plugin"))
    return tree


async def until_seen(live: Live, count: int) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        while live.plugin("feed").count() < count:
            await anyio.sleep(0.001)


async def test_the_feed_carries_what_it_has_seen_through_a_reload(shown: PluginTree) -> None:
    async with serving(shown) as live:
        await until_seen(live, 3)
        database = live.instance("feed").database
        shown.write("feed/plugin.py", (shown.root / "feed/plugin.py").read_text() + "# newer\n")
        await live.settle()
        assert live.status("feed").generation == 2
        assert live.plugin("feed").count() == 3
        with pytest.raises(Exception, match="closed database"):
            database.execute("SELECT 1")


async def test_the_poller_stops_its_thread(shown: PluginTree) -> None:
    async with serving(shown) as live:
        poller = live.instance("poller")
        with anyio.fail_after(GUARD_SECONDS):
            while not poller.rounds:
                await anyio.sleep(0.001)
        before = set(threading.enumerate())
        await live.server.reload(ref("poller"))
        assert live.instance("poller") is not poller
        assert ["poll" in each.name for each in before if not each.is_alive()] == [True]


async def test_the_queue_names_what_it_leaves_behind(
    shown: PluginTree, captured_events: list[EventDict]
) -> None:
    release = anyio.Event()
    async with (
        serving(shown, drain_seconds=0.01, retry_seconds=0) as live,
        anyio.create_task_group() as callers,
    ):
        callers.start_soon(live.plugin("queue").work, release.wait)
        while not live.instance("queue").ctx.in_flight():
            await anyio.sleep(0.001)
        await live.server.reload(ref("queue"))
        (left,) = [each for each in captured_events if each["event"] == "left behind"]
        assert left["operation"].startswith("call of work() at ")
        release.set()


async def test_the_search_comes_up_with_its_index(shown: PluginTree) -> None:
    async with serving(shown, retry_seconds=0.01) as live:
        assert live.states["search"] == "failed"
        await live.fact(PluginRetrying, lambda fact: fact.attempt > 1)
        live.server._context.extras["index"] = object()
        await live.fact(Transition, lambda fact: fact.ref == ref("search") and is_ready(fact))


async def test_the_pool_is_degraded_without_connections(shown: PluginTree) -> None:
    connections = ["one"]
    options = {"health_seconds": 0.005, "health_failures": 10**6, "retry_seconds": 0}
    async with serving(shown, extras={"connections": connections}, **options) as live:
        connections.clear()
        degraded = await live.fact(PluginDegraded)
        assert "returned {'ok': False, 'open': 0}" in str(degraded.error)
        connections.append("two")
        await live.fact(PluginRecovered)


def is_ready(fact: Transition) -> bool:
    return fact.to_state is State.READY


def test_the_page_names_every_setting_about_these() -> None:
    names = {each for each in Settings.__slots__ if each.startswith(("retry", "health"))}
    assert {each for each in names if f"{each}`" in PAGE} == names


def test_the_page_lists_every_method_of_the_context() -> None:
    from dagstack_dev import PluginContext

    public = {
        name
        for name, member in vars(PluginContext).items()
        if callable(member) and not name.startswith("_")
    }
    assert set(METHODS) == public - {"owner", "tenant_or_default"}, "that is in services.md"


async def test_the_shop_has_two_panels(shown: PluginTree) -> None:
    async with answering(shown) as server:
        panels = (await server.get("plugins", "demo", "shop", "panels"))["panels"]
    assert {each["title"]: (each["kind"], each["value"]) for each in panels} == {
        "Last import": ("markdown", "**No import yet.** Put a file into `inbox/`."),
        "Open orders": (
            "json",
            [{"order": 17, "state": "paid"}, {"order": 18, "state": "new"}],
        ),
    }
