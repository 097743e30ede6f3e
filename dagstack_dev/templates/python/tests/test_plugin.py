"""`dagstack-dev test` runs this, and calls the plugin with the samples in contract.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plugin import Greeter

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


def test_it_greets_by_name(plugin_context: PluginContext) -> None:
    plugin = Greeter()
    plugin.setup(plugin_context)
    assert plugin.greet("Ada").endswith(", Ada!")
