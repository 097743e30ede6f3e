"""Calls that never stop while plugins are reloaded: who waits, how long, and whether any fails.

    python -m scripts.benchlib.load RELOADS

prints the figures.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from dagstack_dev import DevServer, PluginContext, PluginRegistry, PluginUnavailable
from dagstack_dev.core.events import (
    DrainTimedOut,
    Fact,
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    Transition,
)
from scripts.benchlib.checkouts import Checkout
from scripts.benchlib.fresh import in_fresh_process
from scripts.benchlib.load_tree import CALLS, KIND, Developer
from scripts.benchlib.report import Table, percentile, say

THINK_SEC: Final = 0.02
"""The pause of a caller between two calls: the load stays below what one core can do."""

TICK_SEC: Final = 0.001
LONGEST_WAY: Final = 4
ROLLED_BACK: Final = "rolled back"
NAMES: Final = tuple(CALLS)

Seen = list[tuple[str, int]]
"""Names and versions of the plugins that answered, in the order in which they noted it."""


@dataclass
class Outcome:
    """What came of the calls and of the reloads.

    Attributes:
        waits: of every asynchronous call and stream that was answered, in ms.
        synchronous: of every synchronous call that was answered, in ms.
        failures: calls that raised, or went back in time, in words.
        refused: synchronous calls on the loop's thread that met a reload, which cannot wait.
        facts: how many of each kind there were, by name.
        gap: the longest time that a ticker of 1 ms was kept waiting, in ms.
        seconds: how long the load lasted.
    """

    waits: list[float] = field(default_factory=list)
    synchronous: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    gap: float = 0.0
    seconds: float = 0.0

    def count(self, kind: type[Fact]) -> int:
        """How many facts of one kind there were."""
        return self.facts[kind.__name__]


class Caller:
    """One client: calls, one after another, and checks that versions do not go back.

    Args:
        load: whose plugins it calls.
        seed: of its dice.
    """

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._dice = random.Random(seed)  # noqa: S311 - dice, no secrets
        self._last: dict[str, tuple[int, int]] = {}

    async def run(self) -> None:
        """Call until the load ends."""
        calls = (self._ask, self._work, self._through, self._fan_out, self._stream)
        while not self._load.over:
            await asyncio.sleep(self._dice.random() * 2 * THINK_SEC)
            await self.noted(self._dice.choice(calls))
            self.note(self._load.plugin("plain").compute)

    async def noted(self, call: Callable[[], Awaitable[Seen]]) -> None:
        """Await one call and note what came of it."""
        began = time.perf_counter()
        try:
            seen = await call()
        except Exception as error:  # noqa: BLE001 - any error is a call that failed
            self._load.failed(call.__name__, error)
            return
        self._load.outcome.waits.append((time.perf_counter() - began) * 1000)
        self._check(seen)

    def note(self, call: Callable[[], Seen]) -> None:
        """Make one synchronous call and note what came of it."""
        began = time.perf_counter()
        try:
            seen = call()
        except PluginUnavailable as error:
            if threading.current_thread() is not threading.main_thread():
                self._load.failed("in a thread", error)
                return
            self._load.outcome.refused += 1
            return
        except Exception as error:  # noqa: BLE001 - any error is a call that failed
            self._load.failed("synchronous", error)
            return
        self._load.outcome.synchronous.append((time.perf_counter() - began) * 1000)
        self._check(seen)

    def _check(self, seen: Seen) -> None:
        """A version may be older than the last one only where a roll back came in between."""
        for name, version in seen:
            rolled_back = self._load.rolled_back[name]
            before, then = self._last.get(name, (0, rolled_back))
            if version < before and rolled_back == then:
                self._load.outcome.failures.append(f"{name} went back: {before}, {version}")
            self._last[name] = version, rolled_back

    def _any(self) -> Any:
        return self._load.plugin(self._dice.choice(NAMES))

    def _way(self) -> list[str]:
        """Some plugins of which each calls the next."""
        names = [self._dice.choice(NAMES)]
        while CALLS[names[-1]] and len(names) < LONGEST_WAY:
            names.append(self._dice.choice(CALLS[names[-1]]))
        return names

    async def _ask(self) -> Seen:
        seen: Seen = await self._any().ask()
        return seen

    async def _work(self) -> Seen:
        seen: Seen = await self._any().work()
        return seen

    async def _through(self) -> Seen:
        first, *names = self._way()
        seen: Seen = await self._load.plugin(first).through(names)
        return seen

    async def _fan_out(self) -> Seen:
        name = self._dice.choice(NAMES)
        seen: Seen = await self._load.plugin(name).fan_out(CALLS[name])
        return seen

    async def _stream(self) -> Seen:
        plugin = self._any()
        seen: Seen = []
        async for pairs in plugin.stream(3):
            seen += pairs
            seen += await plugin.ask()
        return seen


class Load:
    """Callers, threads and a ticker around one server.

    Attributes:
        outcome: what has come of it so far.
        over: whether callers are to stop.
        rolled_back: how often each plugin went back to what it was before.
    """

    def __init__(self, registry: PluginRegistry) -> None:
        self.outcome = Outcome()
        self.over = False
        self.rolled_back: Counter[str] = Counter()
        self._proxies = {name: registry.get_plugin(KIND, name) for name in NAMES}
        registry.observe(self._observe)

    def plugin(self, name: str) -> Any:
        """The proxy of one plugin."""
        return self._proxies[name]

    def failed(self, what: str, error: Exception) -> None:
        """A call raised."""
        self.outcome.failures.append(f"{what}: {type(error).__name__}: {error}")

    def _observe(self, fact: Fact) -> None:
        self.outcome.facts[type(fact).__name__] += 1
        if isinstance(fact, Transition) and fact.reason == ROLLED_BACK:
            self.rolled_back[fact.ref.name] += 1

    async def run(self, *, callers: int, threads: int, until: Awaitable[None]) -> None:
        """Keep `callers` tasks and `threads` threads calling until `until` is done."""
        began = time.perf_counter()
        clients = [Caller(self, seed) for seed in range(callers + threads)]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick())
                for client in clients[:callers]:
                    group.create_task(client.run())
                for client in clients[callers:]:
                    group.create_task(asyncio.to_thread(self._in_thread, client))
                await until
                self.over = True
        finally:
            self.over = True
        self.outcome.seconds = time.perf_counter() - began

    def _in_thread(self, client: Caller) -> None:
        while not self.over:
            time.sleep(THINK_SEC / 4)
            for name in NAMES:
                client.note(self.plugin(name).compute)

    async def _tick(self) -> None:
        last = time.perf_counter()
        while not self.over:
            await asyncio.sleep(TICK_SEC)
            now = time.perf_counter()
            self.outcome.gap = max(self.outcome.gap, (now - last) * 1000)
            last = now


async def run_load(
    root: Path, *, reloads: int, callers: int, threads: int, seed: int = 1
) -> Outcome:
    """Reload plugins below `root`, an empty folder, `reloads` times under load."""
    developer = Developer(root, seed)
    registry = PluginRegistry()
    context = PluginContext(config={}, logger=structlog.get_logger(), registry=registry)
    async with DevServer(root, context=context) as server:
        load = Load(registry)

        async def edits() -> None:
            for number in range(reloads):
                developer.edit()
                await server.wait_idle()
                await asyncio.sleep(0)
                if number % 100 == 99:  # noqa: PLR2004 - now and then
                    say(f"{number + 1} edits, {len(load.outcome.waits)} calls")

        await load.run(callers=callers, threads=threads, until=edits())
    return load.outcome


def measure(reloads: int, checkouts: Sequence[Checkout]) -> Table:
    """The table of calls under load."""
    table = Table(
        f"Calls during {reloads:,} edits, in ms",
        ("what", *(checkout.name for checkout in checkouts)),
        note="100 tasks and 4 threads; a call is what they call, with all that it calls itself",
    )
    figures = {}
    for checkout in checkouts:
        say("calls under load")
        figures[checkout.name] = in_fresh_process("load", reloads, checkout=checkout)
    for what in figures[checkouts[0].name]:
        table.add({"what": what} | {name: each[what] for name, each in figures.items()})
    return table


def run(reloads: int) -> dict[str, float]:
    """The figures of one process, by what they are."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(
            run_load(Path(folder) / "plugins", reloads=reloads, callers=100, threads=4)
        )
    for failure in outcome.failures[:5]:
        say(failure)
    waits = outcome.waits
    return {
        "asynchronous calls and streams": len(waits),
        "synchronous calls": len(outcome.synchronous),
        "calls per second": round((len(waits) + len(outcome.synchronous)) / outcome.seconds),
        "calls that failed": len(outcome.failures),
        "synchronous calls on the loop refused": outcome.refused,
        "reloads committed": outcome.count(ReloadCommitted),
        "reloads rolled back": outcome.count(ReloadRolledBack),
        "reloads failed": outcome.count(ReloadFailed),
        "edits rejected": outcome.count(PluginRejected),
        "drains that took too long": outcome.count(DrainTimedOut),
        "asynchronous, p50": percentile(waits, 50),
        "asynchronous, p99": percentile(waits, 99),
        "asynchronous, longest": max(waits),
        "synchronous, p99": percentile(outcome.synchronous, 99),
        "synchronous, longest": max(outcome.synchronous),
        "longest gap of a 1 ms ticker": outcome.gap,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
