"""Agents over HTTP, beside the dev page: the same tools, for who has the token."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asking import QUIET_START, Asking
from command_runs import GUARD_SECONDS, Watching
from mcp_clients import TOOLS_CHANGED, Door, call, connected, tools
from serving import make_live
from trees import PluginTree

from dagstack_dev.agents import connection
from dagstack_dev.agents.http import AgentApp
from dagstack_dev.agents.tool import Session
from dagstack_dev.app.local_api import LocalApi
from dagstack_dev.core.events import ReloadCommitted

HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}


class Page:
    """A server with the dev page.

    Args:
        run: the server.
        places: what `dagstack-dev page --json` prints.
    """

    def __init__(self, run: Watching, places: Mapping[str, str]) -> None:
        self.run = run
        self.address = places["address"]
        self.url = places["agents_url"]
        self.token = places["agents_token"]

    @property
    def door(self) -> Door:
        return Door(url=self.url, headers={"Authorization": f"Bearer {self.token}"})

    def post(self, headers: Mapping[str, str]) -> httpx2.Response:
        """The answer to the first request of an agent."""
        accepts = {"Accept": "application/json, text/event-stream"}
        with httpx2.Client(timeout=GUARD_SECONDS, trust_env=False) as client:
            return client.post(self.url, json=HELLO, headers=accepts | dict(headers))


@pytest.fixture
def serve(tree: PluginTree, watch: Callable[..., Watching], tmp_path: Path) -> Callable[..., Page]:
    tree.plugin("greeter", value="hello")

    def serve(*options: str) -> Page:
        run = watch("plugins", "--log-format", "json", "--page", *options, environment=QUIET_START)
        run.event("watch.started")
        return Page(run, Asking(tmp_path).json("page"))

    return serve


async def test_an_agent_gets_the_same_tools_and_receipts_until_the_server_ends(
    serve: Callable[..., Page], tree: PluginTree
) -> None:
    page = serve("--read-only")
    who_is_answered(page)
    async with connected("python-legacy", page.door) as agent:
        offered = await tools(agent)
        assert "reload" not in offered
        assert all(each["annotations"]["readOnlyHint"] for each in offered.values())
        assert (await call(agent, "status"))["server"]["pid"] == page.run.process.pid
        tree.plugin("greeter", value="good evening")
        (reload,) = (await call(agent, "wait_for_reload"))["reloads"]
        assert reload["changed"] == ["demo/greeter"]
        assert (await call(agent, "check"))["plugins"] == 1
        assert (
            "demo/greeter" in (await call(agent, "why", file="plugins/greeter/plugin.py"))["output"]
        )
        tree.plugin("greeter", code="def (")
        (wrong,) = (await call(agent, "wait_for_reload"))["wrong"]
        assert wrong["error"]["type"] == "SyntaxError"
        assert page.run.end() == 0


def who_is_answered(page: Page) -> None:
    """Only who has their token, asks this host and comes from no other site; no cookie helps."""
    root, _, page_token = page.address.partition("/?token=")
    token = {"Authorization": f"Bearer {page.token}"}
    answer = page.post(token)
    assert answer.status_code == 200
    assert '"serverInfo"' in answer.text
    for headers, status, kind in (
        ({}, 401, "not-admitted"),
        ({"Authorization": "Bearer wrong"}, 401, "not-admitted"),
        ({"Authorization": f"Bearer {page_token}"}, 401, "not-admitted"),
        (token | {"Host": "evil.example"}, 403, "foreign"),
        (token | {"Origin": "http://evil.example"}, 403, "foreign"),
        (token | {"Sec-Fetch-Site": "cross-site"}, 403, "foreign"),
    ):
        answer = page.post(headers)
        assert (answer.status_code, json.loads(answer.text)["type"]) == (status, kind)
    assert json.loads(page.post({}).text)["detail"].endswith(": dagstack-dev page --agents")
    with httpx2.Client(timeout=GUARD_SECONDS, trust_env=False) as client:
        asked = {"plugin": "demo/greeter", "method": "value"}
        assert client.post(f"{root}/api/call", json=asked, headers=token).status_code == 401
        assert client.get(f"{root}/api/status", headers=token).status_code == 401
        client.get(page.address, follow_redirects=True)
        assert client.cookies
        accepts = {"Accept": "application/json, text/event-stream", "Origin": root}
        assert client.post(page.url, json=HELLO, headers=accepts).status_code == 401


@pytest.mark.parametrize("kind", ["python", "python-legacy"])
async def test_plugins_tools_are_offered_and_announced_here_too(
    serve: Callable[..., Page], tree: PluginTree, kind: str
) -> None:
    page = serve("--expose", "demo/*")
    async with connected(kind, page.door) as agent, connected(kind, page.door) as other:
        for each in (agent, other):
            assert "demo__greeter__value" in await tools(each)
        tree.plugin("greeter", code="class Plugin:\n    def more(self):\n        return {'x': 1}\n")
        for each in (agent, other):
            await each.notified(TOOLS_CHANGED)
            assert await call(each, "demo__greeter__more") == {"x": 1}
            assert "demo__greeter__value" not in await tools(each)


async def test_agents_of_one_name_say_what_they_know(
    serve: Callable[..., Page], tree: PluginTree
) -> None:
    page = serve()
    async with connected("python", page.door) as agent, connected("python", page.door) as other:
        tree.plugin("greeter", value="good evening")
        told = (await call(agent, "wait_for_reload"))["reloads"]
        assert [each["id"] for each in told] == [1]
        assert (await call(other, "wait_for_reload", after=0))["reloads"] == told


async def test_tests_that_print_without_end_cost_the_server_no_memory(
    serve: Callable[..., Page], tree: PluginTree
) -> None:
    prints = "    for _ in range(30):\n        print('x' * 1_000_000)\n"
    code = f"def test_it():\n{prints}    assert False\n"
    tree.write("greeter/tests/test_it.py", code)
    page = serve()
    async with connected("python-legacy", page.door) as agent:
        await call(agent, "why", file="plugins/greeter/plugin.py")
        before = page.run.peak_memory()
        tested = await call(agent, "run_tests")
        assert tested["output"].endswith("1 plugin: 0 passed, 1 failed\n")
        assert len(tested["output"]) == 30_000
        assert page.run.peak_memory() - before < 15_000_000


async def test_of_many_sessions_the_last_are_remembered(tree: PluginTree, sockets: Path) -> None:
    tree.plugin("greeter")
    live = make_live(tree, api=LocalApi(sockets / "api"))
    async with live.server, asking(AgentApp(str(sockets / "api"))) as client:
        for number in range(105):
            hello = copy.deepcopy(HELLO)
            hello["params"]["clientInfo"]["name"] = f"{number} {'long ' * 10_000}"
            begun = await client.post("/mcp", json=hello)
            session = {"Mcp-Session-Id": begun.headers["mcp-session-id"]}
            for method, given in (
                ("notifications/initialized", {}),
                ("tools/call", {"id": 2, "params": {"name": "wait_for_reload"}}),
            ):
                asked = {"jsonrpc": "2.0", "method": method} | given
                answer = await client.post("/mcp", json=asked, headers=session)
                assert answer.is_success
    sessions = [each for each in gc.get_objects() if type(each) is Session]
    remembered = [each.client for each in sessions if " long " in each.client]
    assert len(remembered) == 100
    assert {*map(len, remembered)} == {100}


async def test_what_is_news_to_a_session_depends_on_no_other(
    tree: PluginTree, sockets: Path
) -> None:
    tree.plugin("greeter", value="hello")
    live = make_live(tree, api=LocalApi(sockets / "api"))
    async with live.server, asking(AgentApp(str(sockets / "api"))) as client:

        async def begin() -> dict[str, str]:
            begun = await client.post("/mcp", json=HELLO)
            session = {"Mcp-Session-Id": begun.headers["mcp-session-id"]}
            hello = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            assert (await client.post("/mcp", json=hello, headers=session)).is_success
            return session

        first = await begin()
        tree.plugin("greeter", value="good evening")
        await live.fact(ReloadCommitted)
        others = [await begin() for _ in range(105)]  # More than are remembered.
        for session, reloads in ((first, [1]), (others[-1], [])):
            params = {"name": "wait_for_reload"}
            asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
            answer = await client.post("/mcp", json=asked, headers=session)
            receipt = json.loads(answer.text.split("data: ")[-1])["result"]["structuredContent"]
            assert [each["id"] for each in receipt["reloads"]] == reloads


async def test_what_keeps_agents_from_being_served_is_answered_as_long_as_it_does(
    tree: PluginTree, sockets: Path
) -> None:
    tree.plugin("greeter")
    async with asking(AgentApp(str(sockets / "api"))) as client:
        for _ in range(2):
            answer = await client.post("/mcp", json=HELLO)
            assert (answer.status_code, answer.json()["type"]) == (500, "defect")
            assert answer.json()["detail"].startswith("NoServer: no dev server runs for ")
        async with make_live(tree, api=LocalApi(sockets / "api")).server:
            assert (await client.post("/mcp", json=HELLO)).is_success
        gone = await client.post("/mcp", json=HELLO)
        assert (gone.status_code, gone.json()["type"]) == (503, "ending")


async def test_a_server_that_was_too_busy_for_a_word_is_asked_again(
    tree: PluginTree, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = AgentApp(str(sockets / "api"))
    async with make_live(tree, api=LocalApi(sockets / "api")).server, asking(app) as client:
        with monkeypatch.context() as busy:
            busy.setattr(connection, "HELLO_SECONDS", 0.0)
            answer = await client.post("/mcp", json=HELLO)
            assert "there is no word of it" in answer.json()["detail"]
        assert (await client.post("/mcp", json=HELLO)).is_success


def asking(app: AgentApp) -> httpx2.AsyncClient:
    """Return what asks an app of this process."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://127.0.0.1",
        headers={"Accept": "application/json, text/event-stream"},
    )
