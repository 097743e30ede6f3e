"""The active plugin of a kind: by policy, by environment, by priority."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagstack_dev import (
    ActiveUnknown,
    AmbiguousPlugin,
    KindUnknown,
    NobodyAnswers,
    PluginContext,
    PluginRegistry,
    SingletonDispatcher,
)

Put = Callable[..., Any]


@pytest.fixture
async def three(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any
) -> SingletonDispatcher:
    """Plugins of the priorities 1, 2 and 3; the highest has no hook."""
    declare(complete="singleton")
    for number, name in enumerate(("low", "middle"), start=1):
        plugin(
            name,
            {"priority": number},
            complete=lambda self, ctx, *words, name=name: (name, *words),
        )
    plugin("high", {"priority": 3})
    await registry.setup_all(ctx)
    return SingletonDispatcher(registry)


async def test_the_highest_priority_that_has_the_hook_answers(
    three: SingletonDispatcher, registry: PluginRegistry, ctx: PluginContext
) -> None:
    assert three.dispatch("demo", "complete", ctx, "word") == ("middle", "word")
    assert await three.dispatch_async("demo", "complete", ctx) == ("middle",)
    assert registry.get_plugin("demo") is registry.get_plugin("demo", "high")


async def test_the_environment_comes_before_the_priority_and_a_policy_before_both(
    three: SingletonDispatcher,
    registry: PluginRegistry,
    ctx: PluginContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTACK_ACTIVE_DEMO", "low")
    assert three.dispatch("demo", "complete", ctx) == ("low",)
    assert registry.get_plugin("demo") is registry.get_plugin("demo", "low")
    registry.set_routing_policy({"demo": "middle", "other": "x"})
    assert three.dispatch("demo", "complete", ctx) == ("middle",)
    assert registry.get_plugin("demo") is registry.get_plugin("demo", "middle")
    asked: list[tuple[str, list[str]]] = []

    def undecided(kind: str, manifests: Any) -> None:
        asked.append((kind, [manifest.name for manifest in manifests]))

    registry.set_routing_policy(undecided)
    assert three.dispatch("demo", "complete", ctx) == ("low",)
    assert asked == [("demo", ["middle", "low"])]
    registry.set_routing_policy(None)
    monkeypatch.setenv("DAGSTACK_ACTIVE_DEMO", "")
    assert registry.get_plugin("demo") is registry.get_plugin("demo", "high")


async def test_the_variable_of_a_kind_with_other_characters(
    registry: PluginRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        put(object(), name)
        registry.register_manifest(
            {
                "name": name,
                "kind": "vector-store.v2",
                "core_version": ">=0.1",
                "runtime": "in_process",
                "entry_point": "plugin:Plugin",
            },
            object(),
        )
    monkeypatch.setenv("DAGSTACK_ACTIVE_VECTOR_STORE_V2", "b")
    chosen = registry.get_plugin("vector-store.v2")
    assert chosen is registry.get_plugin("vector-store.v2", "b")


async def test_a_name_that_is_not_there_is_an_error_that_says_what_names_it(
    three: SingletonDispatcher,
    registry: PluginRegistry,
    ctx: PluginContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTACK_ACTIVE_DEMO", "midle")
    with pytest.raises(ActiveUnknown, match="DAGSTACK_ACTIVE_DEMO names demo/midle, but") as caught:
        registry.get_plugin("demo")
    assert isinstance(caught.value, KindUnknown)
    assert caught.value.suggestion == "middle"
    registry.set_routing_policy({"demo": "hihg"})
    with pytest.raises(ActiveUnknown, match="the routing policy names demo/hihg"):
        registry.get_plugin("demo")
    registry.set_routing_policy({"demo": "high"})  # It has no such hook.
    with pytest.raises(ActiveUnknown, match="names demo/high"):
        three.dispatch("demo", "complete", ctx)


async def test_a_tie_is_ambiguous(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any
) -> None:
    declare(complete="singleton")
    plugin("b", complete=lambda self, ctx: "b")
    plugin("a", {"tryfirst": True}, complete=lambda self, ctx: "a")
    await registry.setup_all(ctx)
    with pytest.raises(AmbiguousPlugin, match="demo/a, demo/b"):
        registry.get_plugin("demo")
    with pytest.raises(AmbiguousPlugin, match="demo/a, demo/b"):
        await SingletonDispatcher(registry).dispatch_async("demo", "complete", ctx)


async def test_no_plugin_to_answer_is_kind_unknown(
    three: SingletonDispatcher, registry: PluginRegistry, ctx: PluginContext
) -> None:
    await registry.teardown_all()
    with pytest.raises(
        NobodyAnswers, match="no ready plugin of kind 'demo' has the hook"
    ) as caught:
        three.dispatch("demo", "complete", ctx)
    assert isinstance(caught.value, KindUnknown)
