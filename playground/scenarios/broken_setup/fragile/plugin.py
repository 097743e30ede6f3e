"""Cannot be set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Fragile:
    def setup(self, ctx: PluginContext) -> None:
        ctx.logger.info("about_to_fail")
        raise RuntimeError("fragile cannot be set up")
