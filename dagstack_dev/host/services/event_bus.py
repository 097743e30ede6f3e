"""Events between plugins, and between them and the host (contract, section 11; ADR-1)."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

import anyio.lowlevel

from dagstack_dev.host.life.signatures import check_call
from dagstack_dev.host.loop.tasks import is_interruption, is_stray, spawn
from dagstack_dev.host.services.loggers import AppLogger, log_event

if TYPE_CHECKING:
    from dagstack_dev.host.life.instance import PluginInstance

BACKLOG: Final = 1000
"""How many events wait for a handler that is busy; what comes then is lost."""

Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[object] | None]
"""Takes an event's payload: a copy of its own, so that no handler changes another's."""


@runtime_checkable
class EventBus(Protocol):
    """Hands events on, at most once: nothing is kept for later subscribers.

    The events of one topic reach a handler in the order in which they were published; between
    topics there is none.
    """

    async def publish(self, topic: str, payload: dict[str, Any]) -> None:
        """Hand an event to all that subscribe to its topic now, and wait for none of them.

        Args:
            topic: any text.
            payload: the event.
        """

    async def subscribe(self, topic: str, handler: Handler) -> Any:
        """Have each event of a topic handled from now on.

        Args:
            topic: as in `publish`; no patterns.
            handler: called with the payload of one event after the other.

        Returns:
            What `unsubscribe` takes.
        """

    async def unsubscribe(self, subscription: Any) -> None:
        """End a subscription; nothing happens when it has ended.

        Args:
            subscription: what `subscribe` has returned.
        """


class Subscription:
    """Events on their way to one handler, called with one after the other.

    A task delivers them as long as any wait. The handler has the context variables of the moment
    in which the subscription was made.

    Args:
        topic: of the events.
        handler: called with each.
        start: starts a task for a coroutine function.
        backlog: how many wait at most while it is busy.
        logger: gets what the handler raises, and once that events are lost.
        is_over: returns whether no event is to reach the handler any more.
    """

    def __init__(
        self,
        topic: str,
        handler: Handler,
        start: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        *,
        backlog: int,
        logger: Any,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.topic = topic
        self._handler = handler
        self._start = start
        self._context = copy_context()
        self._waiting: deque[dict[str, Any]] = deque()
        self._backlog = backlog
        self._logger = logger
        self._is_over = is_over
        self._is_losing = False
        self._is_running = False

    def put(self, payload: Mapping[str, Any]) -> None:
        """Keep an event for the handler, unless too many wait."""
        if self._is_over():
            return
        if len(self._waiting) >= self._backlog:
            if not self._is_losing:
                self._is_losing = True
                self._log("warning", "event_bus.overflow", waiting=self._backlog)
            return
        self._waiting.append(dict(payload))
        if not self._is_running:
            self._is_running = True
            self._context.run(self._start, self._deliver)

    def end(self) -> None:
        """Call the handler with no further event."""
        self._is_over = lambda: True
        self._waiting.clear()

    async def _deliver(self) -> None:
        """Call the handler with everything that waits."""
        try:
            while self._waiting and not self._is_over():
                await self._call(self._waiting.popleft())
            self._is_losing = False
        finally:
            self._is_running = False

    async def _call(self, payload: dict[str, Any]) -> None:
        """Raises nothing but cancellations that are meant for us, and Ctrl-C."""
        try:
            result = self._handler(payload)
            if inspect.isawaitable(result):
                await result
        except BaseException as error:
            if is_interruption(error) and not is_stray(error):
                raise
            self._log("error", "event_bus.handler_failed", error)

    def _log(self, level: str, event: str, error: BaseException | None = None, **f: object) -> None:
        name = getattr(self._handler, "__qualname__", None) or type(self._handler).__qualname__
        log_event(self._logger, level, event, error, topic=self.topic, handler=name, **f)


class InMemoryEventBus:
    """An event bus within one process and event loop.

    Each subscription has a bounded backlog, and while anything is in it a task of its own: a slow
    handler holds up neither publishers nor other handlers, and a handler that never ends costs no
    more memory than its backlog.

    Args:
        backlog: how many events wait for a busy handler; what comes then is lost.
        logger: gets what the host's own handlers raise; plugins have loggers of their own.
    """

    def __init__(self, *, backlog: int = BACKLOG, logger: Any = None) -> None:
        self._backlog = backlog
        self._logger = AppLogger("dagstack_plugins") if logger is None else logger
        self._topics: dict[str, dict[Subscription, None]] = {}

    async def publish(self, topic: str, payload: Mapping[str, Any]) -> None:
        """See `EventBus.publish`. Once the event is handed on, no cancellation takes it back."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        for subscription in tuple(self._topics.get(topic, ())):
            subscription.put(payload)
        await anyio.lowlevel.cancel_shielded_checkpoint()  # Let handlers keep up with a busy loop.

    async def subscribe(self, topic: str, handler: Handler) -> Subscription:
        """See `EventBus.subscribe`. The handler runs in the context variables of this call.

        Raises:
            TypeError: `handler` cannot be called with one argument.
        """
        check_call("event_bus.subscribe", handler, ({},), {})
        start = partial(spawn, name=f"dagstack events of {topic!r}")
        subscription = Subscription(
            topic, handler, start, backlog=self._backlog, logger=self._logger
        )
        self._topics.setdefault(topic, {})[subscription] = None
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """See `EventBus.unsubscribe`. A call of the handler that is under way goes on."""
        subscription.end()
        listening = self._topics.get(subscription.topic, {})
        listening.pop(subscription, None)
        if not listening:
            self._topics.pop(subscription.topic, None)


class PluginEventBus:
    """What a plugin sees of the host's bus. Its subscriptions are its own, and end with it.

    A handler runs in a background task of the plugin. From the moment in which the plugin's
    teardown begins none is called any more; one that still runs after it is cancelled.

    Args:
        bus: the host's, of any class.
        owner: the instance of the plugin.
        logger: the plugin's.
    """

    def __init__(self, bus: EventBus, *, owner: PluginInstance, logger: Any) -> None:
        self._bus = bus
        self._owner = owner
        self._logger = logger

    async def publish(self, topic: str, payload: dict[str, Any]) -> None:
        """See `EventBus.publish`."""
        await self._bus.publish(topic, payload)

    async def subscribe(self, topic: str, handler: Handler) -> PluginSubscription:
        """See `EventBus.subscribe`; ends by itself with the plugin.

        Raises:
            TypeError: `handler` cannot be called with one argument.
            RuntimeError: the plugin has been torn down.
        """
        check_call("event_bus.subscribe", handler, ({},), {})
        scope = self._owner.scope
        subscription = PluginSubscription(
            topic,
            handler,
            partial(scope.start_soon, name=f"subscription to {topic!r}"),
            backlog=BACKLOG,
            logger=self._logger,
            is_over=lambda: self._owner.is_ending,
        )
        inner = await self._bus.subscribe(topic, subscription.take)
        subscription.inner = self._bus, inner
        try:
            subscription.forget = scope.callback(subscription.leave)
        except BaseException:
            await subscription.leave()
            raise
        return subscription

    async def unsubscribe(self, subscription: PluginSubscription) -> None:
        """See `EventBus.unsubscribe`. A call of the handler that is under way goes on."""
        await subscription.leave()


class PluginSubscription(Subscription):
    """A subscription of a plugin, and what it is to the host's bus.

    Attributes:
        inner: that bus, with its name for the subscription; None when it has ended.
        forget: has the plugin own it no longer.
    """

    inner: tuple[EventBus, Any] | None = None
    forget: Callable[[], object] = staticmethod(lambda: None)

    async def take(self, payload: dict[str, Any]) -> None:
        """Take an event from the host's bus; never waits."""
        self.put(payload)

    async def leave(self) -> None:
        """End it."""
        self.end()
        self.forget()
        inner, self.inner = self.inner, None
        if inner is not None:
            bus, subscription = inner
            await bus.unsubscribe(subscription)
