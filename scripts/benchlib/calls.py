"""What a call through a proxy costs over the call itself."""

from __future__ import annotations

import importlib.util
import timeit
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from dagstack_dev import PluginRegistry
from scripts.benchlib.report import Table, say

CALLS: Final = 20_000


class Plugin:
    """What is called."""

    def __init__(self) -> None:
        self.value = 1

    def sync(self, number: int) -> int:
        """Answer `number`."""
        return number

    async def asynchronous(self, number: int) -> int:
        """Answer `number`."""
        return number


MANIFEST: Final[dict[str, Any]] = {
    "name": "called",
    "kind": "bench",
    "core_version": ">=0.1.0,<1.0.0",
    "runtime": "in_process",
    "entry_point": "calls:Plugin",
}


def measure(repetitions: int) -> Table:
    """The table of calls."""
    say("calls")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    plugin = Plugin()
    registry = PluginRegistry()
    registry.register_manifest(MANIFEST, plugin)
    proxy = registry.get_plugin("bench", "called")
    table = Table(
        "Call, in ns",
        ("call", "direct", "through", "over direct"),
        note=f"each the best of {repetitions} times {CALLS:,} calls, in turn",
    )
    for name, make in (
        ("sync method", _sync),
        ("async method", _async),
        ("attribute", _attribute),
    ):
        direct, through = _best_in_turn((make(plugin), make(proxy)), repetitions)
        _add(table, f"proxy, {name}", direct, through)
    if importlib.util.find_spec("pluggy") is not None:
        direct, through = _best_in_turn((_sync(plugin), _pluggy()), repetitions)
        _add(table, "pluggy hook, one plugin", direct, through)
    return table


def _add(table: Table, call: str, direct: float, through: float) -> None:
    table.add({"call": call, "direct": direct, "through": through, "over direct": through - direct})


def _best_in_turn(runs: tuple[Callable[[], object], ...], repetitions: int) -> list[float]:
    """For each the best time of one call, in ns; measured in turn, so that all see the same."""
    best = [float("inf")] * len(runs)
    for _ in range(repetitions):
        for index, run in enumerate(runs):
            best[index] = min(best[index], timeit.timeit(run, number=1) / CALLS * 1e9)
    return best


def _sync(plugin: Any) -> Callable[[], object]:
    def run() -> None:
        for _ in range(CALLS):
            plugin.sync(1)

    return run


def _async(plugin: Any) -> Callable[[], object]:
    async def calls() -> None:
        for _ in range(CALLS):
            await plugin.asynchronous(1)

    return lambda: _drive(calls())


def _drive(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, without an event loop around it."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the call waited for something")


def _attribute(plugin: Any) -> Callable[[], object]:
    def run() -> None:
        for _ in range(CALLS):
            plugin.value  # noqa: B018 - reading it is what is measured

    return run


def _pluggy() -> Callable[[], object]:
    import pluggy  # noqa: PLC0415 - only where it is installed

    spec, impl = pluggy.HookspecMarker("bench"), pluggy.HookimplMarker("bench")

    class Spec:
        @spec
        def sync(self, number: int) -> int:
            raise NotImplementedError

    class Impl:
        @impl
        def sync(self, number: int) -> int:
            return number

    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Spec)
    manager.register(Impl())
    hook = manager.hook

    def run() -> None:
        for _ in range(CALLS):
            hook.sync(number=1)

    return run
