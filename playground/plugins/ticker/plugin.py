"""Writes the greeting to the log, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from dagstack_dev import PluginContext


class Greeter(Protocol):
    async def greet(self) -> str: ...


class Counters(Protocol):
    def count(self, event: str) -> None: ...


class Ticker:
    """Runs one background task, from `setup` to `teardown`."""

    _ctx: PluginContext
    _greeter: Greeter
    _counters: Counters
    _tasks: TaskGroup

    async def setup(self, ctx: PluginContext) -> None:
        self._ctx = ctx
        self._greeter = ctx.registry.get_plugin("job", name="greeter")
        self._counters = ctx.registry.get_plugin("metrics", name="counters")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._tick_every, float(ctx.config.get("interval_sec", 1.0)))

    async def teardown(self) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def _tick_every(self, seconds: float) -> None:
        while True:
            try:
                self._ctx.logger.info("tick", greeting=await self._greeter.greet())
                self._counters.count("ticks")
            except Exception:
                self._ctx.logger.exception("tick_failed")  # the next tick may well succeed
            await anyio.sleep(seconds)
