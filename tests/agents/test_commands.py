"""An agent has plugins checked and tested, with and without a running server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
from asking import QUIET_START
from command_runs import Watching
from mcp_clients import Agent, call, connected, door, refusal, text
from trees import PluginTree

from dagstack_dev.runtimes import process_groups


async def test_findings_have_their_place_and_what_is_cancelled_ends(
    tree: PluginTree, tmp_path: Path
) -> None:
    file = tree.plugin("greeter", code="def (") / "plugin.py"
    async with connected("python", door(tmp_path)) as agent:
        assert "name a folder with plugins" in await refusal(agent, "check")
        found = await call(agent, "check", paths=["plugins"])
        assert found["plugins"] == 1
        (finding,) = found["findings"]
        assert finding["from_plugin"]
        assert (finding["path"], finding["line"]) == (str(file.relative_to(tmp_path)), 1)
        (tmp_path / "dagstack-dev.toml").write_text('paths = ["plugins"]')
        assert (await call(agent, "check"))["findings"] == [finding]
        tree.plugin("greeter", value="hello")
        answer = await agent.ask("call_tool", name="check", arguments={})
        assert text(answer) == "Nothing found in 1 plugin."
        await what_is_cancelled(agent, tree, tmp_path)


async def test_why_and_run_tests_look_at_what_the_server_watches(
    tree: PluginTree, watch: Callable[..., Watching], tmp_path: Path
) -> None:
    tree.plugin("greeter", value="hello")
    tree.plugin("user", depends_on=["greeter"])
    run = watch("plugins", "--log-format", "json", environment=QUIET_START)
    run.event("watch.started")
    async with connected("python", door(tree.root, "--server", tree.root)) as agent:
        why = await call(agent, "why", file="plugins/greeter/plugin.py")
        assert why["passed"]
        assert "demo/user depends on it" in why["output"]
        why = await call(agent, "why", file="--help")
        assert "--help: there is no such file" in why["output"]
        tested = await call(agent, "run_tests")
        assert tested["passed"]
        assert "2 plugins: 2 passed" in tested["output"]
        tree.write("user/tests/test_it.py", "def test_it():\n    assert 1 == 2\n")
        tested = await call(agent, "run_tests")
        assert not tested["passed"]
        assert "assert 1 == 2" in tested["output"]


async def test_they_look_at_it_as_the_server_was_told_to(
    tree: PluginTree, watch: Callable[..., Watching], tmp_path: Path
) -> None:
    code = """
        from shared_words import HELLO
        class Plugin:
            def setup(self, ctx):
                self.name = ctx.config["name"]
    """
    tree.plugin("greeter", code=code)
    tree.plugin("left_out", code="def (")
    tree.write(tmp_path / "lib/shared_words.py", "HELLO = 'hello'\n")
    tree.write(tmp_path / "lib/a_plugin_of_no_root/dagstack.toml", "")
    config = tree.write(tmp_path / "elsewhere/our config.toml", '[demo.greeter]\nname = "Ada"\n')
    options = ("--config", config, "--watch-code", "lib", "--ignore", "left_out")
    run = watch("plugins", "--log-format", "json", *map(str, options), environment=QUIET_START)
    run.event("watch.started")
    async with connected("python-legacy", door(tmp_path)) as agent:
        assert (await call(agent, "check"))["plugins"] == 1
        tree.write(config, '[demo.greter]\nname = "Ada"\n')
        findings = (await call(agent, "check"))["findings"]
        assert [Path(each["path"]).name for each in findings] == [config.name]
        tree.write(config, '[demo.greeter]\nname = "Ada"\n')
        why = await call(agent, "why", file="lib/shared_words.py")
        assert "demo/greeter" in why["output"]
        assert "1 plugin: 1 passed" in (await call(agent, "run_tests"))["output"]


async def what_is_cancelled(agent: Agent, tree: PluginTree, tmp_path: Path) -> None:
    """A call that is cancelled ends all that it has started."""
    group = tmp_path / "group"
    tree.write(
        "greeter/tests/test_it.py",
        "import os, pathlib, time\n\ndef test_it():\n"
        f"    pathlib.Path({str(group)!r}).write_text(str(os.getpgrp()) + '\\n')\n"
        "    time.sleep(1000)\n",
    )
    problem = await refusal(agent, "run_tests", paths=["plugins"], timeout_seconds=0.1)
    assert problem.startswith("not ended after 0.1 s; ")
    group.unlink(missing_ok=True)  # On a slow machine it has come as far as that.
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(call, agent, "run_tests", paths=["plugins"]))
        while not (group.exists() and group.read_text().endswith("\n")):
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    while process_groups.is_alive(int(group.read_text())):
        await anyio.sleep(0.01)
