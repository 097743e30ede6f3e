"""What a plugin is given: resources, logger, configuration."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog

from dagstack_dev import (
    InMemoryCheckpointStore,
    InMemoryEventBus,
    MockProgressSink,
    NoOpTenantContext,
    PluginContext,
    PluginRef,
    PluginRegistry,
    PluginUnavailable,
    Progress,
    ResourceContainer,
    ResourceRegistry,
    ResourceRequest,
)
from dagstack_dev.host.services.context import plugin_config

Put = Callable[..., Any]


class Keeping:
    """Keeps its context."""

    ctx: PluginContext

    def setup(self, ctx: PluginContext) -> None:
        self.ctx = ctx


async def given(
    registry: PluginRegistry, ctx: PluginContext, put: Put, **fields: object
) -> PluginContext:
    plugin = Keeping()
    put(plugin, **fields)
    await registry.setup_all(ctx)
    return plugin.ctx


async def test_a_plugin_gets_just_the_resources_it_declares(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    clock, rng = object(), object()
    registry.resources.register("clock", clock)
    registry.resources.register("rng", rng)
    declared = {"required": ["clock"], "optional": ["cache"]}
    resources = (await given(registry, ctx, put, resources=declared)).resources
    assert resources.clock is clock
    assert await resources.get("clock") is clock
    assert resources.cache is None
    assert ("clock" in resources, "cache" in resources, "rng" in resources) == (True, False, False)
    assert (list(resources), len(resources)) == (["clock"], 1)
    with pytest.raises(AttributeError, match="did you mean 'clock'"):
        resources.clok  # noqa: B018
    with pytest.raises(AttributeError, match="'rng' is declared"):
        resources.rng  # noqa: B018
    with pytest.raises(KeyError):
        await resources.get("rng")


async def test_an_optional_resource_that_is_there_is_given(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    registry.resources.register("cache", "the cache")
    resources = (await given(registry, ctx, put, resources={"optional": ["cache"]})).resources
    assert resources.cache == "the cache"
    assert "cache" in resources


async def test_a_plugin_that_declares_nothing_gets_an_empty_container(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    resources = (await given(registry, ctx, put)).resources
    assert (len(resources), list(resources)) == (0, [])


async def test_resources_are_read_only_and_stay_as_they_were(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    registry.resources.register("clock", "first")
    context = await given(
        registry,
        replace(ctx, metadata={"tenant_id": "t"}),
        put,
        resources={"required": ["clock"]},
    )
    resources = context.resources
    with pytest.raises(AttributeError, match="read-only"):
        resources.clock = 1
    with pytest.raises(AttributeError, match="read-only"):
        resources.new = 1
    with pytest.raises(AttributeError, match="read-only"):
        del resources.clock
    with pytest.raises(TypeError):
        resources.metadata["tenant_id"] = "other"
    registry.resources.register("clock", "second", replace=True)
    assert resources.clock == "first"
    assert resources.metadata == {"tenant_id": "t"}


async def test_a_required_resource_that_is_missing_makes_the_plugin_unavailable(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    registry.resources.register("clock", object())
    put(Keeping(), resources={"required": ["clok"]})
    with pytest.raises(PluginUnavailable, match="did you mean 'clock'") as caught:
        await registry.setup_all(ctx)
    assert caught.value.ref == PluginRef("demo", "it")
    registry.resources.register("clok", object())
    await registry.setup_all(ctx)


def test_the_resource_registry_refuses_a_name_twice() -> None:
    resources = ResourceRegistry()
    resources.register("clock", 1)
    with pytest.raises(ValueError, match="replace=True"):
        resources.register("clock", 2)
    assert (resources.get("clock"), resources.names(), "clock" in resources) == (1, ["clock"], True)
    with pytest.raises(KeyError, match="did you mean 'clock'"):
        resources.get("clocks")


def test_a_registry_takes_the_resources_of_the_host() -> None:
    resources = ResourceRegistry()
    assert PluginRegistry(resource_registry=resources).resources is resources


async def test_a_plugin_has_its_own_part_of_each_service(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    bus, sink, store = InMemoryEventBus(), MockProgressSink(), InMemoryCheckpointStore()
    tenant = NoOpTenantContext()
    base = replace(ctx, event_bus=bus, tenant=tenant, progress=sink, checkpoint=store)
    context = await given(registry, base, put)
    context.progress.report(Progress(1))
    context.checkpoint.save("cursor", b"1")
    assert (sink.reports, store.list()) == ([Progress(1)], ["demo/it/cursor"])
    assert context.tenant is tenant
    assert (context.registry, context.extras) == (registry, ctx.extras)
    assert (base.event_bus, base.resources) == (bus, None)
    await registry.teardown_all()


async def test_a_sink_of_the_hosts_that_fails_costs_neither_plugin_nor_resource(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    class Broken(MockProgressSink):
        @property
        def with_logger(self) -> object:
            raise LookupError("no such sink")

    closed: list[str] = []

    def make(request: ResourceRequest) -> str:
        request.callback(closed.append, "closed")
        return "made"

    registry.resources.register_factory("pool", make)
    put(object(), resources={"required": ["pool"]})
    await registry.setup_all(replace(ctx, progress=Broken()))
    assert closed == []
    await registry.teardown_all()
    assert closed == ["closed"]


def test_resources_can_be_copied() -> None:
    copied = copy.copy(ResourceContainer({"clock": 1}, {"who": "me"}, absent=frozenset({"rng"})))
    assert (copied.clock, copied.rng, copied.metadata) == (1, None, {"who": "me"})
    with pytest.raises(AttributeError, match="read-only"):
        copied.clock = 2


async def test_what_the_host_does_not_offer_is_none(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    context = await given(registry, ctx, put)
    assert (context.event_bus, context.tenant) == (None, None)
    assert (context.progress, context.checkpoint) == (None, None)


async def test_a_structlog_logger_is_bound_to_the_plugin(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    captured_events: list[structlog.typing.EventDict],
) -> None:
    context = await given(registry, replace(ctx, logger=structlog.get_logger(app="mine")), put)
    context.logger.warning("hello", more=1)
    [event] = [each for each in captured_events if each["event"] == "hello"]
    assert (event["plugin"], event["app"], event["more"]) == ("demo/it", "mine", 1)


async def test_a_standard_logger_is_bound_to_the_plugin(
    registry: PluginRegistry, ctx: PluginContext, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("app")
    context = await given(registry, replace(ctx, logger=logger), put)
    context.logger.warning("hello %s", "you", extra={"more": 1})
    [record] = [each for each in caplog.records if each.name == "app"]
    assert record.getMessage() == "hello you"
    assert (vars(record)["plugin"], vars(record)["more"]) == ("demo/it", 1)


async def test_any_other_logger_is_passed_on(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    logger = object()
    assert (await given(registry, replace(ctx, logger=logger), put)).logger is logger


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        ({}, {}),
        ({"demo": {"it": {"a": 1}}}, {"a": 1}),
        ({"demo": {"it": {"a": 1}, "other": {"b": 2}}, "debug": True}, {"a": 1}),
        ({"demo": {"other": {"b": 2}}}, {}),
        ({"debug": True}, {"debug": True}),
        ({"debug": True, "demo": {"other": {}}}, {"debug": True, "demo": {"other": {}}}),
    ],
)
async def test_a_plugin_sees_its_own_section_of_the_configuration(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    config: Mapping[str, Any],
    seen: Mapping[str, Any],
) -> None:
    assert (await given(registry, replace(ctx, config=config), put)).config == seen
    assert plugin_config(config, PluginRef("demo", "it")) == seen
