"""As much of HTTP/1.1 as the site needs: one GET or HEAD per connection."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from anyio import DelimiterNotFound
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream

MAX_HEAD_BYTES = 16 * 1024


class BadRequestError(Exception):
    """What arrived is not an HTTP request."""


@dataclass(frozen=True)
class Request:
    method: str
    path: tuple[str, ...]
    query: dict[str, str]


@dataclass(frozen=True)
class Response:
    body: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/html"

    def encode(self, *, with_body: bool = True) -> bytes:
        body = self.body.encode()
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\n"
            "Connection: close\r\n"
            "\r\n"
        )
        return head.encode("ascii") + (body if with_body else b"")


async def read_request(stream: ByteReceiveStream) -> Request:
    """Read the head of a request; raise `BadRequestError` when it makes no sense."""
    buffered = BufferedByteReceiveStream(stream)
    try:
        head = await buffered.receive_until(b"\r\n\r\n", MAX_HEAD_BYTES)
        method, target, _version = head.decode("latin-1").split("\r\n")[0].split(" ")
        url = urlsplit(target)
    except (DelimiterNotFound, ValueError) as error:
        raise BadRequestError from error
    return Request(
        method=method,
        path=tuple(unquote(part) for part in url.path.split("/") if part),
        query={key: values[-1] for key, values in parse_qs(url.query).items()},
    )
