"""Odd answers to a call: each ends it at once with what it says, over every transport."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from odd_servers import (
    Process,
    as_events,
    as_json,
    outcome,
    over_pipes,
    piped,
    plain,
    posted,
    usual,
)
from opentelemetry import trace

from dagstack_dev.core.errors.remote import ServerLost, ToolError, ToolResultInvalid
from dagstack_dev.runtimes.mcp.catalogue import Tool

ODD = Tool("odd", "", {"type": "object"})
IMAGE = {"type": "hologram", "data": "?"}


def ok(result: str) -> str:
    return f'{{"jsonrpc": "2.0", "id": ID, "result": {result}}}'


def text(said: str, more: str = "") -> str:
    return ok(f'{{"content": [{{"type": "text", "text": "{said}"}}]{more}}}')


def error(told: str, number: str = "ID") -> str:
    return f'{{"jsonrpc": "2.0", "id": {number}, "error": {told}}}'


TOLD = '{"code": -5, "message": "no"}'

VALUES: dict[str, tuple[str, object]] = {
    "half an emoji": (text(r"a\ud83d"), "a\ufffd"),
    "half an emoji beside a whole one": (text(r"\ud83d\ude00\ude00"), "\U0001f600\ufffd"),
    "an escaped backslash": (text(r"\\ud83d"), r"\ud83d"),
    "a byte order mark": ("\ufeff" + text("x"), "x"),
    "structured content that is null": (text("x", ', "structuredContent": null'), "x"),
    "an error flag that is null": (text("x", ', "isError": null'), "x"),
    "structured content alone": (ok('{"structuredContent": {"a": 1}}'), {"a": 1}),
    "content that is null": (ok('{"content": null}'), None),
    "a block that is in no list": (ok('{"content": {"type": "text", "text": "x"}}'), "x"),
    "unknown content": (ok(json.dumps({"content": [IMAGE]})), [IMAGE]),
    "odd fields": (text("x", ', "_meta": 7, "annotations": 1'), "x"),
    "its id as text": (text("x").replace("ID", '"ID"'), "x"),
    "its id as a fraction": (text("x").replace("ID", "ID.0"), "x"),
    "no id": (text("x").replace('"id": ID, ', ""), "x"),
    "another id": (text("x").replace("ID", "999"), "x"),
    "another id that is text": (text("x").replace("ID", '"who"'), "x"),
    "no version": (text("x").replace('"jsonrpc": "2.0", ', ""), "x"),
    "another version": (text("x").replace('"2.0"', "2.0"), "x"),
    "an error that is null beside the result": (text("x")[:-1] + ', "error": null}', "x"),
    "a batch": ('[{"jsonrpc": "2.0", "method": "notifications/x"}, ' + text("x") + "]", "x"),
    "not a number": (ok('{"structuredContent": {"a": Infinity}}'), {"a": math.inf}),
    "one key twice": (ok('{"content": [], "structuredContent": {"a": 1, "a": 2}}'), {"a": 2}),
    "a long number": (ok('{"structuredContent": {"a": ' + "9" * 400 + "}}"), {"a": int("9" * 400)}),
    "spaces around it": (" \t" + text("x") + " \r", "x"),
}

ERRORS: dict[str, tuple[str, str, int | None]] = {
    "without an id": (error(TOLD, "null"), "no (JSON-RPC error -5)", -5),
    "with another id": (error(TOLD, "999"), "no (JSON-RPC error -5)", -5),
    "with a result": (error(TOLD)[:-1] + ', "result": {"content": []}}', "no (", -5),
    "with a result that is null": (error(TOLD)[:-1] + ', "result": null}', "no (", -5),
    "the code of our timeouts": (error('{"code": -32001, "message": "busy"}'), "busy (", -32001),
    "the code of a loss": (
        error('{"code": -32000, "message": "Connection closed"}'),
        "Conn",
        -32000,
    ),
    "a code that is text": (error('{"code": "E7", "message": "no"}'), "E7", -32603),
    "a code that is a fraction": (error('{"code": -7.0, "message": "no"}'), "no (", -7),
    "no message": (error('{"code": -5}'), '{"code": -5}', -5),
    "an error that is text": (error('"boom"'), '"boom"', -32603),
    "an error that is null alone": (error("null"), "null", -32603),
    "a batch": ("[" + error(TOLD) + "]", "no (", -5),
}

UNREADABLE: dict[str, tuple[str, str]] = {
    "a result that is null": (ok("null"), "the result is null and no object"),
    "a result that is a list": (ok("[1]"), "the result is [1] and no object"),
    "JSON that ends too early": (ok("{")[:-2], "the answer cannot be read: EOF while parsing"),
    "very deep JSON": (ok("[" * 10_000 + "]" * 10_000), "recursion limit exceeded"),
    "a question": (ok('{"resultType": "input_required"}'), "asks for input, which is not"),
}

FORMS = {"json": as_json, "events": as_events}


@pytest.mark.parametrize("case", VALUES)
async def test_a_line_is_delivered(case: str) -> None:
    said, value = VALUES[case]
    assert await piped(said.encode(), ODD) == value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", VALUES)
async def test_a_body_is_delivered(case: str, form: str) -> None:
    said, value = VALUES[case]
    assert await posted(said.encode(), ODD, FORMS[form]) == value


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("form", [None, *FORMS])
async def test_an_error_is_raised(case: str, form: str | None) -> None:
    said, words, code = ERRORS[case]
    with pytest.raises(ToolError, match=re.escape(words)) as caught:
        await (posted(said.encode(), ODD, FORMS[form]) if form else piped(said.encode(), ODD))
    assert (type(caught.value), caught.value.code) == (ToolError, code)
    assert caught.value.data is None


@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.parametrize("form", [None, *FORMS])
async def test_what_cannot_be_read_ends_the_call(case: str, form: str | None) -> None:
    said, words = UNREADABLE[case]
    with pytest.raises(ToolError, match=re.escape(words)):
        await (posted(said.encode(), ODD, FORMS[form]) if form else piped(said.encode(), ODD))


async def test_data_of_an_error_are_those_of_the_server() -> None:
    for data in ({"type": "Quota", "left": 0}, [1], "x", None):
        said = error(json.dumps({"code": -32001, "message": "no", "data": data}))
        with pytest.raises(ToolError) as caught:
            await piped(said.encode(), ODD)
        assert caught.value.data == data


async def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    said = text("caf#").encode().replace(b"#", b"\xe9")
    for call in (piped(said, ODD), posted(said, ODD, as_json), posted(said, ODD, as_events)):
        assert await call == "caf\ufffd"


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff\xfe\n",
        b'{"level": 30, "msg": "log", "id": 1}\n',
        b"[1, 2]\n7\nnull\n",
        b"loading {...} ",
        b"\r\n\r\n",
        b'{"jsonrpc": "2.0", "id": 1, "result": {"late": 1}}\n',
    ],
)
async def test_noise_on_the_pipe_does_no_harm(noise: bytes) -> None:
    assert await piped(noise + text("x").encode(), ODD) == "x"


async def test_a_second_answer_to_one_call_is_dropped() -> None:
    twice = (text("x") + "\n" + text("y")).encode()
    assert await piped(twice, ODD) == "x"
    assert (
        await posted(text("x").encode() + b"\n\ndata: " + text("y").encode(), ODD, as_events) == "x"
    )


async def test_a_pipe_that_closes_before_the_answer_is_a_loss() -> None:
    with pytest.raises(ServerLost, match="it has gone"):
        await piped(None, ODD)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"data:\n\ndata: \n\n:comment\n\ndata: X\n\n", "x"),
        (b"id: 7\nretry: 0\ndata:\n\ndata: X\n\n", "x"),
        (b"\xef\xbb\xbfdata: X\n\n", "x"),
        (b"data: X\r\n\r\n", "x"),
        (b"data: X\r\r", "x"),
        (b"data: X", "x"),
        (b"event: response\ndata: X\n\n", "x"),
        (b"event: ping\ndata: now\n\ndata: X\n\n", "x"),
    ],
)
async def test_odd_events_are_read(body: bytes, value: str) -> None:
    def form(answer: bytes) -> bytes:
        return plain("200 OK", body.replace(b"X", answer), "text/event-stream; charset=latin-1")

    assert await posted(text("x").encode(), ODD, form) == value


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda _: plain("200 OK", b"<p>Hello", "text/html"), "answers with text/html and not as"),
        (lambda _: plain("202 Accepted"), "answers with text/plain and not"),
        (lambda _: plain("200 OK", b"{}", "application/json"), "answers with application/json"),
        (
            lambda _: plain("200 OK", b"x", "application/json", "Content-Encoding: gzip"),
            "cannot be read",
        ),
        (lambda _: plain("302 Found"), "refused the request (302 Found)"),
        (lambda _: plain("429 Too Many Requests"), "wants to be asked later (429"),
        (lambda said: plain("500 Oops", said), "Oops"),
    ],
)
async def test_what_is_no_answer_over_http_ends_the_call(
    form: Callable[[bytes], bytes], words: str
) -> None:
    said = error('{"code": -1, "message": "Oops"}').encode()
    with pytest.raises(ToolError, match=re.escape(words)):
        await posted(said, ODD, form)


@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-16", "text/event-stream, x"])
async def test_events_are_read_as_utf_8_whatever_their_type_says(kind: str) -> None:
    said = text("é").encode()
    form = plain("200 OK", b"data: BODY\n\n", kind)
    assert await posted(said, ODD, lambda body: form.replace(b"BODY", body)) == "é"


async def test_an_answer_is_read_whatever_its_type_says() -> None:
    said = text("x").encode()
    assert await posted(said, ODD, lambda body: plain("200 OK", body, "text/plain")) == "x"


@pytest.mark.parametrize(
    "form",
    [
        lambda _: plain("200 OK", b"", "text/event-stream"),
        lambda _: plain(
            "200 OK", b'{"jsonrpc": "2.0", "method": "notifications/x"}', "application/json"
        ),
        lambda _: b"",
    ],
)
async def test_a_stream_that_ends_before_the_answer_is_a_loss(
    form: Callable[[bytes], bytes],
) -> None:
    with pytest.raises(ServerLost):
        await posted(b"", ODD, form)


@pytest.mark.parametrize("form", [None, *FORMS])
async def test_an_answer_without_end_ends_the_call_on_every_transport(
    form: str | None,
) -> None:
    async def answered(said: str) -> object:
        if form is None:
            return await piped(said.encode(), ODD, longest_message=100_000)
        return await posted(said.encode(), ODD, FORMS[form], longest_message=100_000)

    assert await answered(text("x" * 50_000)) == "x" * 50_000
    with pytest.raises(ToolResultInvalid, match="cannot be read: it is longer than"):
        await answered(text("x" * 300_000))


async def test_a_line_without_end_is_not_the_end_of_a_session() -> None:
    lengths = iter([300_000, 5])

    def answer(message: dict[str, Any]) -> bytes:
        if message["method"] != "tools/call":
            return usual(message)
        return text("x" * next(lengths)).replace("ID", str(message["id"])).encode()

    async with over_pipes(answer, longest_message=100_000) as session:
        assert isinstance(await outcome(session, ODD), ToolResultInvalid)
        assert await outcome(session, ODD) == "xxxxx"


async def test_an_answer_of_some_mebibytes_is_delivered_on_every_transport() -> None:
    value = "x" * (3 << 20)
    said = text(value).encode()
    for call in (piped(said, ODD), posted(said, ODD, as_json), posted(said, ODD, as_events)):
        assert await call == value


async def test_an_odd_notice_is_not_written_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # As in an app that configures none.
    notice = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "loud"}}
    assert await piped(f"{json.dumps(notice)}\n{text('x')}".encode(), ODD) == "x"
    assert capsys.readouterr().err == ""


async def test_progress_without_measure_is_no_reason_to_lose_a_server() -> None:
    def answer(message: dict[str, Any]) -> bytes:
        if message["method"] != "tools/call":
            return usual(message)
        told = {"progressToken": message["id"], "progress": 10**400}
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": told}
        return f"{json.dumps(progress)}\n{text('x')}".replace("ID", str(message["id"])).encode()

    async with over_pipes(answer) as session:
        assert await outcome(session, ODD) == "x"


async def test_a_call_that_was_given_up_before_it_was_sent_is_not_sent() -> None:
    sent: list[str] = []
    is_full, has_room, is_over = anyio.Event(), anyio.Event(), anyio.Event()

    class Full(Process):
        async def send(self, data: bytes) -> None:
            sent.append(json.loads(data)["method"])
            is_full.set()
            await has_room.wait()
            if sent[-1] == "last":
                is_over.set()

    process = Full(usual)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.listen, lambda _: None)
        await process.notify({"method": "first"})
        await is_full.wait()
        with anyio.move_on_after(0):
            await process.ask({"id": 1, "method": "tools/call"})
        has_room.set()
        await process.notify({"method": "last"})
        await is_over.wait()
        tasks.cancel_scope.cancel()
    process.close()
    assert sent == ["first", "last"]


async def test_what_a_server_asks_of_us_is_refused() -> None:
    asked = ("roots/list", "sampling/createMessage", "no/such")
    refused: list[str] = []
    calls: list[int] = []

    def answer(message: dict[str, Any]) -> bytes:
        if "error" in message:
            refused.append(message["error"]["message"])
            done = len(refused) == len(asked)
            return text("x").replace("ID", str(calls[0])).encode() if done else b""
        if message["method"] != "tools/call":
            return usual(message)
        calls.append(message["id"])
        questions = [
            {"jsonrpc": "2.0", "id": f"q{number}", "method": method, "params": {}}
            for number, method in enumerate(asked)
        ]
        return "\n".join(map(json.dumps, questions)).encode()

    async with over_pipes(answer) as session:
        assert await outcome(session, ODD) == "x"
    assert sorted(refused) == [f"{method} is not supported" for method in sorted(asked)]


async def test_a_trace_goes_on_at_the_server() -> None:
    metas: list[dict[str, Any]] = []

    def answer(message: dict[str, Any]) -> bytes:
        metas.append(message.get("params", {}).get("_meta", {}))
        is_call = message["method"] == "tools/call"
        return text("x").replace("ID", str(message["id"])).encode() if is_call else usual(message)

    span = trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with over_pipes(answer) as session:
        assert await outcome(session, ODD) == "x"
        with trace.use_span(trace.NonRecordingSpan(span)):
            assert await outcome(session, ODD) == "x"
    *untraced, traced = (meta.get("traceparent") for meta in metas)
    assert set(untraced) == {None}
    assert traced == f"00-{0xA:032x}-{0xB:016x}-01"
