"""JSON-RPC messages in a stream of events, as a response of a server may be one."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx2

from dagstack_dev.runtimes.mcp.wire import TOO_LONG, Unreadable, messages_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

EVENTS: Final = "text/event-stream"
_MARK: Final = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Stream:
    """A stream of events, which may end and go on in another response.

    Attributes:
        pauses: seconds before it is opened again, at least and at most.
        number: the request that it answers; None where it answers none.
        last_id: of the last event that had any.
        pause: seconds before it is opened again, as the server wants it.
    """

    pauses: tuple[float, float]
    number: int | None = None
    last_id: str = ""
    pause: float = field(init=False)

    def __post_init__(self) -> None:
        self.pause = self.pauses[0]

    async def messages_in(
        self, response: httpx2.Response, longest: int
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yield the messages in a response until it ends, as far as it can be read.

        Args:
            response: open, with nothing read of it.
            longest: bytes of an event at most.

        Raises:
            Unreadable: it is to bring an answer, and brings something else in its place.
        """
        body = httpx2.Response(
            httpx2.codes.OK,
            headers={"content-type": EVENTS},  # Events are UTF-8, whatever else is said of them.
            content=_whole(response),
            request=response.request,
        )
        source: Any = httpx2.EventSource(body, max_event_size=longest)
        try:
            async with aclosing(source.__aiter__()) as events:
                async for event in events:
                    self.last_id = event.id or self.last_id
                    if event.retry is not None:
                        least, most = self.pauses
                        self.pause = min(max(event.retry / 1000, least), most)
                    for message in self._messages_of(event):
                        yield message
        except httpx2.SSEError:
            if self.number is not None:
                raise Unreadable(TOO_LONG) from None
        except (httpx2.TransportError, httpx2.DecodingError):
            return

    def _messages_of(self, event: httpx2.ServerSentEvent) -> list[dict[str, Any]]:
        if not event.data:
            return []
        try:
            return messages_in(event.data.encode(), lambda _: self.number)
        except Unreadable:
            if self.number is None or event.event != "message":
                return []
            raise


async def _whole(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the body of a stream without a byte order mark, and with an end to its last event."""
    mark = _MARK
    async for chunk in response.aiter_bytes():
        yield chunk.removeprefix(mark)
        mark = b""
    yield b"\n\n"
