"""What a start, a reload or an end waits for is told while it does."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from serving import Live, edit, make_live, serving
from trees import PluginTree

from dagstack_dev import ReloadWaiting
from dagstack_dev.core.events import Wait
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.loop.limits import running_time
from dagstack_dev.host.reload import waiting

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


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TOLD_SECONDS", 0.02)


def held(*names: str) -> dict[str, anyio.Event]:
    """What the plugin waits for; only `names` take any waiting."""
    events = {name: anyio.Event() for name in LINES}
    for name in events.keys() - {*names}:
        events[name].set()
    return events


async def told(live: Live, reload_id: int | None) -> Wait:
    """What the first fact of a reload tells that anything is waited for, and nothing else."""
    fact = await live.fact(ReloadWaiting, lambda each: each.reload_id == reload_id)
    (wait,) = fact.waits
    return wait


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_setup_that_lasts_is_told_from_the_first_start_on_and_less_and_less_often(
    tree: PluginTree, backend: str
) -> None:
    folder = tree.plugin("base", code=CODE)

    async def main() -> None:
        events = held("setup")
        live = make_live(tree, extras=events)

        async def look() -> None:
            wait = await told(live, None)
            assert wait.what == "setup()"
            assert (wait.path, wait.line) == (str(folder / "plugin.py"), LINES["setup"])
            await live.fact(ReloadWaiting, lambda each: each.waits[0].seconds > 3 * wait.seconds)
            events["setup"].set()

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            async with live.server:
                first, second = live.of(ReloadWaiting)[:2]
                assert second.waits[0].seconds >= 3 * first.waits[0].seconds
                assert first.more == 0

    anyio.run(main, backend=backend)


async def test_a_call_that_holds_up_a_drain_and_a_teardown_are_told_with_their_lines(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("base", code=CODE)
    events = held("call", "teardown")
    async with serving(tree, extras=events) as live, anyio.create_task_group() as group:
        group.start_soon(live.plugin("base").ask)
        await anyio.wait_all_tasks_blocked()
        edit(folder / "plugin.py", "class", "# edited\nclass")
        call = await told(live, 1)
        assert (call.what, call.line) == ("a call of ask()", LINES["call"])
        events["call"].set()
        teardown = await live.fact(ReloadWaiting, lambda each: each.waits[0].what == "teardown()")
        assert teardown.waits[0].line == LINES["teardown"]
        events["teardown"].set()


async def test_what_undoes_itself_for_long_is_told(tree: PluginTree) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            ctx.callback(ctx.extras["teardown"].wait)
    """
    folder = tree.plugin("base", code=code)
    events = held("teardown")
    async with serving(tree, extras=events) as live:
        edit(folder / "plugin.py", "class", "# edited\nclass")
        assert (await told(live, 1)).what == "callback Event.wait"
        events["teardown"].set()


async def test_many_are_counted(tree: PluginTree, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Callable[[], object]] = []

    def call_later(_: float, look: Callable[[], object]) -> Callable[[], object]:
        looks.append(look)
        return lambda: None

    monkeypatch.setattr(waiting, "call_after", call_later)
    monkeypatch.setattr(waiting, "running_time", lambda: running_time() + 60)
    for number in range(waiting.MOST + 2):
        tree.plugin(f"p{number}", code=CODE)
    events = held("setup")
    live = make_live(tree, extras=events)

    async def look() -> None:
        while len(live.reached(State.SETTING_UP)) < waiting.MOST + 2:
            await anyio.lowlevel.checkpoint()
        looks[-1]()
        fact = await live.fact(ReloadWaiting)
        assert len(fact.waits) == waiting.MOST
        assert fact.more == 2
        events["setup"].set()

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        async with live.server:
            pass
