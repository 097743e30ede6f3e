"""Warns when something blocks the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from dagstack_dev import PluginContext

PAUSE_SEC = 0.1


class LoopLag:
    """Sleeps for a moment, over and over, and looks at how late it wakes up."""

    _ctx: PluginContext

    def setup(self, ctx: PluginContext) -> None:
        self._ctx = ctx
        ctx.start_soon(self._watch, float(ctx.config.get("warn_after_sec", 0.1)))

    async def _watch(self, warn_after_sec: float) -> None:
        while True:
            due = anyio.current_time() + PAUSE_SEC
            await anyio.sleep_until(due)
            lag = anyio.current_time() - due
            if lag > warn_after_sec:
                self._ctx.logger.warning("event_loop_blocked", seconds=round(lag, 3))
