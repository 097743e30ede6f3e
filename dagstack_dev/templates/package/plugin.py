"""The plugin greeter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .wording import greeting

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Greeter:
    """Greets people."""

    def setup(self, ctx: PluginContext) -> None:
        """Get ready; whatever `ctx` opens ends by itself."""
        self.word = ctx.config.get("greeting", "Hello")
        ctx.logger.info("greets with %s", self.word)

    def greet(self, name: str) -> str:
        """Greet somebody; every public method can be called by other plugins."""
        return greeting(self.word, name)
