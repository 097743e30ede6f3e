"""The standard resource `http_client`, against a real server and against none."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import httpx
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import CannedHttpClient, HttpClient, HttpxClient


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        said = f"{self.command} {self.path} {body.decode()}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """Of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_every_method_asks_the_server(address: str) -> None:
    client = HttpxClient()
    assert isinstance(client, HttpClient)
    assert (await client.get(address + "/a", params={"b": 1})).text == "GET /a?b=1 "
    assert (await client.post(address + "/a", content="new")).text == "POST /a new"
    assert (await client.put(address + "/a", json=[1])).text == "PUT /a [1]"
    assert (await client.delete(address + "/a")).text == "DELETE /a "
    assert (await client.request("PATCH", address + "/a")).text == "PATCH /a "
    await client.aclose()


async def test_it_takes_the_options_of_httpx(address: str) -> None:
    client = HttpxClient(base_url=address + "/api/")
    assert (await client.get("a")).text == "GET /api/a "
    copy = pickle.loads(pickle.dumps(client))
    assert (await copy.get("b")).text == "GET /api/b "
    await client.aclose()
    await copy.aclose()


async def test_the_first_requests_share_their_connections(address: str) -> None:
    client = HttpxClient()
    opened: set[object] = set()

    async def ask() -> None:
        await client.get(address)
        opened.add(client._client)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert len(opened) == 1
    await client.aclose()


async def test_one_that_is_closed_says_so(address: str) -> None:
    used, unused = HttpxClient(), HttpxClient()
    await used.get(address)
    for client in (used, unused):
        await client.aclose()
        await client.aclose()
        with pytest.raises(RuntimeError, match="has been closed"):
            await client.get(address)


async def test_a_table_answers_in_place_of_servers() -> None:
    client = CannedHttpClient(
        {
            "GET https://example.org/items?page=2": ["a", "b"],
            "POST https://example.org/items": 201,
            "GET https://example.org/text": "hello",
            "GET https://example.org/down": httpx.ConnectError("refused"),
            "DELETE https://example.org/items": httpx.Response(409, text="busy"),
        }
    )
    assert isinstance(client, HttpClient)
    items = await client.get("https://example.org/items", params={"page": 2})
    assert (items.status_code, items.json()) == (200, ["a", "b"])
    assert (await client.post("https://example.org/items", json={"c": 1})).status_code == 201
    assert (await client.get("https://example.org/text")).text == "hello"
    with pytest.raises(httpx.ConnectError, match="refused"):
        await client.get("https://example.org/down")
    busy = await client.delete("https://example.org/items")
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        busy.raise_for_status()
    with pytest.raises(LookupError, match=r"did you mean 'GET https://example\.org/text'"):
        await client.get("https://example.org/texts")
    assert [request.method for request in client.requests] == [
        *("GET", "POST", "GET", "GET", "DELETE", "GET")
    ]
    assert json.loads(client.requests[1].content) == {"c": 1}
    await client.aclose()


def test_httpx_is_imported_by_the_first_request_and_not_before() -> None:
    script = (
        "import sys\n"
        "from dagstack_dev import ResourceRegistry\n"
        "resources = ResourceRegistry()\n"
        "resources.register_standard()\n"
        "print('http_client' in resources, 'httpx' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=True,
    )
    assert done.stdout == "True False\n"
