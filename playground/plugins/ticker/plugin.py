"""Writes the greeting to the log, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Greeter(Protocol):
    async def greet(self) -> str: ...


class Counters(Protocol):
    def count(self, event: str) -> None: ...


class Ticker:
    """Owns one background task, which ends with the plugin."""

    _ctx: PluginContext
    _greeter: Greeter
    _counters: Counters

    def setup(self, ctx: PluginContext) -> None:
        self._ctx = ctx
        self._greeter = ctx.registry.get_plugin("job", name="greeter")
        self._counters = ctx.registry.get_plugin("metrics", name="counters")
        ctx.start_soon(self._tick_every, float(ctx.config.get("interval_sec", 1.0)))

    async def _tick_every(self, seconds: float) -> None:
        while True:
            try:
                self._ctx.logger.info("tick", greeting=await self._greeter.greet())
                self._counters.count("ticks")
            except Exception:
                self._ctx.logger.exception("tick_failed")  # the next tick may well succeed
            await anyio.sleep(seconds)
