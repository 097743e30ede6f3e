"""What plugins offer to be called: tools, prompts and resources, and calls of them."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import pytest
from answering import Answering, answering
from mcp_servers import SDK_SERVER, mcp_plugin
from trees import PluginTree

from dagstack_dev.api.client import ApiError
from dagstack_dev.core.events import PluginToolsChanged, ReloadStarted
from dagstack_dev.core.lifecycle import State

GREETER = '''
class Plugin:
    async def greet(self, name: str, times: int = 1) -> str:
        """Greets somebody.

        As of https://ada:hunter2a@example.org/names.
        """
        return f"hello {name}" * times

    def only_by_place(self, one, /):
        return one

    def dev_panel_state(self):
        return {}

    def _own(self): ...
'''


async def names(server: Answering, *among: str) -> list[str]:
    """What can be called, as `kind/name:tool`."""
    found = await server.get("tools", plugin=among or None)
    return [f"{each['plugin']}:{each['name']}" for each in found["tools"]]


async def test_methods_are_listed_with_docstring_and_schema(tree: PluginTree) -> None:
    tree.plugin("greeter", code=GREETER)
    async with answering(tree) as server:
        listed = await server.get("tools")
    (greet,) = listed["tools"]
    assert greet["plugin"] == "demo/greeter"
    assert greet["name"] == "greet"
    assert greet["description"] == ("Greets somebody.\n\nAs of https://ada:***@example.org/names.")
    assert greet["parameters"]["properties"] == {
        "name": {"type": "string"},
        "times": {"type": "integer", "default": 1},
    }
    assert greet["parameters"]["required"] == ["name"]
    assert listed["is_starting"] is False


async def test_a_server_has_its_tools_by_the_names_that_it_gives_them(tree: PluginTree) -> None:
    mcp_plugin(tree, "calc", code=SDK_SERVER)
    async with answering(tree) as server:
        listed = {each["name"]: each for each in (await server.get("tools"))["tools"]}
        assert [*listed] == ["add", "names", "refuse", "tool.calc.execute"]
        assert listed["add"]["description"] == "Add two numbers."
        assert listed["add"]["parameters"]["required"] == ["a"]
        assert listed["add"]["returns"]["properties"]["result"]["type"] == "integer"
        answer = await server.post(
            "call", plugin="tool/calc", method="tool.calc.execute", arguments={"args": {"a": 1}}
        )
        assert answer["result"] == {"a": 1}


async def test_some_plugins_are_named_by_a_pattern(tree: PluginTree) -> None:
    for name in ("one", "other"):
        tree.plugin(name, code="class Plugin:\n    def go(self): ...\n")
    tree.plugin("third", kind="tool", code="class Plugin:\n    def go(self): ...\n")
    async with answering(tree) as server:
        assert await names(server, "demo/o*") == ["demo/one:go", "demo/other:go"]
        assert await names(server, "tool/third", "demo/one") == ["demo/one:go", "tool/third:go"]
        assert await names(server, "demo/nobody") == []
        assert len(await names(server)) == 3


async def test_the_digest_differs_only_if_the_list_does(tree: PluginTree) -> None:
    tree.plugin("one", code="class Plugin:\n    def go(self): return 1\n")
    async with answering(tree) as server:
        first = await server.get("tools")
        tree.plugin("one", code="class Plugin:\n    def go(self): return 2\n")
        await server.wait()
        assert (await server.get("tools"))["digest"] == first["digest"]
        tree.plugin("one", code="class Plugin:\n    def go(self, more=1): return 2\n")
        await server.wait()
        assert (await server.get("tools"))["digest"] != first["digest"]


CRASHING = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx

    async def _fail(self):
        raise ValueError("no more")

    def crash(self):
        self.ctx.start_soon(self._fail)
"""
SLOW = """
class Plugin:
    async def setup(self, ctx):
        await ctx.extras["gates"].pop().wait()
        {then}

    def {name}(self): return "{name}"
"""


async def test_what_may_be_rolled_back_does_not_show(tree: PluginTree) -> None:
    first, second = anyio.Event(), anyio.Event()
    first.set()
    tree.plugin("one", code=SLOW.format(name="before", then=""))
    async with answering(tree, extras={"gates": [second, first]}) as server:
        assert await names(server) == ["demo/one:before"]
        tree.plugin("one", code=SLOW.format(name="after", then="1 / 0"))
        await server.live.fact(ReloadStarted)
        while server.live.state("one") is not State.SETTING_UP:
            await anyio.lowlevel.checkpoint()
        assert await names(server) == ["demo/one:before"]
        second.set()
        await server.wait()
        assert await names(server) == ["demo/one:before"]


async def test_what_has_failed_offers_what_it_did_until_it_is_gone(tree: PluginTree) -> None:
    folder = tree.plugin("one", code=CRASHING)
    async with answering(tree) as server:
        assert await names(server) == ["demo/one:crash"]
        await server.post("call", plugin="demo/one", method="crash")
        while server.live.state("one") is not State.FAILED:
            await anyio.lowlevel.checkpoint()
        assert await names(server) == ["demo/one:crash"]
        (folder / "dagstack.toml").unlink()
        await server.wait()
        assert await names(server) == []


async def test_a_plain_method_waits_for_the_reload_as_others_do(tree: PluginTree) -> None:
    code = """
class Plugin:
    async def setup(self, ctx):
        if "{word}" == "new":
            ctx.extras["started"].set()
            await ctx.extras["go"].wait()

    def plain(self):
        return "{word}"
"""
    extras = {"started": anyio.Event(), "go": anyio.Event()}
    tree.plugin("one", code=code.format(word="old"))
    async with answering(tree, extras=extras) as server:
        tree.plugin("one", code=code.format(word="new"))
        await extras["started"].wait()
        answers: list[Any] = []

        async def call() -> None:
            answer = await server.post("call", plugin="demo/one", method="plain")
            answers.append(answer["result"])

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(call)
            gate = server.live.server.registry.table.entries[("demo", "one")].gate  # type: ignore[index]
            while len(gate.calls.waiting) < 5:
                await anyio.lowlevel.checkpoint()
            extras["go"].set()
        assert answers == ["new"] * 5


async def test_what_a_tool_raises_is_its_answer(tree: PluginTree) -> None:
    mcp_plugin(tree, "calc", code=SDK_SERVER)
    async with answering(tree) as server:
        answer = await server.post(
            "call", plugin="tool/calc", method="refuse", arguments={"reason": "no"}
        )
        assert answer["error"]["type"] == "ToolError"
        assert "ValueError: no" in answer["error"]["message"]
        with pytest.raises(ApiError, match="argument 'a' is missing") as caught:
            await server.post("call", plugin="tool/calc", method="add")
        assert caught.value.problem["type"] == "bad-request"
        assert caught.value.problem["argument"] == "a"
        answer = await server.post(
            "call", plugin="tool/calc", method="add", arguments={"a": "1"}, coerce=True
        )
        assert answer["result"] == 3
        assert answer["content"] == [{"type": "text", "text": "3"}]


async def test_an_error_of_another_plugin_is_what_the_plugin_raises(tree: PluginTree) -> None:
    tree.plugin("one", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n")
    code = """
class Plugin:
    def setup(self, ctx):
        self.one = ctx.registry.get_plugin("demo", "one")

    def ask(self):
        return self.one.value()
"""
    tree.plugin("asks", code=code)
    async with answering(tree) as server:
        answer = await server.post("call", plugin="demo/asks", method="ask")
        assert answer["error"]["type"] == "PluginUnavailable"
        with pytest.raises(ApiError, match="demo/one") as caught:
            await server.post("call", plugin="demo/one", method="value")
        assert caught.value.problem["type"] == "not-callable"


async def test_prompts_and_resources_of_servers_are_listed_and_got(tree: PluginTree) -> None:
    mcp_plugin(tree, "calc", code=SDK_SERVER)
    tree.plugin("one")
    async with answering(tree) as server:
        (prompt,) = (await server.get("prompts"))["prompts"]
        assert prompt["plugin"] == "tool/calc"
        assert prompt["name"] == "explain"
        assert prompt["arguments"] == {"topic": True}
        got = await server.post(
            "prompt", plugin="tool/calc", name="explain", arguments={"topic": "tides"}
        )
        (message,) = got["messages"]
        assert message["content"]["text"] == "Explain tides."
        listed = (await server.get("resources"))["resources"]
        assert [(each["uri"], each["is_template"]) for each in listed] == [
            ("calc://digits/{number}", True),
            ("calc://pi", False),
        ]
        got = await server.post("resource", plugin="tool/calc", uri="calc://pi")
        assert got["contents"][0]["text"] == "3.14"
        got = await server.post("resource", plugin="tool/calc", uri="calc://digits/12")
        assert base64.b64decode(got["contents"][0]["blob"]) == b"12"
        assert got["contents"][0]["mimeType"] == "application/octet-stream"
        got = await server.post("resource", plugin="tool/calc", uri="calc://nothing")
        assert got["error"]["type"] == "ToolError"
        with pytest.raises(ApiError, match="is no MCP server") as caught:
            await server.post("prompt", plugin="demo/one", name="explain")
        assert caught.value.problem["type"] == "not-callable"


async def test_a_server_that_learns_a_tool_reports_it(tree: PluginTree) -> None:
    mcp_plugin(tree, "odd")
    async with answering(tree) as server:
        before = await server.get("tools")
        await server.post("call", plugin="tool/odd", method="learn", arguments={"tool": "spin"})
        assert (await server.live.fact(PluginToolsChanged)).ref == ("tool", "odd")
        assert "tool/odd:spin" in await names(server)
        assert (await server.get("tools"))["digest"] != before["digest"]
