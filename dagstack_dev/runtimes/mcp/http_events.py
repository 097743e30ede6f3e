"""Server-sent events, with what servers send in them made readable; see `wire`.

Imported only when a plugin connects: what it imports is slow to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2
from pydantic_core import to_json

from dagstack_dev.runtimes.mcp.wire import (
    LONGEST_MESSAGE,
    TOO_LONG,
    Unreadable,
    is_answer,
    messages_in,
    number_of,
    unreadable_answer,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

_RETRY_MS: Final = (1000, 30_000)
"""The shortest and the longest pause that a server may ask for before a stream is opened again."""


class Events(httpx2.AsyncByteStream):
    """The body of a response, with its events as the SDK can read them.

    Args:
        response: has not been read.
        number: of the request that it answers; None where it answers none by itself.
        on_end: called with this when it has ended.

    Attributes:
        last_id: of the last event that had one, from which the stream can be resumed.
        is_answered: whether the answer was among them.
    """

    def __init__(
        self,
        response: httpx2.Response,
        number: int | str | None,
        on_end: Callable[[Events], None],
    ) -> None:
        self.last_id = ""
        self.is_answered = False
        self._response = response
        self._number = number
        self._on_end = on_end

    async def _body(self) -> AsyncIterator[bytes]:
        """The body without a byte order mark, and with an end to its last event."""
        mark = b"\xef\xbb\xbf"
        async for chunk in self._response.aiter_bytes():
            yield chunk.removeprefix(mark)
            mark = b""
        yield b"\n\n"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        headers = {"content-type": "text/event-stream"}
        request = self._response.request
        plain = httpx2.Response(200, headers=headers, content=self._body(), request=request)
        try:
            async for event in httpx2.EventSource(plain, max_event_size=LONGEST_MESSAGE):
                for line in self._lines(event):
                    yield line
        except httpx2.SSEError:
            if self._number is None:
                raise
            for line in events_of([unreadable_answer(self._number, TOO_LONG)]):
                yield line
        finally:
            self._on_end(self)

    def _lines(self, event: httpx2.ServerSentEvent) -> Iterator[bytes]:
        if event.retry is not None:
            shortest, longest = _RETRY_MS
            yield b"retry: %d\n" % min(max(event.retry, shortest), longest)
        if event.id:
            self.last_id = event.id
            yield b"id: %s\n" % event.id.encode()
        yield from events_of(self._messages(event)) if event.data else [b"\n"]

    def _messages(self, event: httpx2.ServerSentEvent) -> list[dict[str, Any]]:
        try:
            found = messages_in(event.data.encode(), self._owner)
            self.is_answered = self.is_answered or any(map(is_answer, found))
            return found
        except Unreadable as error:
            if self._number is None or event.event != "message":
                return []
            return [unreadable_answer(self._number, str(error))]

    def _owner(self, given: object) -> int | str | None:
        if self._number is not None:
            return self._number
        return given if isinstance(given, str) else number_of(given)

    async def aclose(self) -> None:
        """Leave the connection."""
        await self._response.aclose()


def events_of(messages: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """An event for each of `messages`."""
    for message in messages:
        yield b"data: %s\n\n" % to_json(message, inf_nan_mode="constants")
