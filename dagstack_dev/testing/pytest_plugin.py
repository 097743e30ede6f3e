"""Fixtures for tests of plugins; pytest finds them wherever this package is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.app.registry import PluginRegistry
    from dagstack_dev.host.services.clock import FrozenClock
    from dagstack_dev.host.services.context import PluginContext
    from dagstack_dev.host.services.rng import DeterministicRng

# Nothing of this package is imported before a test asks for it: pytest loads this file always.


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """A clock that stands still until `advance(seconds=...)`; the resource `clock` of the rest."""
    from dagstack_dev.testing.harness import repeatable_resources  # noqa: PLC0415 - see above

    clock: FrozenClock = repeatable_resources().get("clock")
    return clock


@pytest.fixture
def seeded_rng() -> DeterministicRng:
    """Random numbers that are the same in every test; the resource `rng` of the rest."""
    from dagstack_dev.testing.harness import repeatable_resources  # noqa: PLC0415 - see above

    rng: DeterministicRng = repeatable_resources().get("rng")
    return rng


@pytest.fixture
def plugin_registry(
    frozen_clock: FrozenClock, seeded_rng: DeterministicRng
) -> Iterator[PluginRegistry]:
    """An empty registry with the standard resources, of which `clock` and `rng` repeat.

    A test that sets its plugins up tears them down; one that does not, fails.
    """
    from dagstack_dev.app.registry import PluginRegistry  # noqa: PLC0415 - see above
    from dagstack_dev.testing.harness import repeatable_resources  # noqa: PLC0415 - likewise

    resources = repeatable_resources()
    resources.register("clock", frozen_clock, replace=True)
    resources.register("rng", seeded_rng, replace=True)
    registry = PluginRegistry(resource_registry=resources)
    yield registry
    if registry.is_set_up:
        pytest.fail("plugins are still set up; await plugin_registry.teardown_all() in the test")


@pytest.fixture
def plugin_context(plugin_registry: PluginRegistry) -> PluginContext:
    """A context of `plugin_registry`, to call a plugin's `setup` with, or `setup_all`.

    `config` is an empty dict that a test may fill. What belongs to a running plugin, such as
    `ctx.start_soon`, needs `running_plugin`.
    """
    from dagstack_dev.host.services.resources import SHARED, ResourceContainer  # noqa: PLC0415 - see above
    from dagstack_dev.testing.harness import minimal_context  # noqa: PLC0415 - likewise

    resources = plugin_registry.resources
    shared: dict[str, Any] = {name: resources.get(name) for name in SHARED}
    context = minimal_context(plugin_registry, {})
    context.resources = ResourceContainer(shared)
    return context
