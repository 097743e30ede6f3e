"""Panels: what methods called `dev_panel_...` return is shown, and harms nothing."""

from __future__ import annotations

from typing import Any

import pytest
from answering import Answering, answering
from mcp_servers import mcp_plugin
from serving import edit
from trees import PluginTree

from dagstack_dev.api import calls
from dagstack_dev.api.client import ApiError

PANELS = """
from dataclasses import dataclass


@dataclass
class Order:
    number: int
    token: str


class Plugin:
    def dev_panel_open_orders(self):
        return [Order(1, "s3cret-of-order")]

    async def dev_panel_notes(self):
        return "# Notes\\n\\n<script>alert(1)</script> password=hunter2a"

    def dev_panel_FAQ(self):
        return None

    def dev_panel_(self):
        raise AssertionError("it has no title")

    def panel(self):
        raise AssertionError("it is no panel")
"""
WRONG = """
import asyncio


class Plugin:
    def dev_panel_raises(self):
        return self.helper()

    def helper(self):
        raise LookupError("no such thing")

    def dev_panel_hangs(self):
        return asyncio.get_running_loop().create_future()

    def dev_panel_wants(self, more):
        return more

    def dev_panel_odd(self):
        return object()

    def dev_panel_works(self):
        return 1
"""


async def shown(server: Answering, name: str, kind: str = "demo") -> dict[str, Any]:
    """The panels of a plugin by their titles."""
    panels = (await server.get("plugins", kind, name, "panels"))["panels"]
    detail = await server.get("plugins", kind, name)
    assert detail["panels"] == [each["title"] for each in panels]
    return {each.pop("title"): each for each in panels}


async def test_a_text_is_markdown_and_all_else_is_json(tree: PluginTree) -> None:
    tree.plugin("one", code=PANELS)
    tree.plugin("other")
    async with answering(tree) as server:
        found = await shown(server, "one")
        assert await shown(server, "other") == {}
    nothing: dict[str, Any] = {"error": None, "account": []}
    orders = [{"number": 1, "token": "***"}]
    notes = "# Notes\n\n<script>alert(1)</script> password=***"
    assert found == {
        "FAQ": {"kind": "json", "value": None, **nothing},
        "Notes": {"kind": "markdown", "value": notes, **nothing},
        "Open orders": {"kind": "json", "value": orders, **nothing},
    }


async def test_a_panel_that_fails_says_why_and_keeps_no_other_from_being_shown(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PANEL_SECONDS", 2.0)
    folder = tree.plugin("one", code=WRONG)
    async with answering(tree) as server:
        found = await shown(server, "one")
        assert (await server.at_rest())["is_current"]
    assert found["Works"]["value"] == 1
    assert "<object object" in found["Odd"]["value"]
    raised = found["Raises"]
    assert (raised["value"], raised["error"]["type"]) == (None, "LookupError")
    assert (raised["error"]["path"], raised["error"]["line"]) == (f"{folder}/plugin.py", 10)
    message, *frames = raised["account"]
    assert message["text"] == "LookupError: no such thing"
    assert [
        (each["path"], each["line"], each["function"], each["code"][-1]["text"].strip())
        for each in (part["frame"] for part in frames)
    ] == [
        (f"{folder}/plugin.py", 7, "Plugin.dev_panel_raises", "return self.helper()"),
        (f"{folder}/plugin.py", 10, "Plugin.helper", 'raise LookupError("no such thing")'),
    ]
    assert found["Hangs"]["error"]["type"] == "timed-out"
    assert found["Wants"]["error"]["type"] == "bad-request"
    assert "more" in found["Wants"]["error"]["message"]


async def test_panels_come_and_go_with_the_generation(tree: PluginTree) -> None:
    folder = tree.plugin("one", code=PANELS)
    async with answering(tree) as server:
        assert "Notes" in await shown(server, "one")
        edit(folder / "plugin.py", "dev_panel_notes", "dev_panel_remarks")
        await server.wait()
        assert [*await shown(server, "one")] == ["FAQ", "Open orders", "Remarks"]
        tree.plugin("one", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
        await server.wait()
        assert "Remarks" in await shown(server, "one")
        (folder / "dagstack.toml").unlink()
        assert "one" not in await server.wait()
        with pytest.raises(ApiError, match="there is no plugin 'demo/one'"):
            await server.get("plugins", "demo", "one", "panels")


async def test_a_plugin_that_does_not_run_has_no_panels(tree: PluginTree) -> None:
    tree.plugin("one", code=f"{PANELS}\n    def setup(self, ctx):\n        1 / 0\n")
    async with answering(tree) as server:
        assert await shown(server, "one") == {}


@pytest.mark.parametrize("model", ["thread_cpu_bound", "process_cpu_bound"])
async def test_panels_are_shown_from_wherever_calls_run(tree: PluginTree, model: str) -> None:
    tree.plugin("one", code=PANELS, manifest=f'execution_model = "{model}"\n')
    async with answering(tree) as server:
        found = await shown(server, "one")
    assert [*found] == ["FAQ", "Notes", "Open orders"]
    assert found["Notes"]["kind"] == "markdown"
    assert found["Notes"]["value"].startswith("# Notes")


async def test_a_tool_of_a_server_can_be_a_panel(tree: PluginTree) -> None:
    code = (
        "from mcp.server import MCPServer\n\n"
        'app = MCPServer("one")\n\n\n'
        "@app.tool()\ndef dev_panel_cache() -> dict[str, int]:\n    return {'hits': 3}\n\n\n"
        'app.run("stdio")\n'
    )
    mcp_plugin(tree, "one", code=code)
    async with answering(tree) as server:
        assert (await shown(server, "one", "tool"))["Cache"]["value"] == {"hits": 3}
