"""Who asks, as headers and as a fact."""

from __future__ import annotations

import json

from serving import ref

from dagstack_dev.api.asker import asked_by, headers_of
from dagstack_dev.core.events import AgentAsked


def test_headers_carry_any_name_of_a_client() -> None:
    headers = headers_of("Агент\r\nX: 1", "call")
    assert all(each.isascii() and each.isprintable() for each in headers.values())
    body = json.dumps({"plugin": "demo/a", "method": "greet", "arguments": {"password": "1"}})
    assert asked_by(headers, body.encode()) == AgentAsked(
        ref=ref("a"), client="Агент\r\nX: 1", tool="call", method="greet", arguments=("password",)
    )


def test_a_body_that_is_not_understood_is_that_of_no_plugin() -> None:
    for body in (b"", b"{", b"[1]", b'{"plugin": 3, "arguments": 4}'):
        asked = asked_by(headers_of("c", "t"), body)
        assert asked == AgentAsked(ref=None, client="c", tool="t")
    assert asked_by({}, b"{}") is None
