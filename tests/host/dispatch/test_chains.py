"""A chain passes a value through the plugins."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from dagstack_dev import (
    MIDDLEWARE_PRIORITY_THRESHOLD,
    STOP_CHAIN,
    ChainDispatcher,
    NotForChains,
    PluginContext,
    PluginRegistry,
)

Put = Callable[..., Any]


def appends(word: str) -> Callable[..., Any]:
    return lambda self, ctx, value, **kwargs: [*value, word]


@pytest.fixture(autouse=True)
def _declared(declare: Any) -> None:
    declare(rank="chain")


async def test_each_plugin_is_given_what_the_one_before_has_made(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    async def later(self: object, ctx: object, value: list[str]) -> list[str]:
        return [*value, "later"]

    plugin("c", rank=appends("c"))
    plugin("b", {"priority": 5}, rank=appends("b"))
    plugin("a", {"trylast": True}, rank=appends("a"))
    await registry.setup_all(ctx)
    chain = ChainDispatcher(registry)
    assert chain.dispatch("demo", "rank", ctx, initial_value=[0]) == [0, "b", "c", "a"]
    plugin("d", {"priority": 9}, rank=later)
    await registry.setup_all(ctx)
    assert await chain.dispatch_async("demo", "rank", ctx, initial_value=[]) == [
        "later",
        "b",
        "c",
        "a",
    ]
    with pytest.raises(TypeError, match="demo/d: rank is asynchronous; use dispatch_async"):
        chain.dispatch("demo", "rank", ctx, initial_value=[])


async def test_without_plugins_the_initial_value_is_the_result(
    registry: PluginRegistry, ctx: PluginContext
) -> None:
    assert ChainDispatcher(registry).dispatch("demo", "rank", ctx, initial_value=7) == 7
    assert await ChainDispatcher(registry).dispatch_async("demo", "rank", ctx) is None


async def test_keyword_arguments_go_to_every_plugin(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    plugin("a", rank=lambda self, ctx, value, *, step: value + step)
    plugin("b", rank=lambda self, ctx, value, *, step: value + step)
    await registry.setup_all(ctx)
    assert ChainDispatcher(registry).dispatch("demo", "rank", ctx, initial_value=1, step=2) == 5


@pytest.mark.parametrize("falsy", [None, 0, "", []])
async def test_stop_chain_ends_it_with_what_went_in_and_nothing_else_does(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, falsy: object
) -> None:
    plugin("a", {"priority": 3}, rank=lambda self, ctx, value: falsy)
    plugin("b", {"priority": 2}, rank=lambda self, ctx, value: STOP_CHAIN)
    plugin("c", {"priority": 1}, rank=lambda self, ctx, value: "never")
    await registry.setup_all(ctx)
    chain = ChainDispatcher(registry)
    assert chain.dispatch("demo", "rank", ctx, initial_value=1) == falsy
    assert await chain.dispatch_async("demo", "rank", ctx, initial_value=1) == falsy


def test_stop_chain_is_one_falsy_object_however_it_travels() -> None:
    assert not STOP_CHAIN
    assert repr(STOP_CHAIN) == "STOP_CHAIN"
    assert type(STOP_CHAIN)() is STOP_CHAIN
    assert copy.deepcopy(STOP_CHAIN) is STOP_CHAIN
    assert pickle.loads(pickle.dumps(STOP_CHAIN)) is STOP_CHAIN


async def test_an_error_ends_the_chain_and_is_raised_as_it_is(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    error = ValueError("no")

    def fail(self: object, ctx: object, value: object) -> None:
        raise error

    called: list[object] = []
    plugin("a", rank=fail)
    plugin("b", rank=lambda self, ctx, value: called.append(value))
    await registry.setup_all(ctx)
    with pytest.raises(ValueError, match="no") as caught:
        ChainDispatcher(registry).dispatch("demo", "rank", ctx)
    assert caught.value is error
    assert called == []


async def test_a_priority_of_middleware_is_warned_of_once(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    assert MIDDLEWARE_PRIORITY_THRESHOLD == 1000
    plugin("below", {"priority": 999}, rank=appends("b"))
    plugin("above", {"priority": 1000}, rank=appends("a"))
    await registry.setup_all(ctx)
    chain = ChainDispatcher(registry)
    with pytest.warns(UserWarning, match="demo/above has priority 1000") as told:
        chain.dispatch("demo", "rank", ctx, initial_value=[])
    assert [each.filename for each in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chain.dispatch("demo", "rank", ctx, initial_value=[]) == ["a", "b"]


async def test_a_plugin_that_is_in_process_only_cannot_be_in_a_chain(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    plugin("free", {"in_process_only": True})
    await registry.setup_all(ctx)
    assert ChainDispatcher(registry).dispatch("demo", "rank", ctx, initial_value=1) == 1
    plugin("bound", {"in_process_only": True}, rank=appends("b"))
    await registry.setup_all(ctx)
    with pytest.raises(NotForChains, match="demo/bound: hook 'rank' is called in a chain"):
        ChainDispatcher(registry).dispatch("demo", "rank", ctx, initial_value=[])
