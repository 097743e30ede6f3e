"""A hook that ends with a cancellation of its own has failed; its caller is not cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dagstack_dev import (
    BroadcastCollectDispatcher,
    BroadcastNotifyDispatcher,
    ChainDispatcher,
    PluginCancelled,
    PluginContext,
    PluginRegistry,
)

Put = Callable[..., Any]
Told = Callable[[], list[tuple[str, str, str]]]


async def stray(self: object, ctx: object, *args: object) -> None:
    task = asyncio.ensure_future(asyncio.sleep(10))
    task.cancel()
    await task


async def works(self: object, ctx: object, *args: object) -> str:
    return "works"


@pytest.fixture
async def _up(plugin: Put, declare: Any, registry: PluginRegistry, ctx: PluginContext) -> None:
    declare(find="broadcast_collect", tell="broadcast_notify", rank="chain")
    plugin("a", find=stray, tell=stray, rank=stray)
    plugin("b", find=works)
    await registry.setup_all(ctx)


@pytest.mark.usefixtures("_up")
async def test_broadcasts_go_on_and_tell_of_it(registry: PluginRegistry, failures: Told) -> None:
    collect = BroadcastCollectDispatcher(registry)
    results, errors = await collect.dispatch_async("demo", "find", None)
    assert results == ["works"]
    assert errors is not None
    [(name, error)] = errors.errors
    assert (name, type(error)) == ("a", PluginCancelled)
    await BroadcastNotifyDispatcher(registry).dispatch_async("demo", "tell", None)
    assert [(ref, hook) for ref, hook, _ in failures()] == [("a", "find"), ("a", "tell")]


@pytest.mark.usefixtures("_up")
async def test_a_chain_fails_and_does_not_look_cancelled(registry: PluginRegistry) -> None:
    with pytest.raises(PluginCancelled, match="demo/a: rank ended with a cancellation of its own"):
        await ChainDispatcher(registry).dispatch_async("demo", "rank", None, initial_value=1)


@pytest.mark.usefixtures("_up")
async def test_a_caller_that_is_cancelled_is_cancelled(
    registry: PluginRegistry, plugin: Put, ctx: PluginContext
) -> None:
    entered = asyncio.Event()

    async def waits(self: object, ctx: object, value: object) -> None:
        entered.set()
        await asyncio.Event().wait()

    plugin("first", {"tryfirst": True}, rank=waits)
    await registry.setup_all(ctx)
    chain = ChainDispatcher(registry).dispatch_async("demo", "rank", None, initial_value=1)
    task = asyncio.ensure_future(chain)
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
