"""Calls that meet a reload end well: on an instance that is still up, or on the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS
from serving import Live, ref, serving
from trees import PluginTree

from dagstack_dev import PluginUnavailable
from dagstack_dev.core.events import (
    DrainTimedOut,
    Fact,
    ReloadCommitted,
    ReloadRolledBack,
    Transition,
)
from dagstack_dev.core.lifecycle import State

PLUGIN = """
import asyncio
import threading

class Plugin:
    VALUE = {value}
    up = False

    {define} setup(self, ctx):
        self.held = ctx.extras["held"]
        self.get = ctx.registry.get_plugin
        self.subscribers = []
        {setup}
        self.up = True

    {define} teardown(self):
        {teardown}
        self.up = False

    def answer(self):
        assert self.up
        return self.VALUE

    async def ask(self):
        assert self.up
        await asyncio.sleep(0)
        assert self.up
        return self.VALUE

    async def hold(self):
        assert self.up
        await self.held.pass_through()
        assert self.up
        return self.VALUE

    async def stream(self):
        for item in range(5):
            assert self.up
            yield item

    async def hold_then_ask(self, name):
        await self.hold()
        answer = await self.get("demo", name).ask()
        assert self.up
        return answer

    async def publish(self):
        await self.hold()
        answers = await asyncio.gather(*(each() for each in self.subscribers))
        assert self.up
        return answers
"""


class Held:
    """Where a call stops until it is let go.

    Attributes:
        entered: a call has come.
        go: calls may go on.
    """

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.go = anyio.Event()

    async def pass_through(self) -> None:
        self.entered.set()
        await self.go.wait()


@pytest.fixture
def held() -> Held:
    return Held()


def write(
    tree: PluginTree,
    name: str,
    *,
    value: int = 1,
    define: str = "def",
    setup: str = "pass",
    teardown: str = "pass",
    **options: Any,
) -> None:
    code = PLUGIN.format(value=value, define=define, setup=setup, teardown=teardown)
    tree.plugin(name, code=code, **options)


async def until_closed(live: Live, name: str) -> None:
    gate = live.server.registry.table.entries[ref(name)].gate
    with anyio.fail_after(GUARD_SECONDS):
        while not gate.closed:
            await anyio.lowlevel.checkpoint()


class Answers:
    """What came of calls that run in the background."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self.all: list[object] = []

    def begin(self, call: Callable[..., Awaitable[object]], *args: object) -> None:
        async def ask() -> None:
            try:
                self.all.append(await call(*args))
            except (AssertionError, PluginUnavailable) as error:
                self.all.append(error)

        self._group.start_soon(ask)


async def test_a_call_in_flight_reaches_an_undeclared_plugin_of_the_same_reload(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "first")
    write(tree, "second")  # Set up last, torn down first.
    async with (
        serving(tree, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        answers = Answers(group)
        answers.begin(live.plugin("first").hold_then_ask, "second")
        await held.entered.wait()
        group.start_soon(live.server.reload)
        await until_closed(live, "second")
        held.go.set()
        await live.fact(ReloadCommitted)
        assert answers.all == [1]
        assert live.of(DrainTimedOut) == []


async def test_a_call_comes_back_through_tasks_of_the_plugin_it_called(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "bus")
    subscribe = 'self.get("demo", "bus").subscribers.append(self.get("demo", "listener").ask)'
    write(tree, "listener", depends_on=["bus"], setup=subscribe)
    async with (
        serving(tree, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        answers = Answers(group)
        answers.begin(live.plugin("bus").publish)
        await held.entered.wait()
        group.start_soon(live.server.reload, ref("bus"))
        await until_closed(live, "bus")  # The listener's is closed already.
        held.go.set()
        await live.fact(ReloadCommitted)
        assert answers.all == [[1]]
        assert live.of(DrainTimedOut) == []


async def test_a_consumer_may_call_the_plugin_whose_stream_it_reads(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "base")

    async def consume(proxy: Any) -> list[int]:
        seen = []
        async for item in proxy.stream():
            if item == 0:
                await held.pass_through()
            seen.append(await proxy.ask())
        return seen

    async with (
        serving(tree, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        answers = Answers(group)
        answers.begin(consume, live.plugin("base"))
        await held.entered.wait()
        write(tree, "base", value=2)
        await until_closed(live, "base")
        held.go.set()
        await live.fact(ReloadCommitted)
        assert answers.all == [[1] * 5]
        assert live.of(DrainTimedOut) == []
        assert live.plugin("base").answer() == 2


async def test_a_synchronous_call_is_answered_until_the_teardown_begins(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "base")
    async with (
        serving(tree, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        proxy = live.plugin("base")
        group.start_soon(proxy.hold)
        await held.entered.wait()
        write(tree, "base", value=2)
        await until_closed(live, "base")
        assert proxy.answer() == 1
        held.go.set()
        await live.fact(ReloadCommitted)
        assert proxy.answer() == 2


FAILURES = {
    "import": """
    class Plugin:
        pass

    raise OSError("no")
    """,
    "setup": """
    class Plugin:
        def setup(self, ctx):
            raise OSError("no")
    """,
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_call_waits_through_a_roll_back(tree: PluginTree, held: Held, failure: str) -> None:
    write(tree, "base", define="async def", teardown="await asyncio.sleep(0)")
    beside = "await asyncio.sleep(0)"
    write(tree, "beside", depends_on=["base"], define="async def", teardown=beside)
    write(tree, "top", depends_on=["base"])
    async with (
        serving(tree, extras={"held": held}) as live,
        anyio.create_task_group() as group,
    ):
        answers = Answers(group)
        top = live.plugin("top")
        answers.begin(top.hold)
        await held.entered.wait()
        tree.plugin("top", depends_on=["base"], code=FAILURES[failure])
        write(tree, "base", value=2, define="async def", teardown="await asyncio.sleep(0)")
        live.take_in()
        await until_closed(live, "top")
        answers.begin(top.ask)
        held.go.set()
        await live.fact(ReloadRolledBack)
        await anyio.wait_all_tasks_blocked()
        assert answers.all == [1, 1]


async def test_a_worker_thread_that_a_teardown_joins_may_call_a_dependency(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "base")
    write(
        tree,
        "top",
        depends_on=["base"],
        setup="""self.stop, self.heard = threading.Event(), ctx.extras["heard"]
        base = self.get("demo", "base")
        work = lambda: self.stop.wait(60) and self.heard.append(base.answer())
        self.thread = threading.Thread(target=work)
        self.thread.start()""",
        teardown="""self.stop.set()
        self.thread.join(60)""",
    )
    heard: list[int] = []
    async with serving(tree, extras={"held": held, "heard": heard}) as live:
        write(tree, "base", value=2)
        await live.settle()
        assert heard == [1]
    assert heard == [1, 2]


async def test_a_dependent_may_call_while_it_is_torn_down(tree: PluginTree, held: Held) -> None:
    write(tree, "base")
    calls = """base = self.get("demo", "base")
        self.heard.append([base.answer(), await base.ask(), *await asyncio.gather(base.ask())])"""
    write(
        tree,
        "top",
        depends_on=["base"],
        define="async def",
        setup='self.heard = ctx.extras["heard"]',
        teardown=calls,
    )
    heard: list[list[int]] = []
    async with serving(tree, extras={"held": held, "heard": heard}) as live:
        write(tree, "base", value=2)
        await live.settle()
        assert heard == [[1, 1, 1]]
        assert live.of(DrainTimedOut) == []


async def test_a_call_that_a_dependents_own_task_holds_ends_with_the_dependent(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "base")
    write(
        tree,
        "top",
        depends_on=["base"],
        define="async def",
        setup="""self.task = asyncio.create_task(self.get("demo", "base").hold())
        await asyncio.sleep(0)""",
        teardown="""self.task.cancel()
        await asyncio.wait([self.task])""",
    )
    async with serving(tree, extras={"held": held}) as live:
        write(tree, "base", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.of(DrainTimedOut) == []


async def test_a_call_of_another_event_loop_waits(tree: PluginTree) -> None:
    write(tree, "base")
    waits, setup_may_end = threading.Event(), anyio.Event()

    async def ask(proxy: Any) -> Any:
        call = asyncio.create_task(proxy.ask())
        await asyncio.sleep(0)
        waits.set()
        return await call

    extras = {"held": None, "setup_may_end": setup_may_end}
    async with (
        serving(tree, extras=extras) as live,
        anyio.create_task_group() as group,
    ):
        answers = Answers(group)
        proxy = live.plugin("base")
        live.forget()
        slow = "await ctx.extras['setup_may_end'].wait()"
        write(tree, "base", value=2, define="async def", setup=slow)
        await live.fact(Transition, lambda each: each.to_state is State.SETTING_UP)
        answers.begin(lambda: anyio.to_thread.run_sync(lambda: asyncio.run(ask(proxy))))
        await anyio.to_thread.run_sync(waits.wait)
        assert answers.all == []
        setup_may_end.set()
        await live.fact(ReloadCommitted)
    assert answers.all == [2]


async def test_a_roll_back_refuses_a_call_from_what_it_takes_down_to_what_has_failed(
    tree: PluginTree, held: Held
) -> None:
    write(tree, "base")
    write(tree, "caller", depends_on=["base"])
    write(tree, "failing", depends_on=["base"])
    fail = anyio.Event()
    async with (
        serving(tree, extras={"held": held, "fail": fail}) as live,
        anyio.create_task_group() as group,
    ):
        held.go.set()
        live.forget()
        answers = Answers(group)
        failing = """await ctx.extras["fail"].wait()
        raise OSError("no")"""
        write(tree, "failing", depends_on=["base"], define="async def", setup=failing)
        write(tree, "base", value=2)
        live.take_in()
        caller, other = ref("caller"), ref("failing")
        await live.fact(Transition, lambda it: (it.ref, it.to_state) == (caller, State.READY))
        await live.fact(Transition, lambda it: (it.ref, it.to_state) == (other, State.SETTING_UP))
        answers.begin(live.plugin("caller").hold_then_ask, "failing")
        answers.begin(live.plugin("failing").ask)
        await anyio.wait_all_tasks_blocked()
        fail.set()
        await live.fact(ReloadRolledBack)
        await anyio.wait_all_tasks_blocked()
        assert live.of(DrainTimedOut) == []
        refused, answer = answers.all
        assert isinstance(refused, PluginUnavailable)
        assert refused.ref == other
        assert answer == 1


async def test_what_a_roll_back_takes_out_refuses_calls(tree: PluginTree, held: Held) -> None:
    write(tree, "base")
    async with serving(tree, extras={"held": held}) as live:
        live.forget()
        write(tree, "new")
        write(tree, "base", value=2, depends_on=["new"], setup='raise OSError("no")')
        live.take_in()
        seen: list[tuple[State, str | None]] = []

        def look(fact: Fact) -> None:
            if isinstance(fact, ReloadRolledBack):
                gate = live.server.registry.table.entries[ref("new")].gate
                seen.append((live.state("new"), gate.refusal))

        live.server.registry.observe(look)
        await live.fact(ReloadRolledBack)
        state, refusal = seen[0]
        assert state is State.BLOCKED
        assert "rolled back" in (refusal or "")
        await live.server.wait_idle()
        assert live.state("new") is State.READY  # For it does not need what has failed.
