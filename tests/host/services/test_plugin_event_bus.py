"""The bus as a plugin sees it: its subscriptions are its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from dagstack_dev import InMemoryEventBus, PluginContext, PluginRegistry
from dagstack_dev.host.calls.current import current_plugin

Put = Callable[..., Any]
Payload = dict[str, Any]


class Hearing:
    """Subscribes in its setup and keeps what it hears."""

    ctx: PluginContext
    subscription: Any

    def __init__(self) -> None:
        self.heard: list[Payload] = []
        self.arrived = anyio.Event()

    async def setup(self, ctx: PluginContext) -> None:
        self.ctx = ctx
        self.subscription = await ctx.event_bus.subscribe("saved", self.on_saved)

    async def on_saved(self, payload: Payload) -> None:
        self.heard.append(payload)
        self.arrived.set()

    async def teardown(self) -> None:
        return

    async def hears(self) -> list[Payload]:
        await self.arrived.wait()
        self.arrived = anyio.Event()
        return self.heard


@pytest.fixture
def bus() -> InMemoryEventBus:
    return InMemoryEventBus()


@pytest.fixture
def ctx(ctx: PluginContext, bus: InMemoryEventBus) -> PluginContext:
    return replace(ctx, event_bus=bus)


async def test_plugins_hear_each_other_and_the_host(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    one, two = Hearing(), Hearing()
    put(one, "one")
    put(two, "two")
    await registry.setup_all(ctx)
    await bus.publish("saved", {"by": "host"})
    await two.hears()
    await one.ctx.event_bus.publish("saved", {"by": "one"})
    assert await two.hears() == one.heard == [{"by": "host"}, {"by": "one"}]
    await registry.teardown_all()
    await bus.publish("saved", {"by": "host"})
    await anyio.wait_all_tasks_blocked()
    assert len(one.heard) == 2
    assert not bus._topics, "nothing of a plugin is left in the bus"


async def test_one_handler_may_end_its_own_subscription(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    class Once(Hearing):
        async def on_saved(self, payload: Payload) -> None:
            await self.ctx.event_bus.unsubscribe(self.subscription)
            await self.ctx.event_bus.unsubscribe(self.subscription)
            await super().on_saved(payload)

    plugin = Once()
    put(plugin)
    await registry.setup_all(ctx)
    for number in range(2):
        await bus.publish("saved", {"number": number})
    await anyio.wait_all_tasks_blocked()
    assert plugin.heard == [{"number": 0}]
    assert not bus._topics
    await registry.teardown_all()


async def test_from_the_beginning_of_the_teardown_no_handler_is_called(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    class Leaving(Hearing):
        async def teardown(self) -> None:
            await self.ctx.event_bus.publish("saved", {"by": "itself"})
            await anyio.wait_all_tasks_blocked()

    leaving, staying = Leaving(), Hearing()
    put(staying, "staying")
    put(leaving, "leaving", depends_on=["staying"])
    await registry.setup_all(ctx)
    await registry.teardown_all()
    assert (leaving.heard, staying.heard) == ([], [{"by": "itself"}])


async def test_a_handler_that_still_runs_after_the_teardown_is_cancelled(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    log: list[str] = []
    began = anyio.Event()

    class Slow(Hearing):
        async def on_saved(self, payload: Payload) -> None:
            try:
                began.set()
                await anyio.sleep_forever()
            finally:
                log.append("cancelled")

        async def teardown(self) -> None:
            log.append("teardown")

    put(Slow())
    await registry.setup_all(ctx)
    await bus.publish("saved", {})
    await began.wait()
    await registry.teardown_all()
    assert log == ["teardown", "cancelled"]


async def test_a_setup_that_fails_leaves_no_subscription(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    class Failing(Hearing):
        async def setup(self, ctx: PluginContext) -> None:
            await super().setup(ctx)
            raise ValueError("no")

    put(Failing())
    with pytest.raises(ValueError, match="no"):
        await registry.setup_all(ctx)
    assert not bus._topics


async def test_what_a_handler_raises_is_logged_with_the_plugin(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    bus: InMemoryEventBus,
    captured_events: list[structlog.typing.EventDict],
) -> None:
    class Failing(Hearing):
        async def on_saved(self, payload: Payload) -> None:
            await super().on_saved(payload)
            raise ValueError(str(current_plugin.get()))

    plugin = Failing()
    put(plugin)
    await registry.setup_all(ctx)
    for _ in range(2):
        await bus.publish("saved", {})
        await plugin.hears()
    await anyio.wait_all_tasks_blocked()
    told = [each for each in captured_events if each["event"] == "event_bus.handler_failed"]
    assert [(each["plugin"], each["topic"]) for each in told] == [("demo/it", "saved")] * 2
    assert str(told[0]["exc_info"]) == "demo/it", "a handler runs on behalf of its plugin"
    assert registry.statuses()[("demo", "it")].state == "ready"  # type: ignore[index]
    await registry.teardown_all()


async def test_a_plugin_that_has_been_torn_down_cannot_subscribe(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    plugin = Hearing()
    put(plugin)
    await registry.setup_all(ctx)
    await registry.teardown_all()
    with pytest.raises(RuntimeError, match="torn down"):
        await plugin.ctx.event_bus.subscribe("saved", plugin.on_saved)
    assert not bus._topics


async def test_what_cannot_listen_is_refused_where_it_is_asked_for(
    registry: PluginRegistry, ctx: PluginContext, put: Put, bus: InMemoryEventBus
) -> None:
    plugin = Hearing()
    put(plugin)
    await registry.setup_all(ctx)
    with pytest.raises(TypeError, match="cannot be called"):
        await plugin.ctx.event_bus.subscribe("saved", lambda: None)
    await registry.teardown_all()


class ForeignBus:
    """A bus of a host's own, which calls handlers by itself and waits for them."""

    def __init__(self) -> None:
        self.handlers: dict[int, tuple[str, Callable[[Payload], Any]]] = {}

    async def publish(self, topic: str, payload: Payload) -> None:
        for wanted, handler in [*self.handlers.values()]:
            if wanted == topic:
                await handler(payload)

    async def subscribe(self, topic: str, handler: Callable[[Payload], Any]) -> int:
        number = len(self.handlers)
        self.handlers[number] = topic, handler
        return number

    async def unsubscribe(self, subscription: int) -> None:
        await anyio.lowlevel.checkpoint()
        del self.handlers[subscription]


async def test_a_bus_of_the_hosts_own_is_not_held_up_and_left_clean(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    class Stuck(Hearing):
        async def on_saved(self, payload: Payload) -> None:
            await super().on_saved(payload)
            await anyio.sleep_forever()

    bus, stuck, other = ForeignBus(), Stuck(), Hearing()
    put(stuck, "stuck")
    put(other, "other")
    await registry.setup_all(replace(ctx, event_bus=bus))
    await bus.publish("saved", {})
    await bus.publish("saved", {})
    await stuck.hears()
    await anyio.wait_all_tasks_blocked()
    assert (len(stuck.heard), len(other.heard)) == (1, 2)
    await registry.teardown_all()
    assert not bus.handlers


def test_it_runs_on_trio_too() -> None:
    async def main() -> list[Payload]:
        bus, plugin, registry = InMemoryEventBus(), Hearing(), PluginRegistry()
        manifest = {
            "name": "it",
            "kind": "demo",
            "core_version": ">=0.1",
            "runtime": "in_process",
            "entry_point": "plugin:Plugin",
        }
        registry.register_manifest(manifest, plugin)
        ctx = PluginContext(
            config={}, logger=structlog.get_logger(), registry=registry, event_bus=bus
        )
        await registry.setup_all(ctx)
        await bus.publish("saved", {"number": 1})
        await plugin.hears()
        await registry.teardown_all()
        await bus.publish("saved", {"number": 2})
        await anyio.wait_all_tasks_blocked()
        assert not bus._topics
        return plugin.heard

    assert anyio.run(main, backend="trio") == [{"number": 1}]
