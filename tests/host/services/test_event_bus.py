"""The bus as a host sees it: handing on, backlogs, failures."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from dagstack_dev import EventBus, InMemoryEventBus

Payload = dict[str, Any]
Events = list[structlog.typing.EventDict]

current: ContextVar[str] = ContextVar("current", default="none")


class Listener:
    """A handler that keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[Payload] = []
        self._arrived = anyio.Event()

    async def __call__(self, payload: Payload) -> None:
        self.seen.append(payload)
        self._arrived.set()

    async def has(self, count: int) -> list[Payload]:
        """What it has seen, once that is so much."""
        while len(self.seen) < count:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self.seen


@pytest.fixture
def bus() -> InMemoryEventBus:
    return InMemoryEventBus()


async def test_events_reach_those_who_listen_in_order(bus: InMemoryEventBus) -> None:
    assert isinstance(bus, EventBus)
    one, two, other = Listener(), Listener(), Listener()
    await bus.subscribe("saved", one)
    await bus.subscribe("saved", two)
    await bus.subscribe("other", other)
    for number in range(3):
        await bus.publish("saved", {"number": number})
    assert await one.has(3) == await two.has(3) == [{"number": 0}, {"number": 1}, {"number": 2}]
    await bus.publish("other", {})
    assert await other.has(1) == [{}]


async def test_an_event_without_subscribers_is_lost(bus: InMemoryEventBus) -> None:
    listener = Listener()
    await bus.publish("saved", {"number": 0})
    await bus.subscribe("saved", listener)
    await bus.publish("saved", {"number": 1})
    assert await listener.has(1) == [{"number": 1}]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no tasks that begin at once before")
async def test_a_handler_that_runs_at_once_may_subscribe(bus: InMemoryEventBus) -> None:
    listener = Listener()

    async def subscribe(payload: Payload) -> None:
        await bus.subscribe("saved", listener)

    eager = asyncio.eager_task_factory  # type: ignore[attr-defined]  # new in 3.12
    asyncio.get_running_loop().set_task_factory(eager)
    subscription = await bus.subscribe("saved", subscribe)
    await bus.publish("saved", {"number": 0})
    await bus.unsubscribe(subscription)
    await bus.publish("saved", {"number": 1})
    assert await listener.has(1) == [{"number": 1}]


async def test_a_subscription_ends(bus: InMemoryEventBus) -> None:
    listener, after = Listener(), Listener()
    subscription = await bus.subscribe("saved", listener)
    await bus.publish("saved", {"number": 0})
    await listener.has(1)
    await bus.unsubscribe(subscription)
    await bus.unsubscribe(subscription)
    await bus.subscribe("saved", after)
    await bus.publish("saved", {"number": 1})
    await after.has(1)
    assert listener.seen == [{"number": 0}]


async def test_what_waits_when_a_subscription_ends_is_lost(bus: InMemoryEventBus) -> None:
    gate, done, seen = anyio.Event(), anyio.Event(), []

    async def handle(payload: Payload) -> None:
        seen.append(payload)
        await gate.wait()
        done.set()

    subscription = await bus.subscribe("saved", handle)
    for number in range(3):
        await bus.publish("saved", {"number": number})
    await anyio.wait_all_tasks_blocked()
    await bus.unsubscribe(subscription)
    gate.set()
    await done.wait()
    await anyio.wait_all_tasks_blocked()
    assert seen == [{"number": 0}]


async def test_a_plain_function_may_listen(bus: InMemoryEventBus) -> None:
    seen: list[Payload] = []
    listener = Listener()
    await bus.subscribe("saved", seen.append)
    await bus.subscribe("saved", listener)
    await bus.publish("saved", {"number": 1})
    await listener.has(1)
    assert seen == [{"number": 1}]


async def test_no_handler_sees_what_another_does_to_the_payload(bus: InMemoryEventBus) -> None:
    listener = Listener()
    await bus.subscribe("saved", lambda payload: payload.clear())
    await bus.subscribe("saved", listener)
    sent = {"number": 1}
    await bus.publish("saved", sent)
    assert await listener.has(1) == [{"number": 1}] == [sent]


def fail(payload: Payload) -> None:
    raise ValueError("no")


async def fail_later(payload: Payload) -> None:
    await anyio.lowlevel.checkpoint()
    raise ValueError("no")


async def exit_all(payload: Payload) -> None:
    raise SystemExit(3)


async def await_a_cancelled_task(payload: Payload) -> None:
    task = asyncio.create_task(anyio.sleep_forever())
    task.cancel()
    await task


@pytest.mark.parametrize("handler", [fail, fail_later, exit_all, await_a_cancelled_task])
async def test_a_handler_that_raises_affects_no_other(
    bus: InMemoryEventBus, captured_events: Events, handler: Callable[[Payload], Any]
) -> None:
    calls: list[Payload] = []

    async def handle(payload: Payload) -> None:
        calls.append(payload)
        await_it = handler(payload)
        if await_it is not None:
            await await_it

    listener = Listener()
    await bus.subscribe("saved", handle)
    await bus.subscribe("saved", listener)
    await bus.publish("saved", {})
    await bus.publish("saved", {})
    await listener.has(2)
    while len(captured_events) < 2:
        await anyio.lowlevel.checkpoint()
    assert len(calls) == 2, "it is called with the next event all the same"
    told = captured_events[0]
    assert (told["event"], told["log_level"]) == ("event_bus.handler_failed", "error")
    assert (told["topic"], told["handler"].endswith("handle")) == ("saved", True)
    assert isinstance(told["exc_info"], BaseException)


async def test_a_slow_handler_holds_up_no_other_and_loses_what_is_too_much(
    captured_events: Events,
) -> None:
    bus = InMemoryEventBus(backlog=2)
    gate, slow, quick = anyio.Event(), Listener(), Listener()

    async def handle(payload: Payload) -> None:
        await slow(payload)
        await gate.wait()

    await bus.subscribe("saved", handle)
    await bus.subscribe("saved", quick)
    await bus.publish("saved", {"number": 0})
    await slow.has(1)
    for number in range(1, 6):
        await bus.publish("saved", {"number": number})
        await quick.has(number + 1)
    gate.set()
    await slow.has(3)
    await anyio.wait_all_tasks_blocked()
    assert [each["number"] for each in slow.seen] == [0, 1, 2]
    [told] = captured_events
    assert (told["event"], told["topic"], told["waiting"]) == ("event_bus.overflow", "saved", 2)
    await bus.publish("saved", {"number": 6})
    assert (await slow.has(4))[-1] == {"number": 6}


async def test_a_handler_runs_in_the_context_of_its_subscription(bus: InMemoryEventBus) -> None:
    seen: list[str] = []
    listener = Listener()

    async def handle(payload: Payload) -> None:
        seen.append(current.get())
        await listener(payload)

    current.set("subscriber")
    await bus.subscribe("saved", handle)
    current.set("publisher")
    await bus.publish("saved", {})
    await listener.has(1)
    assert seen == ["subscriber"]


async def test_a_publisher_that_is_cancelled_has_handed_on_all_or_nothing(
    bus: InMemoryEventBus,
) -> None:
    listener = Listener()
    await bus.subscribe("saved", listener)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await bus.publish("saved", {"number": 0})
    assert scope.cancelled_caught
    await bus.publish("saved", {"number": 1})
    assert await listener.has(1) == [{"number": 1}]


@pytest.mark.parametrize("handler", [None, "name", lambda: None, fail_later({})])
async def test_what_cannot_listen_is_refused(bus: InMemoryEventBus, handler: Any) -> None:
    with pytest.raises(TypeError):
        await bus.subscribe("saved", handler)


async def test_a_standard_logger_gets_text(caplog: pytest.LogCaptureFixture) -> None:
    bus, listener = InMemoryEventBus(logger=logging.getLogger("app")), Listener()
    await bus.subscribe("saved", fail)
    await bus.subscribe("saved", listener)
    await bus.publish("saved", {})
    await listener.has(1)
    assert caplog.messages == ["event_bus.handler_failed topic='saved' handler='fail'"]
    assert caplog.records[0].exc_info


async def test_each_time_that_events_are_lost_is_logged(captured_events: Events) -> None:
    bus, listener = InMemoryEventBus(backlog=1), Listener()
    gates = [anyio.Event(), anyio.Event()]

    async def handle(payload: Payload) -> None:
        await listener(payload)
        await gates[payload["gate"]].wait()

    await bus.subscribe("saved", handle)
    for gate in (0, 1):
        for _ in range(4):
            await bus.publish("saved", {"gate": gate})
        await anyio.wait_all_tasks_blocked()
        gates[gate].set()
        await anyio.wait_all_tasks_blocked()
    assert [each["event"] for each in captured_events] == ["event_bus.overflow"] * 2
