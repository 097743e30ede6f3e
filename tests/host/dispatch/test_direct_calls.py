"""A proxy leaves hooks that are for dispatchers to dispatchers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from dagstack_dev import (
    BroadcastCollectDispatcher,
    DispatchMismatch,
    KindSpec,
    PluginContext,
    PluginRegistry,
    unwrap,
)

Put = Callable[..., Any]


class Plugin:
    def find(self, ctx: object, query: str = "all") -> str:
        """Find it."""
        return f"{query} found"

    async def rank(self, ctx: object, value: int) -> int:
        return value + 1

    def complete(self, ctx: object) -> str:
        return self.helper()

    def helper(self) -> str:
        return f"helped, {self.find(None)}"


@pytest.fixture
def proxy(put: Put, declare: Any) -> Any:
    declare(
        find="broadcast_collect",
        tell="broadcast_notify",
        rank="chain",
        parse="capability",
        complete="singleton",
    )
    return put(Plugin())


def test_hooks_for_dispatchers_are_refused_with_the_right_one(proxy: Any) -> None:
    with pytest.raises(DispatchMismatch) as caught:
        proxy.find(None, "x")
    assert str(caught.value) == (
        "demo/it: hook 'find' is declared broadcast_collect, so it is not for one plugin's proxy "
        "to call; use BroadcastCollectDispatcher(registry).dispatch('demo', 'find', ctx, ...)"
    )
    with pytest.raises(DispatchMismatch, match=r"use ChainDispatcher\(registry\)"):
        proxy.rank(None, 1)


def test_singleton_hooks_and_what_is_no_hook_are_free(proxy: Any) -> None:
    assert proxy.complete(None) == "helped, all found"
    assert proxy.helper() == "helped, all found"
    assert unwrap(proxy).find(None) == "all found"


def test_a_refused_hook_still_shows_what_it_is(proxy: Any) -> None:
    assert str(inspect.signature(proxy.find)) == "(ctx: 'object', query: 'str' = 'all') -> 'str'"
    assert proxy.find.__doc__ == "Find it."
    assert not hasattr(proxy, "parse")  # A hook of the kind that this plugin does not have.


def test_a_proxy_from_before_the_declaration_learns_of_it(put: Put, declare: Any) -> None:
    proxy = put(Plugin())
    assert proxy.find(None) == "all found"
    declare(find="broadcast_collect")
    with pytest.raises(DispatchMismatch):
        proxy.find(None)
    declare(find="singleton")
    assert proxy.find(None) == "all found"


def test_plugins_of_other_kinds_are_let_alone(
    registry: PluginRegistry, put: Put, declare: Any
) -> None:
    declare(find="broadcast_collect")
    put(Plugin(), "one")
    assert type(registry.get_plugin("demo", "one")).__dagstack_reserved__.keys() == {"find"}
    assert registry.table.reserved("other") == {}


class Late:
    """Its hooks come with the setup: as an attribute, and as an answer of `__getattr__`."""

    def setup(self, ctx: object) -> None:
        self.find = lambda ctx: "attribute"

    def __getattr__(self, name: str) -> Any:
        if name == "scan" and "find" in self.__dict__:
            return lambda ctx: "answered"
        raise AttributeError(name)


async def test_hooks_that_are_no_methods_of_the_class_are_hooks_all_the_same(
    registry: PluginRegistry, ctx: PluginContext, put: Put, declare: Any
) -> None:
    declare(find="broadcast_collect", scan="broadcast_collect")
    proxy = put(Late())
    await registry.setup_all(ctx)
    with pytest.raises(DispatchMismatch):
        proxy.find(ctx)
    dispatcher = BroadcastCollectDispatcher(registry)
    assert dispatcher.dispatch("demo", "find", ctx) == (["attribute"], None)
    assert dispatcher.dispatch("demo", "scan", ctx) == (["answered"], None)
    with pytest.raises(DispatchMismatch):
        proxy.scan(ctx)


def test_proxies_are_made_anew_only_where_their_kind_has_changed(
    registry: PluginRegistry, proxy: Any
) -> None:
    made = type(proxy)
    registry.add_hookspecs(KindSpec(kind="other"))
    assert type(proxy) is made
    registry.add_hookspecs(KindSpec(kind="demo"), replace=True)
    assert type(proxy) is not made
    assert proxy.find(None) == "all found"
