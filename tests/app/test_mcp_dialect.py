"""Plugins whose servers speak the JSON-RPC of dagstack-plugin-system, under a dev server."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_servers import mcp_plugin
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import PluginRef, ServerExited, ServerLost, State, ToolArgumentsInvalid, ToolError
from dagstack_dev.core.errors.remote import ToolTimeout
from dagstack_dev.core.events import ReloadCommitted, Transition

EXAMPLES = Path(__file__).parents[2] / ".cache" / "dagstack-plugin-system" / "examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="scripts/test fetches the sources of dagstack-plugin-system"
)

SERVER = """
import json, os, sys
from pathlib import Path

WORD = "one"

for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request.get("params", {})
    if "id" not in request:
        continue
    answer = {"jsonrpc": "2.0", "id": request["id"]}
    if method == "initialize":
        answer["result"] = {"capabilities": {}}
    elif method == "get_schema":
        answer["result"] = [{"name": WORD}]
    elif method == "execute" and params["args"].get("die"):
        print("no more", file=sys.stderr, flush=True)
        os._exit(3)
    elif method == "execute" and params["args"].get("hang"):
        continue
    elif method == "execute":
        answer["result"] = {"word": WORD, "args": params["args"]}
    elif method == "shutdown":
        Path("../asked.txt").write_text("shutdown")
        answer["result"] = None
    else:
        answer["error"] = {"code": -32601, "message": "no " + method}
    print(json.dumps(answer), flush=True)
    if method == "shutdown" and WORD != "deaf":
        break
"""


async def test_its_methods_are_called_and_follow_reloads(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "old", code=SERVER)
    async with serving(tree) as live:
        plugin = live.plugin("old", "tool")
        assert await plugin.get_schema() == [{"name": "one"}]
        assert await plugin.execute({"a": None}) == {"word": "one", "args": {"a": None}}
        assert await plugin.call("execute", {"args": {}}) == {"word": "one", "args": {}}
        live.forget()
        edit(folder / "server.py", '"one"', '"two"')
        await live.fact(ReloadCommitted)
        assert await plugin.get_schema() == [{"name": "two"}]
        assert list(plugin.tools) == ["get_schema", "execute", "call"]
        assert await plugin.list_resources() == ()


async def test_what_goes_wrong_with_a_call_is_an_error_of_ours(tree: PluginTree) -> None:
    mcp_plugin(tree, "old", code=SERVER)
    async with serving(tree, retry_seconds=3600, retry_limit_seconds=3600) as live:
        plugin = live.plugin("old", "tool")
        with pytest.raises(ToolError, match="no frobnicate") as caught:
            await plugin.call("frobnicate")
        assert caught.value.code == -32601
        with pytest.raises(ToolArgumentsInvalid, match="args"):
            await plugin.execute()
        with pytest.raises(ToolTimeout):
            await plugin.call_tool("execute", {"args": {"hang": True}}, timeout=0.05)
        assert (await plugin.execute({}))["word"] == "one"
        with pytest.raises(ServerExited, match="exited with code 3"):
            await plugin.execute({"die": True})
        await live.fact(Transition, lambda fact: fact.to_state is State.FAILED)


@pytest.mark.parametrize("word", ["one", "deaf"])
async def test_it_is_asked_to_shut_down_and_ended_in_any_case(tree: PluginTree, word: str) -> None:
    mcp_plugin(tree, "old", code=SERVER.replace('"one"', f'"{word}"'))
    async with serving(tree) as live:
        assert live.states == {"old": "ready"}
        connections = live.server.registry.table.entries[PluginRef("tool", "old")].generation
    assert (tree.root / "asked.txt").read_text() == "shutdown"
    assert connections is not None
    assert connections.survivors() == ()


class Handler(BaseHTTPRequestHandler):
    """Answers as such a server does, and hangs up on what it is told to."""

    heard: list[str]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method = request["method"]
        self.heard.append(method)
        if request.get("params", {}).get("args", {}).get("hang_up"):
            self.connection.close()
            return
        results: dict[str, Any] = {
            "initialize": {"capabilities": {}, "server_info": {"name": "remote"}},
            "get_schema": ["remote"],
            "execute": request.get("params"),
        }
        answer = {"jsonrpc": "2.0", "id": request.get("id"), "result": results.get(method, {})}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def remote() -> Iterator[tuple[str, list[str]]]:
    """Such a server's URL, and the methods that it has been asked for."""
    heard: list[str] = []
    handler = type("Remote", (Handler,), {"heard": heard})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/rpc", heard
        finally:
            server.shutdown()
            thread.join()


def http_plugin(tree: PluginTree, url: str) -> None:
    tree.write(
        tree.root / "old/dagstack.toml",
        f"""\
        [plugin]
        name = "old"
        kind = "tool"
        core_version = ">=0.1"
        runtime = "mcp_http"
        endpoint = "{url}"
        """,
    )


async def test_over_http_what_may_have_arrived_is_not_sent_again(tree: PluginTree) -> None:
    with remote() as (url, heard):
        http_plugin(tree, url)
        async with serving(tree) as live:
            plugin = live.plugin("old", "tool")
            assert await plugin.get_schema() == ["remote"]
            assert await plugin.execute({"a": 1}) == {"args": {"a": 1}}
            heard.clear()
            with pytest.raises((ToolError, ServerLost)):
                await plugin.execute({"hang_up": True})
            assert heard.count("execute") == 1
        assert heard[-1] == "shutdown"


@needs_examples
async def test_the_originals_own_servers_run_as_they_are(tree: PluginTree) -> None:
    code = (EXAMPLES / "echo_mcp_server.py").read_text(encoding="utf-8")
    mcp_plugin(tree, "local", code=code)
    script = str(EXAMPLES / "echo_mcp_http_server.py")
    async with await anyio.open_process([sys.executable, script]) as service:
        assert service.stdout is not None
        port = (await service.stdout.receive()).decode().strip().partition("PORT:")[2]
        http_plugin(tree, f"http://127.0.0.1:{port}/")
        async with serving(tree) as live:
            for name in ("local", "old"):
                plugin = live.plugin(name, "tool")
                assert (await plugin.get_schema())["name"] == "echo"
                assert await plugin.execute({"msg": "hello"}) == {"echoed": "hello"}
        service.terminate()
