"""The first of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Twin:
    def setup(self, ctx: PluginContext) -> None:
        ctx.logger.info("ready")
