"""Facts for an app, as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.to_thread
from command_runs import GUARD_SECONDS
from serving import context, make_live, ref, serving
from trees import PluginTree

from dagstack_dev import DevServer, EventStream, PluginRegistry
from dagstack_dev.core.events import (
    EventsMissed,
    Fact,
    PluginBlocking,
    ReloadCommitted,
    Transition,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import State


async def read(stream: EventStream, into: list[Fact]) -> None:
    into.extend([fact async for fact in stream])


async def test_several_streams_see_the_same_facts_until_the_end(tree: PluginTree) -> None:
    tree.plugin("base")
    first: list[Fact] = []
    second: list[Fact] = []
    async with anyio.create_task_group() as group, serving(tree) as live:
        group.start_soon(read, live.server.events(), first)
        group.start_soon(read, live.server.events(), second)
        tree.plugin("base", value=2)
        await live.settle()
    assert first == second == live.facts
    assert any(isinstance(fact, ReloadCommitted) for fact in first)
    assert isinstance(first[-1], WatchStopped)


async def test_a_stream_opened_before_the_block_reports_the_first_start(tree: PluginTree) -> None:
    tree.plugin("base")
    live = make_live(tree)
    async with anyio.create_task_group() as group:
        facts: list[Fact] = []
        group.start_soon(read, live.server.events(), facts)
        await anyio.wait_all_tasks_blocked()
        async with live.server:
            pass
    assert isinstance(facts[0], Transition)
    assert facts == live.facts


async def test_two_readers_of_one_stream_share_it_and_both_come_to_the_end(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    one: list[Fact] = []
    other: list[Fact] = []
    async with anyio.create_task_group() as group, serving(tree) as live:
        stream = live.server.events()
        group.start_soon(read, stream, one)
        group.start_soon(read, stream, other)
        await anyio.wait_all_tasks_blocked()
        tree.plugin("base", value=2)
        await live.settle()
    assert len(one) + len(other) == len(live.facts)


async def test_a_closed_stream_collects_nothing_more(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        with live.server.events() as stream:
            tree.plugin("base", value=2)
            await live.settle()
        tree.plugin("base", value=3)
        collected = list(live.facts)
        await live.server.wait_idle()
        assert [fact async for fact in stream] == collected


async def test_a_stream_lets_go_of_a_registry_that_outlives_the_server(tree: PluginTree) -> None:
    tree.plugin("base")
    registry = PluginRegistry()
    live = make_live(tree, registry=registry)
    async with live.server:
        stream = live.server.events()
    await registry.setup_all(live.server.registry.runner.context)  # type: ignore[arg-type]
    await registry.teardown_all()
    facts = [fact async for fact in stream]
    assert isinstance(facts[-1], WatchStopped)


async def test_a_stream_asked_for_after_the_end_is_empty(tree: PluginTree) -> None:
    async with serving(tree) as live:
        pass
    with anyio.fail_after(GUARD_SECONDS):
        assert [fact async for fact in live.server.events()] == []


async def test_a_reader_that_lags_reads_how_many_it_has_missed_and_then_the_newest(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    live = make_live(tree)
    stream = live.server.events(limit=3)
    async with live.server:
        pass
    assert [fact async for fact in stream] == [
        EventsMissed(count=len(live.facts) - 3),
        *live.facts[-3:],
    ]


async def test_a_reader_in_the_loop_of_another_thread_reads_everything(tree: PluginTree) -> None:
    tree.plugin("base")
    live = make_live(tree)
    stream = live.server.events()
    facts: list[Fact] = []
    reader = threading.Thread(target=asyncio.run, args=(read(stream, facts),))
    reader.start()
    async with live.server:
        tree.plugin("base", value=2)
        await live.settle()
    await anyio.to_thread.run_sync(reader.join)
    assert isinstance(facts[-1], WatchStopped)
    assert any(isinstance(fact, ReloadCommitted) for fact in facts)


async def test_a_reader_whose_loop_is_busy_or_has_ended_holds_up_nothing(tree: PluginTree) -> None:
    tree.plugin("base")
    live = make_live(tree)
    busy, ended, free = live.server.events(), live.server.events(), threading.Event()

    async def wait_and_go(stream: EventStream) -> None:
        """Leave with the loop while a reader waits."""
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        reader.cancel()

    async def keep_busy(stream: EventStream, waiting: threading.Event) -> None:
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.set()
        free.wait()
        await reader

    waiting = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(keep_busy(busy, waiting),))
    thread.start()
    await anyio.to_thread.run_sync(waiting.wait)
    await anyio.to_thread.run_sync(lambda: asyncio.run(wait_and_go(ended)))
    async with live.server:
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("base").value() == 2
    assert isinstance(live.facts[-1], WatchStopped)
    free.set()
    await anyio.to_thread.run_sync(thread.join)
    first = await anext(ended)
    assert isinstance(first, Transition)
    assert first.to_state is State.DISCOVERED


async def test_a_fact_of_another_thread_is_handed_over_while_the_loop_is_busy(
    tree: PluginTree,
) -> None:
    live = make_live(tree)
    stream = live.server.events()
    blocking = PluginBlocking(ref=ref("base"), method="setup", seconds=1.0, path="", line=1)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    watchdog = threading.Thread(target=live.server.registry.table.publish, args=(blocking,))
    watchdog.start()
    watchdog.join(GUARD_SECONDS)  # On the loop's own thread, which so is busy.
    assert not watchdog.is_alive()
    assert await reader == blocking


def test_a_stream_is_made_where_no_loop_runs_and_read_on_trio(tree: PluginTree) -> None:
    tree.plugin("base")
    facts: list[Fact] = []
    server = DevServer(tree.root, context=context())
    stream = server.events()

    async def main() -> None:
        async with anyio.create_task_group() as group, server:
            group.start_soon(read, stream, facts)

    anyio.run(main, backend="trio")
    assert isinstance(facts[-1], WatchStopped)
