"""A registry, the context its plugins get, and what it reports to its observers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from dagstack_dev import PluginContext, PluginRegistry
from dagstack_dev.core.events import Fact


@pytest.fixture
def registry() -> PluginRegistry:
    return PluginRegistry()


@pytest.fixture
def journal() -> list[str]:
    """What the plugins of `PluginTree` write into."""
    return []


@pytest.fixture
def ctx(registry: PluginRegistry, journal: list[str]) -> PluginContext:
    return PluginContext(
        config={},
        logger=structlog.get_logger(),
        registry=registry,
        extras={"journal": journal, "seen": {}},
    )


@pytest.fixture
def facts(registry: PluginRegistry) -> list[Fact]:
    """Every fact from the start of the test."""
    told: list[Fact] = []
    registry.observe(told.append)
    return told


@pytest.fixture
def put(registry: PluginRegistry) -> Callable[..., Any]:
    """Register a plugin object by hand and get its proxy."""

    def register(plugin: object, name: str = "it", **fields: object) -> Any:
        manifest = {
            "name": name,
            "kind": "demo",
            "core_version": ">=0.1",
            "runtime": "in_process",
            "entry_point": "plugin:Plugin",
            **fields,
        }
        registry.register_manifest(manifest, plugin)
        return registry.get_plugin("demo", name)

    return register
