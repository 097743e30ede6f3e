"""Takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Slow:
    async def setup(self, ctx: PluginContext) -> None:
        await anyio.sleep(0.1)
        ctx.logger.info("ready")
