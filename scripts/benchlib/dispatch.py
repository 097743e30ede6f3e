"""What one dispatch costs, beside the same hook of pluggy, with few plugins of many called."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

import anyio
import structlog

from dagstack_dev import (
    BroadcastCollectDispatcher,
    BroadcastNotifyDispatcher,
    CapabilityDispatcher,
    ChainDispatcher,
    DispatchClass,
    HookSpec,
    KindSpec,
    PluginContext,
    PluginRegistry,
    SingletonDispatcher,
)
from scripts.benchlib.report import Table, say

REGISTERED: Final = 1000
"""Plugins of the kind, of which only some have the hook."""

HOOKS: Final = {
    "collect": DispatchClass.BROADCAST_COLLECT,
    "notify": DispatchClass.BROADCAST_NOTIFY,
    "rank": DispatchClass.CHAIN,
    "parse": DispatchClass.CAPABILITY,
    "complete": DispatchClass.SINGLETON,
}


class Silent:
    """A plugin without any hook."""


class Answering:
    """A plugin with all of them."""

    def collect(self, ctx: object, number: int) -> int:  # noqa: ARG002 - what the hook is given
        """Answer `number`."""
        return number

    def notify(self, ctx: object, number: int) -> None:
        """Take `number`."""

    def rank(self, ctx: object, value: int) -> int:  # noqa: ARG002 - as above
        """Answer `value`."""
        return value

    def parse(self, ctx: object, number: int, language: str) -> int:  # noqa: ARG002 - as above
        """Answer `number`."""
        return number

    def complete(self, ctx: object, number: int) -> int:  # noqa: ARG002 - as above
        """Answer `number`."""
        return number


def measure(repetitions: int, counts: Sequence[int] = (1, 10, 100)) -> Table:
    """The table of dispatches.

    Args:
        repetitions: how often each figure is taken; the best counts.
        counts: how many plugins have the hook.
    """
    say("dispatch")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    table = Table(
        "One dispatch, in us",
        ("dispatcher", "called", "plain calls", "dispatch", "pluggy", "over pluggy"),
        note=f"of {REGISTERED:,} plugins of the kind; the best of {repetitions} rounds, in turn",
    )
    for count in counts:
        anyio.run(_measure, table, repetitions, count)
    return table


async def _measure(table: Table, repetitions: int, count: int) -> None:
    plugins = [Answering() for _ in range(count)]
    registry, ctx = _registry(plugins)
    await registry.setup_all(ctx)
    for hook, ours in _dispatches(registry, ctx).items():
        args = {"language": "python"} if hook == "parse" else {}
        calls = count if hook in {"collect", "notify", "rank"} else 1
        runs = [_plain(plugins[:calls], hook, ctx, args), ours]
        theirs = _pluggy(plugins, hook, ctx, args, first=calls == 1)
        if theirs is not None:
            runs.append(theirs)
        best = _best_in_turn(runs, repetitions, max(20, 2000 // calls))
        row: dict[str, object] = {
            "dispatcher": HOOKS[hook].value,
            "called": f"{calls} of {count}" if calls < count else str(calls),
            "plain calls": best[0],
            "dispatch": best[1],
        }
        if theirs is not None and hook != "rank":
            row |= {"pluggy": best[2], "over pluggy": best[1] / best[2]}
        table.add(row)
    await registry.teardown_all()


def _registry(plugins: Sequence[Answering]) -> tuple[PluginRegistry, PluginContext]:
    registry = PluginRegistry(observer=lambda _: None)
    hooks = tuple(HookSpec(name=name, dispatch=each) for name, each in HOOKS.items())
    registry.add_hookspecs(KindSpec(kind="bench", hooks=hooks))
    others = [Silent() for _ in range(REGISTERED - len(plugins))]
    for number, plugin in enumerate([*plugins, *others]):
        manifest = {
            "name": f"p{number:04}",
            "kind": "bench",
            "core_version": ">=0.1.0,<1.0.0",
            "runtime": "in_process",
            "entry_point": "dispatch:Answering",
            "priority": 1 if number == 0 else 0,
            "supports_languages": ["python" if number == 0 else f"language{number}"],
        }
        registry.register_manifest(manifest, plugin)
    return registry, PluginContext(config={}, logger=structlog.get_logger(), registry=registry)


def _dispatches(registry: PluginRegistry, ctx: PluginContext) -> dict[str, Callable[[], object]]:
    collect = BroadcastCollectDispatcher(registry).dispatch
    notify = BroadcastNotifyDispatcher(registry).dispatch
    chain = ChainDispatcher(registry).dispatch
    capability = CapabilityDispatcher(registry).dispatch
    singleton = SingletonDispatcher(registry).dispatch
    return {
        "collect": lambda: collect("bench", "collect", ctx, 1),
        "notify": lambda: notify("bench", "notify", ctx, 1),
        "rank": lambda: chain("bench", "rank", ctx, initial_value=1),
        "parse": lambda: capability("bench", "parse", ctx, 1, language="python"),
        "complete": lambda: singleton("bench", "complete", ctx, 1),
    }


def _plain(
    plugins: Sequence[Answering], hook: str, ctx: object, args: dict[str, Any]
) -> Callable[[], object]:
    methods = [getattr(plugin, hook) for plugin in plugins]
    return lambda: [method(ctx, 1, **args) for method in methods]


def _pluggy(
    plugins: Sequence[Answering], hook: str, ctx: object, args: dict[str, Any], *, first: bool
) -> Callable[[], object] | None:
    """The same plugins under pluggy: every result, or that of the first who has one."""
    if importlib.util.find_spec("pluggy") is None:
        return None
    import pluggy  # noqa: PLC0415 - only where it is installed

    class Spec:
        """The hook alone."""

    value = "value" if hook == "rank" else "number"
    template = getattr(Answering, hook)
    setattr(Spec, hook, pluggy.HookspecMarker("bench")(firstresult=first)(_copy(template)))
    marked = pluggy.HookimplMarker("bench")(_copy(template))
    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Spec)
    implementation = type("Implementation", (), {hook: marked})
    for _ in plugins:
        manager.register(implementation())
    call = getattr(manager.hook, hook)
    arguments = {"ctx": ctx, value: 1, **args}
    return lambda: call(**arguments)


def _copy(function: Any) -> Any:
    """A function of its own, for pluggy's markers are attributes."""
    copied = type(function)(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def _best_in_turn(
    runs: Sequence[Callable[[], object]], repetitions: int, calls: int
) -> list[float]:
    """For each the best time of one call, in us; measured in turn, so that all see the same."""
    best = [float("inf")] * len(runs)
    for _ in range(repetitions):
        for index, run in enumerate(runs):
            began = perf_counter()
            for _ in range(calls):
                run()
            best[index] = min(best[index], (perf_counter() - began) / calls * 1e6)
    return best
