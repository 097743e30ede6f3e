"""The same tools over HTTP at `/mcp`, with the official SDKs, for those who know the token."""

from __future__ import annotations

import json

import pytest
from mcp_clients import CLIENTS, Door, call, connected, tools
from pages import Paging, paging
from trees import PluginTree

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "any", "version": "1"},
    },
}
AS_A_CLIENT = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}


def at(page: Paging, token: str) -> Door:
    url = f"http://127.0.0.1:{page.access.port}/mcp"
    return Door(url=url, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_agent_with_the_token_edits_and_reads_the_receipt(
    client: str, tree: PluginTree
) -> None:
    tree.plugin("greeter", value="hello")
    async with paging(tree) as page, connected(client, at(page, page.access.agents_token)) as agent:
        assert {"status", "wait_for_reload", "reload"} <= {*(await tools(agent))}
        tree.plugin("greeter", value="good evening")
        edited = await call(agent, "wait_for_reload")
        assert [each["changed"] for each in edited["reloads"]] == [["demo/greeter"]]
        tree.plugin("greeter", code="def (")
        rejected = await call(agent, "wait_for_reload")
        assert [each["error"]["type"] for each in rejected["wrong"]] == ["SyntaxError"]
        assert page.live.plugin("greeter").value() == "good evening"


@pytest.mark.parametrize("client", CLIENTS)
async def test_no_client_connects_without_the_right_token(client: str, tree: PluginTree) -> None:
    tree.plugin("greeter")
    async with paging(tree) as page:
        for token in ("", "wrong", page.access.token):
            with pytest.raises(Exception):  # noqa: B017, PT011 - each SDK has its own
                async with connected(client, at(page, token)):
                    pytest.fail(f"connected with {token!r}")


async def test_a_request_from_elsewhere_is_refused_whatever_else_is_right(tree: PluginTree) -> None:
    tree.plugin("greeter")
    async with paging(tree) as page:
        port, body = page.access.port, json.dumps(INITIALIZE).encode()

        async def status(**headers: str) -> int:
            given = AS_A_CLIENT | {name.replace("_", "-"): each for name, each in headers.items()}
            return (await page.asked("POST", "/mcp", given, body)).status

        right = page.agents_bearer["Authorization"]
        assert await status(Authorization=right) == 200
        assert await status(Authorization=right, Origin=f"http://127.0.0.1:{port}") == 200
        for origin in ("http://attacker.example", f"http://127.0.0.1:{port + 1}", "null", ""):
            assert await status(Authorization=right, Origin=origin) == 403, origin
        for host in (f"attacker.example:{port}", f"127.0.0.1:{port + 1}", "127.0.0.1", ""):
            assert await status(Authorization=right, Host=host) == 403, host
        assert await status(Authorization=right, Sec_Fetch_Site="cross-site") == 403
        for wrong in ("", "Bearer", "Bearer wrong", right.replace("Bearer", "Basic"), right[:-1]):
            assert await status(Authorization=wrong) in {401, 403}, wrong
        # What a browser sends by itself is not enough: pages of other ports share its cookies.
        assert await status(**page.cookie) in {401, 403}
        # Nor is what lets the page in.
        assert await status(**page.bearer) == 401
        assert await status(**page.admitted, Origin=f"http://127.0.0.1:{port}") == 401
