"""Every answer, to whatever request, is as the OpenAPI document says."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from answering import Answering, Raw, answering, ask
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from mcp_servers import SDK_SERVER, mcp_plugin
from trees import PluginTree

from dagstack_dev.api.openapi import openapi_document
from dagstack_dev.api.routes import ENDPOINTS, Endpoint
from dagstack_dev.core.events import PluginLeaked, WatchProblem
from dagstack_dev.core.refs import PluginRef

DOCUMENT = openapi_document("1")

METHODS = """
from dataclasses import dataclass

@dataclass
class Size:
    width: int

class Plugin:
    def echo(self, value=None):
        return value

    def odd(self):
        return {(1, 2): {3}, "\\udc80": float("nan"), "more": [object(), b"\\xff"]}

    def fail(self, text):
        raise ValueError(text)

    def scale(self, size: Size, times: int = 1, which: "Unknown" = None, kept: object = None):
        return [size, times, which, kept]
"""
BROKEN = "class Plugin:\n    def setup(self, ctx):\n        raise OSError('\\udc80')\n"

REFS = st.sampled_from(
    ["demo/one", "tool/calc", "demo/bad", "demo/above", "demo/off", "x", "", "demo/Ä /?#"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(["echo", "odd", "fail", "scale", "setup", "_x", "__class__", "", "nix"])
ARGUMENTS = st.dictionaries(
    st.sampled_from(["value", "text", "size", "times", "which", "kept", "self", "x"]), VALUES
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "plugin": REFS | VALUES,
        "plugins": st.lists(REFS, max_size=2) | VALUES,
        "method": NAMES | VALUES,
        "arguments": ARGUMENTS | VALUES,
        "name": NAMES | VALUES,
        "uri": st.sampled_from(["calc://pi", "x"]) | VALUES,
        "coerce": st.booleans() | VALUES,
        "everything": st.booleans() | VALUES,
        "paused": st.just(value=False) | VALUES,
        "timeout_seconds": st.just(5) | VALUES,
        "x": VALUES,
    },
)
BODIES = st.one_of(
    FIELDS.map(lambda fields: json.dumps(fields).encode()),
    st.fixed_dictionaries(
        {"plugin": st.just("demo/one"), "method": NAMES, "arguments": ARGUMENTS},
        optional={"coerce": st.booleans()},
    ).map(lambda fields: json.dumps(fields).encode()),
    st.binary(max_size=20),
)
QUERIES = st.dictionaries(
    st.sampled_from(["after", "limit", "plugin", "level", "around", "depth", "reload", "x"]),
    st.integers().map(str) | st.sampled_from(["debug", "ERROR", "²", "9" * 5000, "demo/one"]),
)
ASKED = [each for each in ENDPOINTS if not each.streams and each.path != "/api/stop"]


def check(endpoint: Endpoint | None, answer: Raw) -> None:
    """Hold an answer to the document."""
    known = {} if endpoint is None else DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    kind = answer.headers["content-type"]
    if endpoint is not None:
        assert str(answer.status) in known["responses"], answer
        schema = known["responses"][str(answer.status)]["content"][kind]["schema"]
    else:
        assert kind == "application/problem+json", answer
        schema = {"$ref": "#/components/schemas/Problem"}
    validator_for(schema | {"components": DOCUMENT["components"]}).validate(answer.json)
    # What is drawn for a limit may be less than anything takes.
    assert answer.status < 500 or answer.json["type"] == "timed-out", answer.content
    if answer.status >= 400:
        assert answer.json["status"] == answer.status
        assert answer.json["detail"]


async def settled(tree: PluginTree, server: Answering) -> None:
    """A plugin in each state, and reloads of each outcome."""
    await server.wait()
    tree.plugin("one", code=METHODS + "\n")
    tree.plugin("off", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    await server.wait()
    board = server.api.board
    board.events.publish(PluginLeaked(ref=PluginRef("demo", "one"), generation=1, holders=("x",)))
    board.events.publish(WatchProblem(message="\udc80"))
    board.logs.publish({"event": None, "plugin": PluginRef("demo", "one"), "x": {"y": object()}})


@pytest.fixture
def states(tree: PluginTree) -> PluginTree:
    tree.plugin("one", code=METHODS)
    tree.plugin("off")
    tree.plugin("bad", code=BROKEN)
    tree.plugin("above", depends_on=["bad"])
    tree.plugin("lonely", depends_on=["nobody"])
    mcp_plugin(tree, "calc", code=SDK_SERVER)
    tree.write("unread/dagstack.toml", "[plugin\n")
    return tree


async def test_every_endpoint_answers_as_documented(states: PluginTree) -> None:
    place = json.dumps({"path": str(states.root / "one" / "plugin.py")})
    bodies = {
        "/api/call": b'{"plugin": "demo/one", "method": "odd"}',
        "/api/open": place.encode(),
        "/api/prompt": b'{"plugin": "tool/calc", "name": "explain", "arguments": {"topic": "x"}}',
        "/api/resource": b'{"plugin": "tool/calc", "uri": "calc://pi"}',
    }
    async with answering(states) as server:
        await settled(states, server)
        for each in ASKED:
            target = each.path.format(kind="demo", name="one", id=1)
            answer = await server.ask(each.method, target, bodies.get(each.path, b"{}"))
            assert answer.status == 200, answer
            check(each, answer)
        states_now = {each["state"] for each in (await server.get("status"))["plugins"]}
        assert states_now >= {"ready", "failed", "blocked"}
        (stop,) = (each for each in ENDPOINTS if each.path == "/api/stop")
        check(stop, await server.ask("POST", "/api/stop"))


async def test_no_request_is_answered_otherwise(states: PluginTree) -> None:
    async with answering(states) as server:
        await settled(states, server)

        @settings(
            max_examples=150,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(st.sampled_from(ASKED), REFS, QUERIES, BODIES)
        def odd_requests(endpoint: Endpoint, ref: str, query: dict[str, str], body: bytes) -> None:
            kind, _, name = ref.partition("/")
            parts = {"kind": kind, "name": name, "id": query.get("after", name)}
            target = endpoint.path.format_map({k: quote(v, safe="") for k, v in parts.items()})
            answer = ask(server.socket, endpoint.method, f"{target}?{urlencode(query)}", body)
            check(endpoint, answer)

        await to_thread.run_sync(odd_requests)
        assert (await server.get("status"))["main_loop"]["is_responding"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/%ff", 404),
        ("GET", "/api/status/", 404),
        ("DELETE", "/api/status", 405),
        ("GET", "/api/call", 405),
        ("BREW", "/api/status", 405),
    ],
)
async def test_what_is_not_there_is_a_problem(
    tree: PluginTree, method: str, target: str, status: int
) -> None:
    async with answering(tree) as server:
        answer = await server.ask(method, target)
        assert answer.status == status
        check(None, answer)
        if status == 405:
            assert answer.headers["allow"]


@pytest.mark.parametrize("last", ["²", "-", "9" * 5000])
async def test_an_id_that_is_no_number_is_a_problem(tree: PluginTree, last: str) -> None:
    (stream,) = (each for each in ENDPOINTS if each.path == "/api/events")
    async with answering(tree) as server:
        headers = {"Last-Event-ID": last.encode("utf-8").decode("latin-1")}
        check(stream, await server.ask("GET", "/api/events", headers=headers))


async def test_the_document_is_served(tree: PluginTree) -> None:
    async with answering(tree) as server:
        served: dict[str, Any] = await server.get("openapi.json")
        assert served["paths"] == DOCUMENT["paths"]
        validator_for(
            {"$ref": "#/components/schemas/Status"} | {"components": served["components"]}
        )
