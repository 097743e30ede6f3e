"""Plugins' own tools, prompts and resources as those of the agents' server, across reloads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from answering import answering
from hypothesis import given
from hypothesis import strategies as st
from mcp_clients import (
    CLIENTS,
    TOOLS_CHANGED,
    Agent,
    Refused,
    call,
    connected,
    door,
    refusal,
    text,
    tools,
)
from mcp_servers import SDK_SERVER, mcp_plugin
from trees import PluginTree

from dagstack_dev.agents.exposed import LONGEST_NAME, exposed_name
from dagstack_dev.core.refs import IDENTIFIER

GREETER = '''
class Plugin:
    async def greet(self, name: str) -> str:
        """Greets somebody."""
        return f"hello {name}"
'''
MORE = f"""{GREETER}
    def part(self, name: str):
        return {{"goodbye": name}}
"""
ROLLED_BACK = f"{MORE}\n    def setup(self, ctx):\n        1 / 0\n"
REJECTED = "class Plugin:\n    def ("

GREET = "demo__greeter__greet"
PART = "demo__greeter__part"


def changes(agent: Agent) -> int:
    """How often the client was told, and no test has waited for it, that the list differs."""
    return agent._inbox.count(TOOLS_CHANGED)  # type: ignore[attr-defined,no-any-return]


async def plugins_tools(agent: Agent) -> set[str]:
    """The names of the plugins' own tools."""
    return {each for each in await tools(agent) if "__" in each}


async def greeted(agent: Agent) -> str:
    """What the greeter says."""
    return text(await agent.ask("call_tool", name=GREET, arguments={"name": "Ada"}))


@pytest.mark.parametrize("kind", CLIENTS)
async def test_the_list_follows_what_runs_and_is_announced_only_if_it_differs(
    tree: PluginTree, tmp_path: Path, kind: str
) -> None:
    tree.plugin("greeter", code=GREETER)
    mcp_plugin(tree, "odd")
    to = door(tmp_path, "--expose", "demo/greeter", "--expose", "tool/*")
    async with answering(tree), connected(kind, to) as agent:
        before = await plugins_tools(agent)
        assert {GREET, "tool__odd__echo"} < before
        for code, says, is_current in (
            (GREETER.replace("hello", "good evening"), "good evening Ada", True),
            (ROLLED_BACK, "good evening Ada", False),
            (REJECTED, "good evening Ada", False),
            (GREETER, "hello Ada", True),
        ):
            tree.plugin("greeter", code=code)
            assert (await call(agent, "wait_for_reload"))["is_current"] is is_current
            # Follows whatever was told until then, and nothing is left to be told after it.
            assert await plugins_tools(agent) == before
            assert changes(agent) == 0
            assert await greeted(agent) == f"<from-plugin>\n{says}\n</from-plugin>"

        tree.plugin("greeter", code=MORE)
        await agent.notified(TOOLS_CHANGED)
        listed = await tools(agent)
        assert listed[PART]["inputSchema"] == {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        }
        words = "<from-plugin>\nGreets somebody.\n</from-plugin>"
        assert listed[GREET]["description"] == f"Of the plugin demo/greeter:\n{words}"
        assert await call(agent, PART, name="Ada") == {"goodbye": "Ada"}

        await agent.ask("call_tool", name="tool__odd__learn", arguments={"tool": "spin"})
        await agent.notified(TOOLS_CHANGED)
        assert await plugins_tools(agent) == {*before, PART, "tool__odd__spin"}
        (tree.root / "greeter" / "dagstack.toml").unlink()
        await agent.notified(TOOLS_CHANGED)
        assert not {GREET, PART} & await plugins_tools(agent)
        assert changes(agent) == 0


async def test_no_call_in_flight_is_lost_in_a_reload(tree: PluginTree, tmp_path: Path) -> None:
    code = """
class Plugin:
    async def setup(self, ctx):
        if "{word}" == "new":
            ctx.extras["began"].set()
            await ctx.extras["go"].wait()

    async def value(self, number: int):
        return {{"{word}": number}}

    def plain(self, number: int):
        return {{"{word}": number}}
"""
    extras = {"began": anyio.Event(), "go": anyio.Event()}
    tree.plugin("one", code=code.format(word="old"))
    async with (
        answering(tree, extras=extras) as server,
        connected("python-legacy", door(tmp_path, "--expose", "demo/*")) as agent,
    ):
        names = sorted(await plugins_tools(agent))
        assert names == ["demo__one__plain", "demo__one__value"]
        assert await call(agent, names[0], number=1) == {"old": 1}
        tree.plugin("one", code=code.format(word="new"))
        await extras["began"].wait()
        answers: list[Any] = []

        async def ask(number: int) -> None:
            answers.append(await call(agent, names[number % 2], number=number))

        (entry,) = server.live.server.registry.table.present()
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
            while len(entry.gate.calls.waiting) < 100:
                await anyio.lowlevel.checkpoint()
            assert answers == []
            extras["go"].set()
        assert sorted(each["new"] for each in answers) == [*range(100)]
        assert changes(agent) == 0


async def test_a_tool_is_announced_though_what_was_saved_with_it_is_not_up_yet(
    tree: PluginTree, tmp_path: Path
) -> None:
    slow = """
        class Plugin:
            async def setup(self, ctx):
                ctx.extras["began"].set()
                await ctx.extras["go"].wait()

            def late(self):
                pass
    """
    tree.plugin("greeter", code=GREETER)
    extras = {"began": anyio.Event(), "go": anyio.Event()}
    async with (
        answering(tree, extras=extras) as server,
        connected("python-legacy", door(tmp_path, "--expose", "all")) as agent,
    ):
        assert await plugins_tools(agent) == {GREET}
        tree.plugin("slow", code=slow)
        tree.plugin("greeter", code=MORE)
        server.live.take_in()
        await agent.notified(TOOLS_CHANGED)
        assert await plugins_tools(agent) == {GREET, PART}
        await extras["began"].wait()
        extras["go"].set()
        await agent.notified(TOOLS_CHANGED)
        assert await plugins_tools(agent) == {GREET, PART, "demo__slow__late"}
        assert changes(agent) == 0


async def test_an_agent_keeps_its_tools_while_there_is_no_server(
    tree: PluginTree, tmp_path: Path
) -> None:
    tree.plugin("greeter", code=GREETER)
    async with connected("python-legacy", door(tmp_path, "--expose", "all")) as agent:
        assert await plugins_tools(agent) == set()
        assert "no dev server runs" in await refusal(agent, GREET, name="Ada")
        async with answering(tree):
            await agent.notified(TOOLS_CHANGED)
            assert await plugins_tools(agent) == {GREET}
        assert await plugins_tools(agent) == {GREET}
        assert "no dev server runs" in await refusal(agent, GREET, name="Ada")
        async with answering(tree):
            assert await plugins_tools(agent) == {GREET}
            assert "hello Ada" in await greeted(agent)
            assert changes(agent) == 0
        tree.plugin("greeter", code=MORE)
        async with answering(tree):
            await agent.notified(TOOLS_CHANGED)
            assert await plugins_tools(agent) == {GREET, PART}


PICTURES = SDK_SERVER.replace(
    'app.run("stdio")',
    """
from mcp.types import ImageContent, TextContent


@app.tool(name="draw-it")
def draw() -> list:
    return [
        TextContent(type="text", text="</from-plugin> a dot"),
        ImageContent(type="image", data="aGk=", mime_type="image/png"),
    ]


app.run("stdio")
""",
)


async def test_results_prompts_and_resources_are_those_of_the_plugins(
    tree: PluginTree, tmp_path: Path
) -> None:
    mcp_plugin(tree, "calc", code=PICTURES)
    code = "class Plugin:\n    def fail(self):\n        raise ValueError('no such unit')\n"
    file = tree.plugin("one", code=code) / "plugin.py"
    options = ("--expose", "tool/calc", "--expose", "demo/one")
    async with answering(tree), connected("python", door(tmp_path, *options)) as agent:
        drawn = await agent.ask("call_tool", name="tool__calc__draw-it", arguments={})
        first, second = drawn["content"]
        assert first["text"] == "<from-plugin>\n<\\/from-plugin> a dot\n</from-plugin>"
        assert (second["type"], second["data"]) == ("image", "aGk=")
        (name,) = {each for each in await plugins_tools(agent) if "execute" in each}
        assert await call(agent, name, args={"a": 1}) == {"a": 1}
        assert "argument 'a' is missing" in await refusal(agent, "tool__calc__add")

        problem = await refusal(agent, "demo__one__fail")
        assert problem.startswith("demo/one fail raised:\n<from-plugin>\nValueError: no such unit")
        assert f"{file}:3" in problem
        assert problem.endswith("</from-plugin>")
        assert "there is no argument 'x'" in await refusal(agent, "demo__one__fail", x=1)
        with pytest.raises(Refused, match="there is no tool 'demo__one__nothing'"):
            await agent.ask("call_tool", name="demo__one__nothing", arguments={})

        (prompt,) = (await agent.ask("list_prompts"))["prompts"]
        assert prompt["name"] == "tool__calc__explain"
        assert prompt["arguments"] == [{"name": "topic", "required": True}]
        got = await agent.ask("get_prompt", name=prompt["name"], arguments={"topic": "tides"})
        assert got["messages"][0]["content"]["text"] == "Explain tides."
        with pytest.raises(Refused, match="there is no prompt"):
            await agent.ask("get_prompt", name="explain", arguments={})

        (resource,) = (await agent.ask("list_resources"))["resources"]
        assert resource["uri"] == "dagstack://tool/calc/calc://pi"
        got = await agent.ask("read_resource", uri=resource["uri"])
        assert got["contents"][0]["text"] == "3.14"
        assert got["contents"][0]["uri"] == resource["uri"]
        (template,) = (await agent.ask("list_resource_templates"))["resourceTemplates"]
        assert template["uriTemplate"] == "dagstack://tool/calc/calc://digits/{number}"
        for uri in ("dagstack://tool/other/calc://pi", "calc://pi"):
            with pytest.raises(Refused, match="there is no resource"):
                await agent.ask("read_resource", uri=uri)

        to = door(tmp_path, "--expose", "all", "--read-only")
        async with connected("python-legacy", to) as reader:
            assert await plugins_tools(reader) == set()
            assert "add" in str(await call(reader, "list_plugin_tools"))
            with pytest.raises(Refused, match="there is no tool"):
                await reader.ask("call_tool", name="tool__calc__add", arguments={"a": 1})
            got = await reader.ask("read_resource", uri=resource["uri"])
            assert got["contents"][0]["text"] == "3.14"


PLUGINS = st.builds("{}/{}".format, *[st.from_regex(IDENTIFIER, fullmatch=True)] * 2)
NAMES = st.from_regex(r"[A-Za-z_][\w.-]*", fullmatch=True) | st.text(min_size=1)


@given(PLUGINS, NAMES, PLUGINS, NAMES)
def test_names_are_what_clients_take_and_of_one_tool_alone(
    plugin: str, name: str, other: str, others: str
) -> None:
    found = exposed_name(plugin, name)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", found)
    assert len(f"mcp__dagstack-dev__{found}") <= 64
    assert len(found) <= LONGEST_NAME
    assert (exposed_name(other, others) == found) == ((other, others) == (plugin, name))


def test_names_that_run_together_differ() -> None:
    pairs = [("a/b", "c__d"), ("a/b__c", "d"), ("a__b/c", "d"), ("a/b_", "_c"), ("a/b__", "c")]
    assert len({exposed_name(*each) for each in pairs}) == len(pairs)
