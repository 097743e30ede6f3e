"""Writes the report to the log, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Report(Protocol):
    async def sentence(self) -> str: ...


class Ticker:
    """Owns one background task, which ends with the plugin."""

    _ctx: PluginContext
    _report: Report

    def setup(self, ctx: PluginContext) -> None:
        self._ctx = ctx
        self._report = ctx.registry.get_plugin("job", name="report")
        ctx.start_soon(self._tick_every, float(ctx.config.get("interval_sec", 1.0)))

    async def _tick_every(self, seconds: float) -> None:
        while True:
            try:
                self._ctx.logger.info("tick", report=await self._report.sentence())
            except Exception:
                self._ctx.logger.exception("tick_failed")  # the next tick may well succeed
            await anyio.sleep(seconds)
