"""Asks a running server; the client side of the API, on the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse


KEEP_ALIVE_SECONDS: Final = 15.0
"""How often a stream in which nothing happens says that it is still there."""

PATIENCE_SECONDS: Final = 15.0
"""How much longer an answer may take than was asked for."""

HELLO_SECONDS: Final = 5.0
"""How long a server may take to say that it is there: one that was stopped never does."""

SILENT: Final = "there is no word of it; it may be stopped, as by Ctrl-Z"
"""What is said of a server that does not answer in time."""


class ApiError(Exception):
    """The server has answered with a problem.

    Attributes:
        problem: as `api.models.Problem`.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or "the server failed")
        self.problem = problem


class ServerGone(Exception):
    """The server does not answer any more."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("dagstack-dev", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ApiClient:
    """Asks the server that listens at one socket.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, *parts: str, **query: Any) -> Any:
        """Return the JSON at `/api/` and `parts`.

        Raises:
            ApiError: the server has answered with a problem.
            ServerGone: it does not answer.
        """
        with self.answer("GET", target(parts, query), 2 * PATIENCE_SECONDS) as answer:
            return _json(answer)

    def post(self, *parts: str, **body: Any) -> Any:
        """Return the JSON that a request with `body` is answered with.

        Args:
            parts: of the path below `/api/`.
            body: the fields of the request.

        Raises:
            As `get`.
        """
        seconds = body.get("timeout_seconds", PATIENCE_SECONDS) + PATIENCE_SECONDS
        with self.answer("POST", target(parts, {}), seconds, json.dumps(body)) as answer:
            return _json(answer)

    def stream(self, *parts: str, **query: Any) -> Iterator[tuple[int, Any]]:
        """Yield the events of a stream with their ids, until the server ends it.

        Args:
            parts: of the path below `/api/`.
            query: the parameters.

        Raises:
            As `get`.
        """
        silence = KEEP_ALIVE_SECONDS + PATIENCE_SECONDS
        with self.answer("GET", target(parts, query), silence) as answer:
            number = 0
            for line in _lines(answer):
                name, _, value = line.decode().partition(": ")
                if name == "id":
                    number = int(value)
                elif name == "data":
                    yield number, json.loads(value)

    @contextmanager
    def answer(
        self, method: str, target: str, seconds: float, body: str | None = None
    ) -> Iterator[HTTPResponse]:
        """Give what the server answers, for the block.

        Args:
            method: of HTTP.
            target: the address.
            seconds: how long each part of it may take.
            body: of the request.

        Raises:
            As `get`.
        """
        hello, connection = (_Connection(self._path, each) for each in (HELLO_SECONDS, seconds))
        try:
            hello.request("HEAD", "/")
            hello.getresponse()  # That there is nothing, it says at once.
            connection.request(method, target, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status >= http.client.BAD_REQUEST:
                raise ApiError(_json(answer))
            yield answer
        except TimeoutError as error:
            raise ServerGone(SILENT) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServerGone(str(error) or type(error).__name__) from error
        finally:
            hello.close()
            connection.close()


def _lines(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield the lines as they come; the answer itself takes its breaking off for its end."""
    rest = b""
    while part := answer.read1():
        *lines, rest = (rest + part).split(b"\n")
        yield from lines


def _json(answer: HTTPResponse) -> Any:
    content = answer.read()
    try:
        return json.loads(content)
    except ValueError as error:
        raise ServerGone(f"it answers {content[:80]!r}, which is no JSON") from error


def target(parts: tuple[str, ...], query: Mapping[str, Any]) -> str:
    """Return the address of `parts` below `/api/`, with what is given of `query`."""
    path = "/api/" + "/".join(quote(part, safe="") for part in parts)
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path
