"""The JSON-RPC of dagstack-plugin-system: what is recognised, and how it is called."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from dagstack_dev.runtimes.mcp.dialect import (
    TOOLS,
    Dialect,
    is_spoken,
    may_repeat,
)


@pytest.mark.parametrize(
    ("answer", "spoken"),
    [
        ({"capabilities": {"tools": True}, "server_info": {"name": "echo"}}, True),
        ({"capabilities": {}}, True),
        ({"hello": "you"}, False),
        ({"capabilities": {}, "serverInfo": {"name": "forgetful", "version": "1"}}, False),
    ],
)
def test_a_handshake_without_a_version_is_in_the_dialect(
    answer: dict[str, Any], *, spoken: bool
) -> None:
    assert is_spoken(answer) is spoken


def test_only_what_does_nothing_may_be_sent_twice() -> None:
    asked = ["initialize", "ping", "tools/list", "get_schema", "execute", "shutdown", ""]
    assert [may_repeat(method) for method in asked] == [True] * 4 + [False] * 3


async def test_one_call_at_a_time_and_in_their_order() -> None:
    asked: list[str] = []
    answers = anyio.Event()

    async def ask(method: str, params: dict[str, Any], seconds: float) -> dict[str, Any]:
        asked.append(f"{method} {params} {seconds}")
        await answers.wait()
        return {"said": len(asked)}

    dialect = Dialect(ask)
    get_schema, execute, call = TOOLS
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dialect.call, get_schema, {}, 1)
        tasks.start_soon(dialect.call, execute, {"args": {"a": 1}}, 2)
        tasks.start_soon(dialect.call, call, {"method": "count", "params": {"b": 2}}, 3)
        for _ in range(10):
            await checkpoint()
        assert asked == ["get_schema {} 1"]
        answers.set()
    assert asked[1:] == ["execute {'args': {'a': 1}} 2", "count {'b': 2} 3"]
