"""Broadcasts reach every ready plugin that has the hook, in order, whatever one of them does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
from command_runs import GUARD_SECONDS

from dagstack_dev import (
    BroadcastCollectDispatcher,
    BroadcastErrors,
    BroadcastNotifyDispatcher,
    DispatchClass,
    DispatchMismatch,
    ErrorPolicy,
    HookSpec,
    KindSpec,
    KindUnknown,
    PluginContext,
    PluginRegistry,
)

Put = Callable[..., Any]
Told = Callable[[], list[tuple[str, str, str]]]


def says(answer: object) -> Callable[..., Any]:
    return lambda self, ctx, *args, **kwargs: answer


def fails(error: Exception) -> Callable[..., Any]:
    def method(self: object, ctx: object, *args: object) -> None:
        raise error

    return method


async def test_the_answers_come_by_band_then_priority_then_name(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any
) -> None:
    declare(find="broadcast_collect")
    plugin("b", find=says("b"))
    plugin("a", find=says("a"))
    plugin("high", {"priority": 9}, find=says("high"))
    plugin("last", {"priority": 99, "trylast": True}, find=says("last"))
    plugin("first", {"tryfirst": True}, find=says("first"))
    await registry.setup_all(ctx)
    answers = ["first", "high", "a", "b", "last"]
    dispatcher = BroadcastCollectDispatcher(registry)
    assert dispatcher.dispatch("demo", "find", ctx) == (answers, None)
    assert await dispatcher.dispatch_async("demo", "find", ctx) == (answers, None)


async def test_arguments_are_passed_on_after_the_context(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any
) -> None:
    declare(find="broadcast_collect")
    plugin("it", find=lambda self, *args, **kwargs: (args, kwargs))
    await registry.setup_all(ctx)
    results, _ = BroadcastCollectDispatcher(registry).dispatch("demo", "find", ctx, 1, kind=2)
    assert results == [((ctx, 1), {"kind": 2})]


async def test_only_ready_plugins_that_have_the_hook_are_called(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any
) -> None:
    declare(find="broadcast_collect")
    plugin("without")
    plugin("data").find = "not callable"
    plugin("with", find=says(1))
    dispatcher = BroadcastCollectDispatcher(registry)
    assert dispatcher.dispatch("demo", "find", ctx) == ([], None)
    await registry.setup_all(ctx)
    assert dispatcher.dispatch("demo", "find", ctx) == ([1], None)
    await registry.teardown_all()
    assert dispatcher.dispatch("demo", "find", ctx) == ([], None)


async def test_a_plugin_that_raises_keeps_no_other_from_answering(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any, failures: Told
) -> None:
    declare(find="broadcast_collect")
    error = LookupError("no index")
    plugin("a", find=fails(error))
    plugin("b", find=says("b"))
    await registry.setup_all(ctx)
    results, errors = BroadcastCollectDispatcher(registry).dispatch("demo", "find", ctx)
    assert results == ["b"]
    assert isinstance(errors, BroadcastErrors)
    assert errors.errors == [("a", error)]
    assert str(errors) == "1 plugin failed in a broadcast: a: LookupError: no index"
    assert failures() == [("a", "find", "no index")]


async def test_with_fail_fast_the_first_error_ends_the_broadcast(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, failures: Told
) -> None:
    hook = HookSpec(
        name="find", dispatch=DispatchClass.BROADCAST_COLLECT, error_policy=ErrorPolicy.FAIL_FAST
    )
    registry.add_hookspecs(KindSpec(kind="demo", hooks=(hook,)))
    called: list[str] = []
    plugin("a", find=fails(LookupError("no index")))
    plugin("b", find=lambda self, ctx: called.append("b"))
    await registry.setup_all(ctx)
    with pytest.raises(LookupError, match="no index") as caught:
        await BroadcastCollectDispatcher(registry).dispatch_async("demo", "find", ctx)
    assert caught.value.__notes__ == ["raised by demo/a in a broadcast of find"]
    assert called == []
    assert failures() == []


async def test_asynchronous_hooks_need_an_asynchronous_dispatch(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any, failures: Told
) -> None:
    declare(find="broadcast_collect", on_start="broadcast_notify")

    async def answer(self: object, ctx: object) -> str:
        return "later"

    plugin("a", find=answer, on_start=answer)
    plugin("b", find=says("now"))
    await registry.setup_all(ctx)
    collect = BroadcastCollectDispatcher(registry)
    assert await collect.dispatch_async("demo", "find", ctx) == (["later", "now"], None)
    results, errors = collect.dispatch("demo", "find", ctx)
    assert results == ["now"]
    assert errors is not None
    [(name, error)] = errors.errors
    assert (name, str(error)) == ("a", "demo/a: find is asynchronous; use dispatch_async")
    assert isinstance(error, TypeError)
    BroadcastNotifyDispatcher(registry).dispatch("demo", "on_start", ctx)
    assert [hook for _, hook, _ in failures()] == ["find", "on_start"]


async def test_a_notification_answers_nothing_and_raises_nothing(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any, failures: Told
) -> None:
    declare(on_start="broadcast_notify")
    seen: list[str] = []
    plugin("a", {"priority": 3}, on_start=lambda self, ctx, word: seen.append(f"a {word}"))
    plugin("b", {"priority": 2}, on_start=fails(ValueError("no")))
    plugin("c", {"priority": 1}, on_start=lambda self, ctx, word: seen.append(f"c {word}"))
    await registry.setup_all(ctx)
    notify = BroadcastNotifyDispatcher(registry)
    notify.dispatch("demo", "on_start", ctx, "now")
    await notify.dispatch_async("demo", "on_start", ctx, "later")
    assert seen == ["a now", "c now", "a later", "c later"]
    assert [name for name, _, _ in failures()] == ["b", "b"]


async def test_a_slow_subscriber_delays_no_other(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, declare: Any
) -> None:
    declare(on_start="broadcast_notify")
    heard = anyio.Event()

    async def wait(self: object, ctx: object) -> None:
        await heard.wait()

    plugin("a", {"priority": 9}, on_start=wait)
    plugin("b", on_start=lambda self, ctx: heard.set())
    await registry.setup_all(ctx)
    with anyio.fail_after(GUARD_SECONDS):
        await BroadcastNotifyDispatcher(registry).dispatch_async("demo", "on_start", ctx)
    assert heard.is_set()


async def test_a_hook_of_another_class_is_refused(
    registry: PluginRegistry, ctx: PluginContext, declare: Any
) -> None:
    declare(find="chain")
    with pytest.raises(DispatchMismatch, match=r"use ChainDispatcher\(registry\)") as caught:
        BroadcastCollectDispatcher(registry).dispatch("demo", "find", ctx)
    assert (caught.value.declared, caught.value.expected) == ("chain", "broadcast_collect")
    with pytest.raises(DispatchMismatch):
        await BroadcastNotifyDispatcher(registry).dispatch_async("demo", "find", ctx)


async def test_an_override_takes_the_place_of_the_declaration(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    plugin("it", find=says(1))
    await registry.setup_all(ctx)
    with pytest.raises(KindUnknown, match="no hookspec declares kind 'demo'"):
        BroadcastCollectDispatcher(registry).dispatch("demo", "find", ctx)
    collect = BroadcastCollectDispatcher(
        registry, dispatch_class_override=DispatchClass.BROADCAST_COLLECT
    )
    assert collect.dispatch("demo", "find", ctx) == ([1], None)
    wrong = BroadcastCollectDispatcher(registry, dispatch_class_override="chain")
    with pytest.raises(DispatchMismatch):
        wrong.dispatch("demo", "find", ctx)


async def test_a_built_in_kind_needs_no_declaration(
    registry: PluginRegistry, ctx: PluginContext
) -> None:
    schema = {"name": "add", "description": "", "parameters": {}}
    manifest = {
        "name": "maths",
        "kind": "tool",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Maths",
    }
    maths = type("Maths", (), {"get_schema": says([schema])})()
    registry.register_manifest(manifest, maths)
    await registry.setup_all(ctx)
    found = BroadcastCollectDispatcher(registry).dispatch("tool", "get_schema", ctx)
    assert found == ([[schema]], None)
    assert registry.get_plugin("tool", "maths").get_schema(ctx) == [schema]


def test_notifications_run_side_by_side_on_trio_too(registry: PluginRegistry, put: Put) -> None:
    hook = HookSpec(name="on_start", dispatch=DispatchClass.BROADCAST_NOTIFY)
    registry.add_hookspecs(KindSpec(kind="demo", hooks=(hook,)))
    heard: list[str] = []

    class Plugin:
        async def on_start(self, ctx: object) -> None:
            both.append(None)
            while len(both) < 2:
                await anyio.lowlevel.checkpoint()
            heard.append("heard")

    both: list[None] = []
    put(Plugin(), "a")
    put(Plugin(), "b")

    async def run() -> None:
        ctx = PluginContext(config={}, logger=structlog.get_logger(), registry=registry)
        await registry.setup_all(ctx)
        with anyio.fail_after(GUARD_SECONDS):
            await BroadcastNotifyDispatcher(registry).dispatch_async("demo", "on_start", ctx)
        await registry.teardown_all()

    anyio.run(run, backend="trio")
    assert heard == ["heard", "heard"]
