"""The standard resource `http_client`, on httpx, an extra (contract, section 9)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import anyio
import anyio.to_thread

from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    import ssl

    import httpx

INSTALL_HTTP: Final = 'pip install "httpx>=0.27,<1"'
"""What brings `http_client`."""


@runtime_checkable
class HttpClient(Protocol):
    """Asks servers. Keyword arguments and responses are those of `httpx.AsyncClient`."""

    async def request(self, method: str, url: str, **kwargs: Any) -> Any:
        """Send a request and read the whole answer.

        Args:
            method: of HTTP, such as `GET`.
            url: the address.
            kwargs: those of `httpx.AsyncClient.request`; `timeout` is in seconds.
        """

    async def get(self, url: str, **kwargs: Any) -> Any:
        """Send a request with GET."""

    async def post(self, url: str, **kwargs: Any) -> Any:
        """Send a request with POST."""

    async def put(self, url: str, **kwargs: Any) -> Any:
        """Send a request with PUT."""

    async def delete(self, url: str, **kwargs: Any) -> Any:
        """Send a request with DELETE."""


class HttpxClient:
    """An `HttpClient` with connections of its own, opened with the first request.

    Certificates are checked against those of httpx, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.

    Args:
        options: of `httpx.AsyncClient`, as `timeout` (in seconds) or `base_url`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._client: httpx.AsyncClient | None = None
        self._is_closed = False
        self._opening = anyio.Lock()

    async def request(self, method: str, url: str, **kwargs: Any) -> httpx.Response:
        """See `HttpClient.request`.

        Raises:
            httpx.HTTPError: no answer; as `httpx.AsyncClient.request`. An answer with an error
                status is an answer.
            RuntimeError: it has been closed, with the plugin that it belonged to.
        """
        client = self._client or await self._open()
        return await client.request(method, url, **kwargs)

    async def get(self, url: str, **kwargs: Any) -> httpx.Response:
        """Send a request with GET."""
        return await self.request("GET", url, **kwargs)

    async def post(self, url: str, **kwargs: Any) -> httpx.Response:
        """Send a request with POST."""
        return await self.request("POST", url, **kwargs)

    async def put(self, url: str, **kwargs: Any) -> httpx.Response:
        """Send a request with PUT."""
        return await self.request("PUT", url, **kwargs)

    async def delete(self, url: str, **kwargs: Any) -> httpx.Response:
        """Send a request with DELETE."""
        return await self.request("DELETE", url, **kwargs)

    async def aclose(self) -> None:
        """Close its connections; further requests raise `RuntimeError`."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _open(self) -> httpx.AsyncClient:
        """Return the client, made in a thread: importing httpx alone takes a sixth of a second."""
        async with self._opening:
            if self._client is None and not self._is_closed:
                client = await anyio.to_thread.run_sync(self._make)
                self._client = client
            if self._client is None or self._is_closed:
                raise RuntimeError(
                    "this http_client has been closed, for its plugin has been torn down; use the "
                    "one that the next setup is given"
                )
            return self._client

    def _make(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - heavy, and only there with the extra

        return httpx.AsyncClient(**{"verify": _certificates(), **self._options})

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return partial(HttpxClient, **self._options), ()


class CannedHttpClient(HttpxClient):
    """An `HttpClient` for tests, which opens no connection and answers from a table.

    Args:
        answers: by method and address, as `"GET https://example.org/items?page=2"`. An answer is
            a status, text or bytes, an `httpx.Response`, an exception to raise, or anything
            else, which is sent as JSON.

    Attributes:
        requests: every `httpx.Request`, in order.
    """

    def __init__(self, answers: Mapping[str, object]) -> None:
        super().__init__()
        self._answers = dict(answers)
        self.requests: list[httpx.Request] = []

    def _make(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - heavy, and only there with the extra

        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        import httpx  # noqa: PLC0415 - heavy, and only there with the extra

        self.requests.append(request)
        asked = f"{request.method} {request.url}"
        if asked not in self._answers:
            raise LookupError(f"no answer for {asked!r}{did_you_mean(asked, self._answers)}")
        match self._answers[asked]:
            case httpx.Response() as response:
                return response
            case Exception() as error:
                raise error
            case int() as status:
                return httpx.Response(status)
            case str() | bytes() as content:
                return httpx.Response(200, content=content)
            case value:
                return httpx.Response(200, json=value)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return CannedHttpClient, (self._answers,)


def has_httpx() -> bool:
    """Return whether the extra is installed; imports nothing."""
    return find_spec("httpx") is not None


@cache
def _certificates() -> ssl.SSLContext:
    """Read once for all plugins: it takes as long as everything else of a client."""
    import httpx  # noqa: PLC0415 - heavy, and only there with the extra

    return httpx.create_ssl_context()
