"""Events of a feed as an answer: the newest of them, or a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from starlette.responses import StreamingResponse

from dagstack_dev.api.board import Breath, Numbered
from dagstack_dev.api.client import KEEP_ALIVE_SECONDS
from dagstack_dev.api.models.base import Event, Events
from dagstack_dev.api.problems import BAD_REQUEST, ProblemFound
from dagstack_dev.api.reports import event_report
from dagstack_dev.core.events import EventsMissed
from dagstack_dev.logs import as_event

if TYPE_CHECKING:
    from starlette.requests import Request

    from dagstack_dev.api.board import Feed

T = TypeVar("T")

AsEvent = Callable[[T], tuple[str, str, dict[str, Any]]]
"""Returns the level, name and fields of what is in a feed."""

TOGETHER_SECONDS: Final = 0.05
"""How long a stream lets events come together: what has caused them may still be under way."""

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def number(given: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number that is given by name.

    Raises:
        ProblemFound: it is none.
    """
    try:
        return int(given.get(name, default))
    except ValueError:
        raise ProblemFound(BAD_REQUEST, f"{name} is not a whole number") from None


def _filter(plugin: str, level: str = "") -> Callable[[str, str, Mapping[str, Any]], bool]:
    """Return whether an event of a level, name and fields is asked for.

    Args:
        plugin: only of this one, if not empty.
        level: only of this one and above, if not empty.

    Raises:
        ProblemFound: there is no such level.
    """
    if level and level not in _LEVELS:
        raise ProblemFound(BAD_REQUEST, f"level is none of {', '.join(_LEVELS)}")
    lowest = _LEVELS.index(level) if level else 0

    def is_wanted(level: str, _: str, fields: Mapping[str, Any]) -> bool:
        place = _LEVELS.index(level) if level in _LEVELS else 0
        return place >= lowest and (not plugin or fields.get("plugin") == plugin)

    return is_wanted


async def newest(
    request: Request,
    feed: Feed[T],
    event_of: AsEvent[T],
    counts: Callable[[Numbered[T]], bool] = lambda _: True,
) -> Events:
    """Return the newest events of a feed; what is not asked for costs next to nothing.

    Args:
        request: its query says which.
        feed: what they are in.
        event_of: returns the level, name and fields of one.
        counts: returns whether one may be among them.
    """
    query = request.query_params
    is_wanted = _filter(query.get("plugin", ""), query.get("level", ""))
    most = number(query, "limit", 200)
    found, breath = list[Event](), Breath()
    last = feed.last
    kept = feed.after(number(query, "after", 0))
    for each in reversed(kept):
        await breath.draw()
        if len(found) >= most:
            break
        if not counts(each):
            continue
        event = event_of(each.value)
        if is_wanted(*event):
            found.append(event_report(each, *event))
    return Events(events=found[::-1], last=kept[-1].id if kept else last)


class Part(Generic[T]):
    """What a stream sends of one feed.

    Args:
        feed: what it is in.
        event_of: returns the level, name and fields of one.
        after: the number of the newest that the reader has.
        plugin: only of this one, if not empty.
        level: only of this one and above, if not empty.
        kind: what the reader is told that these events are; they then have no id to resume by.

    Attributes:
        last: the number of the newest that was sent or left out.

    Raises:
        ProblemFound: there is no such level.
    """

    def __init__(
        self,
        feed: Feed[T],
        event_of: AsEvent[T],
        after: int,
        *,
        plugin: str = "",
        level: str = "",
        kind: str = "",
    ) -> None:
        self.feed = feed
        self.last = after if 0 <= after <= feed.last else 0  # Else it is of an earlier server.
        self._event_of = event_of
        self._is_wanted = _filter(plugin, level)
        self._kind = kind

    @property
    def has_ended(self) -> bool:
        """Whether there will be nothing more."""
        return self.feed.has_ended and self.last >= self.feed.last

    async def news(self) -> AsyncIterator[str]:
        """Yield what has come since."""
        breath = Breath()
        for each in self.feed.after(self.last):
            await breath.draw()
            if missed := each.id - self.last - 1:
                yield self._sent(_gap(each, missed))
            self.last = each.id
            event = self._event_of(each.value)
            if self._is_wanted(*event):
                yield self._sent(event_report(each, *event))

    def _sent(self, event: Event) -> str:
        which = f"event: {self._kind}" if self._kind else f"id: {event.id}"
        return f"{which}\ndata: {event.json_text()}\n\n"


def asked_part(request: Request, feed: Feed[T], event_of: AsEvent[T]) -> Part[T]:
    """Return what a request asks for of a feed, by `plugin`, `level`, and after which event.

    Raises:
        ProblemFound: one of them cannot be understood.
    """
    query = request.query_params
    after = number(request.headers, "last-event-id", number(query, "after", feed.last))
    plugin, level = query.get("plugin", ""), query.get("level", "")
    return Part(feed, event_of, after, plugin=plugin, level=level)


def stream(part: Part[Any], *others: Part[Any]) -> StreamingResponse:
    """Return the events of feeds as server-sent events, without end.

    Args:
        part: what can be resumed by the ids of its events.
        others: what comes by the same connection; each has a `kind`.
    """
    parts = part, *others
    loop, more = asyncio.get_running_loop(), asyncio.Event()
    wake = partial(loop.call_soon_threadsafe, more.set)

    async def send() -> AsyncIterator[str]:
        yield f": connected\nid: {part.last}\n\n"  # Before the first event, too, it can be resumed.
        try:
            while going := [each for each in parts if not each.has_ended]:
                for each in going:
                    each.feed.wake_after(each.last, wake)
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        await more.wait()
                    is_ending = any(each.feed.has_ended for each in going)
                    await asyncio.sleep(0 if is_ending else TOGETHER_SECONDS)
                except TimeoutError:
                    yield ": nothing has happened\n\n"
                more.clear()
                if found := "".join([event for each in going async for event in each.news()]):
                    yield found
        finally:
            for each in parts:
                each.feed.let_sleep(wake)

    return StreamingResponse(send(), media_type="text/event-stream")


def _gap(first: Numbered[Any], missed: int) -> Event:
    """Return that so many events before `first` were missed."""
    gap = first._replace(id=first.id - 1, value=EventsMissed(count=missed))
    return event_report(gap, *as_event(gap.value))
