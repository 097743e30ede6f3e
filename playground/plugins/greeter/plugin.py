"""Says hello."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dagstack_dev import PluginContext

GREETING = "Hello"


class Settings(Protocol):
    async def get(self, key: str, default: str = ...) -> str: ...


class Greeter:
    """Greets whoever the settings name as the audience."""

    _settings: Settings

    def setup(self, ctx: PluginContext) -> None:
        self._settings = ctx.registry.get_plugin("store", name="settings")

    async def greet(self) -> str:
        audience = await self._settings.get("audience", "world")
        return f"{GREETING}, {audience}!"
