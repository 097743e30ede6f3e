"""An agent edits, waits, and reads what has become of it; who has asked is in the log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from asking import QUIET_START
from command_runs import Watching
from mcp_clients import call, connected, door, refusal, text
from trees import PluginTree


@pytest.fixture
def watching(tree: PluginTree, watch: Callable[..., Watching]) -> Watching:
    tree.plugin("greeter", value="hello")
    tree.plugin("user", depends_on=["greeter"])
    run = watch("plugins", "--log-format", "json", environment=QUIET_START)
    run.event("watch.started")
    return run


async def test_the_receipt_says_what_has_become_of_each_edit(
    watching: Watching, tree: PluginTree, tmp_path: Path
) -> None:
    async with connected("python-legacy", door(tmp_path)) as agent:
        tree.plugin("greeter", value="good evening")
        receipt = await call(agent, "wait_for_reload", timeout_seconds=20)
        assert (receipt["is_current"], receipt["has_ended"]) == (True, True)
        (reload,) = receipt["reloads"]
        assert reload["outcome"] == "committed"
        assert reload["changed"] == ["demo/greeter"]
        assert reload["affected"] == ["demo/greeter", "demo/user"]
        assert reload["duration_ms"] > 0
        assert receipt["wrong"] == []

        nothing = await call(agent, "wait_for_reload")
        assert nothing["reloads"] == []
        assert nothing["last_reload"] == reload
        answer = await agent.ask("call_tool", name="wait_for_reload")
        assert "There are no new reloads.\nThe last: reload 1 committed" in text(answer)
        for after, news in ((0, [reload]), (1, []), (7, [reload])):  # 7 was of an earlier server.
            known = await call(agent, "wait_for_reload", after=after)
            assert known["reloads"] == news

        file = tree.plugin("greeter", code="class Plugin:\n    def (") / "plugin.py"
        rejected = await call(agent, "wait_for_reload")
        assert not rejected["is_current"]
        (wrong,) = rejected["wrong"]
        assert wrong["from_plugin"]
        assert wrong["plugins"] == ["demo/greeter"]
        assert wrong["error"]["type"] == "SyntaxError"
        assert (wrong["error"]["path"], wrong["error"]["line"]) == (str(file), 2)
        assert wrong["running"] == {"demo/greeter": 2}
        words = text(await agent.ask("call_tool", name="wait_for_reload"))
        assert words.startswith("Not everything that is on disk runs.\n")
        assert f"<from-plugin>\nSyntaxError: invalid syntax\n{file}:2\n" in words
        assert "goes on: demo/greeter (generation 2)." in words

        tree.plugin("greeter", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
        rolled_back = await call(agent, "wait_for_reload")
        assert [each["outcome"] for each in rolled_back["reloads"]] == ["rolled_back"]
        (wrong,) = rolled_back["wrong"]
        error = {"type": "ZeroDivisionError", "message": "division by zero"}
        assert wrong["error"] == error | {"path": str(file), "line": 3}
        assert wrong["running"] == {"demo/greeter": 2}

        tree.plugin("greeter", value="mended")
        mended = await call(agent, "wait_for_reload")
        assert mended["is_current"]
        assert mended["wrong"] == []

        for name in ("greeter", "demo/greeter"):
            (reload,) = (await call(agent, "reload", plugins=[name]))["reloads"]
            assert reload["changed"] == ["demo/greeter"]
        assert await refusal(agent, "reload", plugins=["greter"]) == (
            "there is no plugin 'greter'; did you mean 'greeter'?"
        )
        assert "name plugins" in await refusal(agent, "reload")

        logged = (await call(agent, "logs", limit=200))["events"]
    waited, *_, reloaded = (each for each in logged if each["event"] == "agent.asked")
    assert waited["level"] == "info"
    assert waited["fields"]["client"].startswith("mcp ")
    for asked, tool, arguments in (
        (waited, "wait_for_reload", ["timeout_seconds"]),
        (reloaded, "reload", ["plugins", "everything", "timeout_seconds"]),
    ):
        assert (asked["fields"]["tool"], asked["fields"]["arguments"]) == (tool, arguments)


async def test_an_agent_that_waits_is_told_how_long_it_has_and_may_stop(
    watching: Watching, tree: PluginTree, tmp_path: Path
) -> None:
    told, is_told = [], anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))
        is_told.set()

    slow = """
        import asyncio, pathlib
        class Plugin:
            async def setup(self, ctx):
                while not pathlib.Path("go").exists():
                    await asyncio.sleep(0.01)
    """
    async with connected("python-legacy", door(tmp_path)) as agent:
        tree.plugin("greeter", code=slow)
        receipt = await call(agent, "wait_for_reload", timeout_seconds=0.2)
        assert not receipt["has_ended"]
        assert not receipt["is_current"]
        assert receipt["remark"].startswith("not ended after 0.2 s")

        async def until_told() -> None:
            await agent.ask(
                "call_tool",
                name="wait_for_reload",
                arguments={"timeout_seconds": 30},
                progress_callback=on_progress,
            )

        async with anyio.create_task_group() as group:
            group.start_soon(until_told)
            await is_told.wait()
            group.cancel_scope.cancel()
        progress, total, message = told[0]
        assert total == 30
        assert message == f"under way for {progress:g} s"
        (tmp_path / "go").touch()
        assert (await call(agent, "wait_for_reload"))["is_current"]
