"""Runs one plugin by itself, as a registry would, for as long as a test needs it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec

import anyio.from_thread

from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.core.manifest.fields import ExecutionModel, PluginManifest
from dagstack_dev.core.manifest.parsing import manifest_from
from dagstack_dev.host.services.clock import FrozenClock
from dagstack_dev.host.services.context import PluginContext
from dagstack_dev.host.services.loggers import AppLogger
from dagstack_dev.host.services.resources import ResourceRegistry
from dagstack_dev.host.services.rng import DeterministicRng

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from dagstack_dev.core.events import Fact
    from dagstack_dev.host.services.resources import ResourceContainer

P = ParamSpec("P")

_LOGGER: Final = "dagstack_dev.testing"
_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def assert_manifest_valid(manifest: PluginManifest | Mapping[str, Any]) -> PluginManifest:
    """Validate the manifest (contract, section 12).

    Raises:
        ManifestInvalid: with every problem at once.
    """
    return manifest_from(manifest)


@asynccontextmanager
async def running_plugin(
    make: Callable[[], object],
    manifest: PluginManifest | Mapping[str, Any],
    *,
    ctx: PluginContext | None = None,
) -> AsyncIterator[Any]:
    """Set up a new instance of a plugin; tear it down at the end, with what it owns.

    What is yielded is the registry's proxy, so that calls run where the manifest says; the object
    that `make` makes stays in this process, though. What the plugin depends on is looked up in
    `ctx.registry`, if it has one, and not waited for.

    Args:
        make: the plugin's class, or anything else that makes an instance.
        manifest: its manifest.
        ctx: what the plugin is given; without one an empty configuration, and resources whose
            clock stands still and whose random numbers repeat.

    Raises:
        ManifestInvalid: the manifest cannot be used.
        TeardownErrors: the teardown went wrong.
        Exception: whatever the constructor or the setup raised.
    """
    valid = assert_manifest_valid(manifest)
    here: dict[str, object] = {"depends_on": (), "core_version": "", "runtime": ("in_process",)}
    if valid.execution_model is ExecutionModel.PROCESS_CPU_BOUND:
        here["execution_model"] = ExecutionModel.SYNC
    alone = valid.model_copy(update=here)
    registry = PluginRegistry(resource_registry=_resources(ctx), observer=ignore_fact)
    registry.register_manifest(alone, make())
    context = minimal_context(registry) if ctx is None else replace(ctx, resources=None)
    await registry.setup_all(context)
    try:
        yield registry.get_plugin(valid.kind, valid.name)
    finally:
        await registry.teardown_all()


def ignore_fact(_: Fact) -> None:
    """Ignore a fact: a plugin under test is no news for the app's log."""


def minimal_context(registry: object, config: Mapping[str, Any] | None = None) -> PluginContext:
    """Make a context with a logger, `registry` and perhaps a configuration."""
    logger = AppLogger(_LOGGER)
    return PluginContext(config={} if config is None else config, logger=logger, registry=registry)


def _resources(ctx: PluginContext | None) -> ResourceRegistry:
    resources = ResourceRegistry()
    given: ResourceContainer | None = ctx.resources if ctx is not None else None
    if given is None:
        return repeatable_resources()
    for name in given:
        resources.register(name, getattr(given, name))
    return resources


def repeatable_resources() -> ResourceRegistry:
    """Make the standard resources, with a clock that stands still and a seeded `rng`."""
    resources = ResourceRegistry()
    resources.register_standard()
    resources.register("clock", FrozenClock(at=_MOMENT), replace=True)
    resources.register("rng", DeterministicRng(seed=0), replace=True)
    return resources


def in_a_loop(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a plain function of an asynchronous one: it runs in a loop of its own, in a thread.

    So its caller may be in an event loop or not.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with anyio.from_thread.start_blocking_portal() as portal:
            portal.call(partial(function, *args, **kwargs))

    return run
