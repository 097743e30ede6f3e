"""`dagstack-dev test` runs this, and calls the plugin with the samples in contract.toml."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dagstack_dev import ToolArgumentsInvalid

if TYPE_CHECKING:
    from dagstack_dev import PluginContext, PluginRegistry


def test_a_greeting_needs_a_name(
    plugin_registry: PluginRegistry, plugin_context: PluginContext
) -> None:
    async def call() -> None:
        await plugin_registry.setup_all(plugin_context)
        try:
            with pytest.raises(ToolArgumentsInvalid, match="name"):
                await plugin_registry.get_plugin("tool", "greeter").greet()
        finally:
            await plugin_registry.teardown_all()

    plugin_registry.discover(Path(__file__).parents[1])
    asyncio.run(call())
