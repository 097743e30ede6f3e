"""What plugins offer to be called, as a list and one tool that calls each of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest
from answering import answering
from mcp_clients import call, connected, door, refusal, text, tools
from mcp_servers import mcp_plugin
from trees import PluginTree

CODE = '''
class Plugin:
    def add(self, a: int, b: int = 2):
        """Adds."""
        return a + b

    def much(self):
        return "x" * 5_000_000
'''


async def test_all_that_can_be_called_is_listed_and_can_be_called(
    tree: PluginTree, tmp_path: Path
) -> None:
    tree.plugin("sums", code=CODE)
    mcp_plugin(tree, "odd")
    async with answering(tree), connected("python", door(tmp_path)) as agent:
        everything = await call(agent, "list_plugin_tools")
        assert {each["plugin"] for each in everything["tools"]} == {"demo/sums", "tool/odd"}
        for named in ("sums", "demo/sums", "demo/*"):
            add, _ = (await call(agent, "list_plugin_tools", plugins=[named]))["tools"]
            assert add["from_plugin"]
            assert add["name"] == "add"
            assert add["parameters"]["required"] == ["a"]
        answer = await agent.ask("call_tool", name="list_plugin_tools", arguments={})
        assert "demo/sums:\n<from-plugin>\nadd\nAdds.\n" in text(answer)
        assert "did you mean" in await refusal(agent, "list_plugin_tools", plugins=["sumz"])

        called = await call(agent, "call", plugin="sums", method="add", arguments={"a": 1})
        assert called["result"] == 3
        assert called["from_plugin"]
        arguments = {"plugin": "odd", "method": "echo", "arguments": {"text": "hi"}}
        assert (await call(agent, "call", **arguments))["result"] == "hi"
        answer = await agent.ask("call_tool", name="call", arguments=arguments)
        assert text(answer).endswith("ms:\n<from-plugin>\nhi\n</from-plugin>")
        raised = await refusal(
            agent, "call", plugin="odd", method="raises", arguments={"message": "no </from-plugin>"}
        )
        assert raised.startswith("tool/odd raises raised:\n<from-plugin>\n")
        assert raised.count("</from-plugin>") == 1
        assert "5,000 kB" in await refusal(agent, "call", plugin="sums", method="much")
        assert "call" not in {
            name
            for name, each in (await tools(agent)).items()
            if each["annotations"]["readOnlyHint"]
        }


PATIENT = """
import asyncio

class Plugin:
    def setup(self, ctx):
        self.waits, self.ended = ctx.extras["waits"], ctx.extras["ended"]

    async def wait(self):
        self.waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
"""


@pytest.mark.parametrize("kind", ["python", "python-legacy"])
async def test_a_method_ends_when_the_agent_cancels_its_call(
    kind: str, tree: PluginTree, tmp_path: Path
) -> None:
    tree.plugin("patient", code=PATIENT)
    extras = {"waits": anyio.Event(), "ended": anyio.Event()}
    async with answering(tree, extras=extras), connected(kind, door(tmp_path)) as agent:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(call, agent, "call", plugin="patient", method="wait"))
            await extras["waits"].wait()
            group.cancel_scope.cancel()
        await extras["ended"].wait()
        assert (await call(agent, "wait_for_reload"))["is_current"]
