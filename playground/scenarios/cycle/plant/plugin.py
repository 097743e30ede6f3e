"""A third of a cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Plant:
    def setup(self, ctx: PluginContext) -> None:
        ctx.logger.info("ready")
