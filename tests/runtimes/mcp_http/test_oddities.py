"""What is told of servers that are no MCP servers, or cannot be talked to."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from mcp_talks import REF, meeting, refusal, talking
from odd_servers import http_usual, over_http, plain, served

from dagstack_dev.core.errors.remote import HandshakeFailed, ServerLost, ToolError
from dagstack_dev.runtimes.mcp.http_errors import public, refused, with_retry_after
from dagstack_dev.runtimes.mcp.session import Session

MANY = 120
"""Calls at once: more than the connections that httpx2 allows by default."""


def answering(answer: str, *, hang_ups: int = 0) -> AbstractAsyncContextManager[str]:
    """A server that answers every request so, or hangs up on the first ones; yields its URL."""
    hangs_up = iter([True] * hang_ups)

    async def respond(*_: object) -> bytes:
        return b"" if next(hangs_up, False) else answer.encode()

    return served(respond)


def response(status: str, body: str = "", **headers: str) -> str:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (response("200 OK", "<p>Hello", content_type="text/html"), "answers with text/html"),
        (response("200 OK", "{", content_type="application/json"), "answers with application/json"),
        (
            response("200 OK", "{}", content_type="application/json"),
            "answers with application/json",
        ),
        (response("202 Accepted"), "answers with nothing"),
        (response("204 No Content"), "answers with nothing"),
        (response("403 Forbidden"), "does not let us in (403 Forbidden)"),
        (response("404 Not Found"), "there is no MCP server at"),
        (response("405 Method Not Allowed"), "there is no MCP server at"),
        (response("418 I'm a teapot"), "refused the request (418 I'm a Teapot)"),
        (response("499 Odd"), "refused the request (499)"),
        (
            response("301 Moved Permanently", location="/elsewhere?secret=1"),
            "/elsewhere not followed",
        ),
        (
            response("307 Temporary Redirect", location="http://else.where/mcp"),
            "Redirect to http://else.where/mcp not followed",
        ),
    ],
)
async def test_what_needs_an_edit(answer: str, told: str) -> None:
    async with answering(answer) as url:
        error = await refusal(url, HandshakeFailed)
    assert told in error
    assert "secret" not in error


BUSY = '{"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "busy"}}'


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (response("500 Internal Server Error"), "failed (500 Internal Server Error)"),
        (response("503 Service Unavailable"), "behind its gateway (503 Service Unavailable)"),
        (response("502 Bad Gateway"), "behind its gateway (502 Bad Gateway)"),
        (response("504 Gateway Timeout"), "behind its gateway (504 Gateway Timeout)"),
        (response("408 Request Timeout"), "wants to be asked later (408 Request Timeout)"),
        (response("429 Too Many Requests"), "wants to be asked later (429 Too Many Requests)"),
        (response("503 Busy", BUSY, content_type="application/json"), "behind its gateway (503"),
        (response("429 Busy", BUSY, content_type="application/json"), "asked later (429"),
    ],
)
async def test_what_is_transient(answer: str, told: str) -> None:
    async with answering(answer) as url:
        assert told in await refusal(url, ServerLost)


@pytest.mark.parametrize(
    ("later", "seconds"),
    [
        ("7", 7),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 1e9),
        ("soon", 0),
        ("", 0),
        ("1e3", 0),
        ("9" * 400, 0),
    ],
)
def test_when_a_server_wants_to_be_asked_again(later: str, seconds: float) -> None:
    trouble = with_retry_after(refused(503, "http://a/mcp", has_secret=False), later)
    error = trouble.error(REF)
    assert isinstance(error, ServerLost)
    assert error.retry_after >= seconds
    assert bool(error.retry_after) == bool(seconds)


async def test_the_transport_of_2024_is_named() -> None:
    def resume(_: str) -> bytes:
        return events("event: endpoint\ndata: /messages\n\n")

    async with over_http(lambda _: plain("405 Method Not Allowed"), resume) as url:
        told = await refusal(url, HandshakeFailed)
    assert f"{url} speaks HTTP+SSE, the transport of 2024, which is not supported" in told


async def test_a_server_that_hangs_up() -> None:
    async with answering("", hang_ups=9) as url:
        told = await refusal(url, ServerLost)
    assert "closed the connection before it had answered" in told


@pytest.mark.parametrize(("hang_ups", "is_lost"), [(1, False), (2, True)])
async def test_one_broken_connection_is_not_the_end_of_a_server(
    hang_ups: int, *, is_lost: bool
) -> None:
    answer = response("200 OK")
    async with answering(answer, hang_ups=hang_ups) as url, meeting(url) as (connected, _):
        connected.note_tools([])
        assert (await connected.examine(20) is not None) == is_lost


async def test_a_host_that_is_not_known() -> None:
    told = await refusal("http://no-such-host.invalid/mcp", ServerLost)
    assert "there is no host 'no-such-host.invalid'" in told


def test_no_more_is_shown_of_a_url_than_where_it_leads() -> None:
    shown = public("https://user:secret@example.org:81/mcp?key=secret#secret")
    assert shown == "https://example.org:81/mcp"


async def test_a_session_that_cannot_be_named_again_does_no_harm() -> None:
    def respond(message: dict[str, Any]) -> bytes:
        said = http_usual(message)
        return said.replace(b"Connection:", "Mcp-Session-Id: caf\u00e9\r\nConnection:".encode())

    async with over_http(respond) as url, talking(url) as talk:
        assert [tool.name for tool in talk.tools] == ["odd"]


async def test_what_need_not_be_answered_holds_up_nothing() -> None:
    async def respond(_: str, body: bytes) -> bytes:
        message = json.loads(body)
        if "id" not in message:
            await anyio.sleep_forever()
        return http_usual(message)

    async with served(respond) as url, talking(url, notice_seconds=0.01) as talk:
        assert [tool.name for tool in talk.tools] == ["odd"]


@pytest.mark.parametrize("status", ["400 Bad Request", "405 Method Not Allowed", "500 Error"])
async def test_a_server_may_refuse_what_it_need_not_answer(status: str) -> None:
    asked = anyio.Event()

    def respond(message: dict[str, Any]) -> bytes:
        if message["method"] == "ping":
            asked.set()
        is_notice = message["method"] == "notifications/initialized"
        return plain(status) if is_notice else http_usual(message)

    async with over_http(respond) as url, talking(url) as talk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.connection.watch)
            await asked.wait()
            tasks.cancel_scope.cancel()
        assert await talk.connection.examine(20) is None


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found"])
@pytest.mark.parametrize(("code", "is_there"), [(-32601, True), (-32000, False)])
async def test_a_server_that_knows_no_ping_knows_the_session(
    status: str, code: int, *, is_there: bool
) -> None:
    def respond(message: dict[str, Any]) -> bytes:
        if message["method"] == "ping":
            error = {"code": code, "message": "no"}
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error})
            return plain(status, body.encode(), "application/json")
        return http_usual(message).replace(b"Connection:", b"Mcp-Session-Id: 7\r\nConnection:")

    async with over_http(respond) as url, talking(url) as talk:
        assert (await talk.connection.examine(20) is None) is is_there


async def test_calls_do_not_wait_for_one_another() -> None:
    calls, all_there = 0, anyio.Event()

    async def respond(_: str, body: bytes) -> bytes:
        nonlocal calls
        message = json.loads(body)
        if message["method"] == "tools/call":
            calls += 1
            if calls == MANY:
                all_there.set()
            await all_there.wait()
        return http_usual(message, **{"tools/call": {"content": "ok"}})

    async with (
        served(respond) as url,
        talking(url) as talk,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(MANY):
            tasks.start_soon(talk.call, "odd")
    assert calls == MANY


def events(body: str) -> bytes:
    return plain("200 OK", body.encode(), "text/event-stream")


def left(message: dict[str, Any]) -> bytes:
    """A stream that ends before the answer to a call, and can be resumed at once."""
    if message["method"] != "tools/call":
        return http_usual(message)
    return events("id: left\nretry: 1\ndata:\n\n")


async def test_a_stream_that_is_resumed_brings_the_answer() -> None:
    def resume(head: str) -> bytes:
        said = r'{"content": [{"type": "text", "text": "caf\ud83d"}]}'
        is_known = "last-event-id: left" in head
        return events(f'data: {{"id": null, "result": {said}}}\n\n' if is_known else "")

    async with over_http(left, resume) as url, talking(url, stream_pauses=(0.001, 0.01)) as talk:
        assert await talk.call("odd") == "caf\ufffd"


async def test_the_id_of_an_event_is_any_text() -> None:
    def begun(message: dict[str, Any]) -> bytes:
        is_call = message["method"] == "tools/call"
        return events("id: caf\u00e9\ndata:\n\n") if is_call else http_usual(message)

    def resume(head: str) -> bytes:
        is_known = "last-event-id: caf\u00e9" in head
        return events('data: {"id": null, "result": {"content": "ok"}}\n\n' if is_known else "")

    async with over_http(begun, resume) as url, talking(url, stream_pauses=(0.001, 0.01)) as talk:
        assert await talk.call("odd") == "ok"


async def test_no_stream_is_resumed_for_a_call_that_was_given_up() -> None:
    asked: list[str] = []
    given_up, told = anyio.Event(), anyio.Event()

    def respond(message: dict[str, Any]) -> bytes:
        if message["method"] == "notifications/cancelled":
            told.set()
        return left(message)

    def resume(head: str) -> bytes:
        asked.append(head)
        given_up.set()
        return events("data:\n\n")

    async with over_http(respond, resume) as url, talking(url, stream_pauses=(0.001, 0.01)) as talk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.call, "odd")
            await given_up.wait()
            tasks.cancel_scope.cancel()
        await told.wait()
        before = len(asked)
        with pytest.raises(ToolError):
            await talk.session.read_resource("odd:x", 20)
        assert len(asked) == before


@pytest.mark.parametrize(("retry", "pause"), [("0", 1), ("5000", 5), ("999999999", 30)])
async def test_a_stream_is_opened_again_after_a_pause_of_our_choice(
    retry: str, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    asked_again = anyio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await checkpoint()

    def begun(message: dict[str, Any]) -> bytes:
        body = f"retry: {retry}\nid: 7\ndata:\n\n"
        return events(body) if message["method"] == "tools/call" else http_usual(message)

    def resume(_: str) -> bytes:
        asked_again.set()
        return events("data:\n\n")

    async with over_http(begun, resume) as url, talking(url) as talk:
        monkeypatch.setattr(anyio, "sleep", sleep)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.call, "odd")
            await asked_again.wait()
            tasks.cancel_scope.cancel()
    assert pauses[0] == pause


async def test_what_follows_the_path_of_a_url_is_sent_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[str] = []

    async def respond(head: str, body: bytes) -> bytes:
        asked.append(head.split()[1])
        if asked[-1].startswith("/there"):
            return http_usual(json.loads(body))
        there = asked[-1].replace("/mcp", "/there")
        return response("307 Temporary Redirect", location=there).encode()

    caplog.set_level("INFO")
    async with served(respond) as url, talking(f"{url}?key=sesame") as talk:
        assert [tool.name for tool in talk.tools] == ["odd"]
    assert set(asked) == {"/mcp?key=sesame", "/there?key=sesame"}
    assert "/there" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_stream_that_cannot_be_opened_for_a_while_is_opened_then() -> None:
    asked: list[str] = []
    changed = anyio.Event()
    notice = '{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}'

    def respond(message: dict[str, Any]) -> bytes:
        said = http_usual(message)
        return said.replace(b"Connection:", b"Mcp-Session-Id: 7\r\nConnection:")

    def resume(head: str) -> bytes:
        asked.append(head)
        return plain("503 Busy") if len(asked) < 5 else events(f"data: {notice}\n\n")

    async def on_new_tools(_: Session) -> None:
        changed.set()

    async with (
        over_http(respond, resume) as url,
        meeting(url, on_new_tools, stream_pauses=(0.001, 0.002)) as (_, session),
    ):
        await session.shake_hands()
        await changed.wait()
    assert len(asked) >= 5


async def test_a_stream_that_a_server_does_not_offer_is_asked_for_once() -> None:
    asked: list[str] = []
    pinged = anyio.Event()

    def respond(message: dict[str, Any]) -> bytes:
        if message["method"] == "ping" and asked:
            pinged.set()
        said = http_usual(message)
        return said.replace(b"Connection:", b"Mcp-Session-Id: 7\r\nConnection:")

    def resume(head: str) -> bytes:
        asked.append(head)
        return plain("405 Method Not Allowed")

    pauses = {"stream_pauses": (0.0, 0.0), "look_every": 0.01}
    async with over_http(respond, resume) as url, talking(url, **pauses) as talk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.connection.watch)
            await pinged.wait()
            tasks.cancel_scope.cancel()
        for _ in range(3):
            await talk.session.list_tools(20)
    assert len(asked) == 1


async def test_new_tools_that_cannot_be_taken_are_no_reason_to_lose_a_server(
    captured_events: list[dict[str, Any]],
) -> None:
    def respond(message: dict[str, Any]) -> bytes:
        if message["method"] != "tools/call":
            return http_usual(message)
        notice = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": "ok"}}
        return plain("200 OK", json.dumps([notice, answer]).encode(), "application/json")

    async def fail(_: Session) -> None:
        raise RuntimeError("odd tools")

    async with over_http(respond) as url, meeting(url, fail) as (_, session):
        await session.shake_hands()
        (tool,) = await session.list_tools(20)
        for _ in range(2):
            assert (await session.call_tool(tool, {}, 20, None)).value == "ok"
    assert any("RuntimeError: odd tools" in each["event"] for each in captured_events)
