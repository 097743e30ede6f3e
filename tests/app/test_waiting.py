"""What a start, a reload or an end waits for is told while it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import anyio
import pytest
from serving import edit, make_live, serving
from trees import PluginTree

from dagstack_dev import ReloadWaiting
from dagstack_dev.core.events import Fact, Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.life import instance
from dagstack_dev.host.loop.limits import running_time
from dagstack_dev.host.reload import runner, waiting

CODE = """
class Plugin:
    async def setup(self, ctx):
        self.extras = ctx.extras
        await ctx.extras["setup"].wait()

    async def teardown(self):
        await self.extras["teardown"].wait()

    async def ask(self):
        await self.extras["call"].wait()
"""
LINES = {"setup": 5, "teardown": 8, "call": 11}


class Patience:
    """What time it is, and when it is looked at: both stand still until a test lets some pass."""

    def __init__(self) -> None:
        self._now = running_time()
        self._looks: list[Callable[[], object]] = []

    def now(self) -> float:
        return self._now

    def call_after(self, _: float, look: Callable[[], object]) -> Callable[[], object]:
        self._looks.append(look)
        return partial(self._looks.remove, look)

    def passes(self, seconds: float) -> None:
        """Let time pass, and look."""
        self._now += seconds
        for look in [*self._looks]:
            self._looks.remove(look)
            look()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Patience:
    patience = Patience()
    monkeypatch.setattr(waiting, "call_after", patience.call_after)
    for module in (instance, runner, waiting):
        monkeypatch.setattr(module, "running_time", patience.now)
    return patience


def held(*names: str) -> dict[str, anyio.Event]:
    """What the plugin waits for; only `names` take any waiting."""
    events = {name: anyio.Event() for name in LINES}
    for name in events.keys() - {*names}:
        events[name].set()
    return events


async def until_awaited(event: anyio.Event) -> None:
    """Wait until the plugin does."""
    while not event.statistics().tasks_waiting:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_setup_that_lasts_is_reported_from_the_first_start_on_and_less_and_less_often(
    tree: PluginTree, patience: Patience, backend: str
) -> None:
    folder = tree.plugin("base", code=CODE)

    async def main() -> None:
        events = held("setup")
        live = make_live(tree, extras=events)
        async with anyio.create_task_group() as group:
            group.start_soon(live.server.start)
            await until_awaited(events["setup"])
            patience.passes(1.1)
            (first,) = live.of(ReloadWaiting)
            ((wait,), more) = first.waits, first.more
            assert (wait.what, more, first.reload_id) == ("setup()", 0, None)
            assert (wait.path, wait.line) == (str(folder / "plugin.py"), LINES["setup"])
            patience.passes(wait.seconds)
            assert live.of(ReloadWaiting) == [first]
            patience.passes(wait.seconds)
            (_, second) = live.of(ReloadWaiting)
            assert second.waits[0].seconds >= 3 * wait.seconds
            events["setup"].set()
        await live.server.stop()

    anyio.run(main, backend=backend)


async def test_a_call_that_holds_up_a_drain_and_a_teardown_are_reported_with_their_lines(
    tree: PluginTree, patience: Patience
) -> None:
    folder = tree.plugin("base", code=CODE)
    events = held("call", "teardown")
    async with serving(tree, extras=events) as live, anyio.create_task_group() as group:
        group.start_soon(live.plugin("base").ask)
        await until_awaited(events["call"])
        edit(folder / "plugin.py", "class", "# edited\nclass")
        while not live.server.registry.table.draining:
            await anyio.lowlevel.checkpoint()
        for name, what in (("call", "a call of ask()"), ("teardown", "teardown()")):
            await until_awaited(events[name])
            patience.passes(1.1)
            (wait,) = live.of(ReloadWaiting)[-1].waits
            assert (wait.what, wait.line) == (what, LINES[name])
            events[name].set()
        assert {fact.reload_id for fact in live.of(ReloadWaiting)} == {1}


async def test_a_setup_that_has_not_begun_lasts_for_no_time(
    tree: PluginTree, patience: Patience
) -> None:
    tree.plugin("base", code=CODE)
    began = patience.now()
    events = held("setup")
    live = make_live(tree, extras=events)

    def look_before_it_begins(fact: Fact) -> None:
        if isinstance(fact, Transition) and fact.to_state is State.SETTING_UP:
            asyncio.get_running_loop().call_soon(patience.passes, 1.1)

    live.server.registry.observe(look_before_it_begins)
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        (wait,) = (await live.fact(ReloadWaiting)).waits
        assert wait.seconds <= patience.now() - began
        events["setup"].set()
    await live.server.stop()


async def test_what_undoes_itself_for_long_is_reported(
    tree: PluginTree, patience: Patience
) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            ctx.callback(ctx.extras["teardown"].wait)
    """
    folder = tree.plugin("base", code=code)
    events = held("teardown")
    async with serving(tree, extras=events) as live:
        edit(folder / "plugin.py", "class", "# edited\nclass")
        await until_awaited(events["teardown"])
        patience.passes(1.1)
        (fact,) = live.of(ReloadWaiting)
        assert (fact.reload_id, fact.waits[0].what) == (1, "callback Event.wait")
        events["teardown"].set()


async def test_many_are_counted(tree: PluginTree, patience: Patience) -> None:
    for number in range(waiting.MOST + 2):
        tree.plugin(f"p{number}", code=CODE)
    events = held("setup")
    live = make_live(tree, extras=events)
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        while events["setup"].statistics().tasks_waiting < waiting.MOST + 2:
            await anyio.lowlevel.checkpoint()
        patience.passes(1.1)
        (fact,) = live.of(ReloadWaiting)
        assert (len(fact.waits), fact.more) == (waiting.MOST, 2)
        events["setup"].set()
    await live.server.stop()
