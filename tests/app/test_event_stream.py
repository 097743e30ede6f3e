"""Facts for an app, as an asynchronous iterator."""

from __future__ import annotations

import anyio
from serving import make_live, serving
from trees import PluginTree

from dagstack_dev import EventStream, PluginRegistry
from dagstack_dev.core.events import Fact, ReloadCommitted, Transition, WatchStopped


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


async def test_a_stream_opened_before_the_block_tells_the_first_start(tree: PluginTree) -> None:
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
    await registry.setup_all(live.server.registry.conductor.context)  # type: ignore[arg-type]
    await registry.teardown_all()
    facts = [fact async for fact in stream]
    assert isinstance(facts[-1], WatchStopped)


async def test_a_stream_asked_for_after_the_end_is_empty(tree: PluginTree) -> None:
    async with serving(tree) as live:
        pass
    with anyio.fail_after(10):
        assert [fact async for fact in live.server.events()] == []
