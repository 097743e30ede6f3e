"""MCP servers among other plugins: order, reloads, roll-backs, calls that wait."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from mcp_servers import is_running, mcp_plugin
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.events import PluginRejected, ReloadCommitted, ReloadRolledBack, Transition
from dagstack_dev.core.lifecycle import State

CALLER = """
class Plugin:
    async def setup(self, ctx):
        self.server = ctx.registry.get_plugin("tool", "server")
        self.found = await self.server.value()

    async def value(self):
        return await self.server.value()
"""


async def test_plugins_depend_on_servers_and_servers_on_plugins(tree: PluginTree) -> None:
    tree.plugin("base")
    mcp_plugin(tree, "server", depends_on=["base"])
    tree.plugin("caller", code=CALLER, depends_on=["server"])
    async with serving(tree) as live:
        assert live.reached(State.READY) == ["base", "server", "caller"]
        assert await live.plugin("caller").value() == "1"
    assert live.reached(State.STOPPED) == ["caller", "server", "base"]


@pytest.mark.parametrize("file", ["server.py", "prompts/system.txt", "data.json", "dagstack.toml"])
async def test_any_file_of_the_folder_restarts_the_server(tree: PluginTree, file: str) -> None:
    folder = mcp_plugin(tree, "server")
    tree.write(folder / "prompts/system.txt", "be brief")
    tree.write(folder / "data.json", "{}")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        old = int(await server.pid())
        live.forget()
        path = folder / file
        path.write_text(path.read_text() + ("\n" if file != "data.json" else " "))
        await live.fact(ReloadCommitted)
        new = int(await server.pid())
        assert new != old
        assert not is_running(old)
        assert [
            each.generation for each in live.of(Transition) if each.to_state is State.READY
        ] == [2]


async def test_a_restart_brings_the_new_answers_to_those_who_hold_the_proxy(
    tree: PluginTree,
) -> None:
    folder = mcp_plugin(tree, "server")
    tree.plugin("caller", code=CALLER, depends_on=["server"])
    async with serving(tree) as live:
        edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
        await live.fact(ReloadCommitted)
        assert await live.plugin("caller").value() == "2"
        assert live.instance("caller").found == "2"


async def test_a_call_during_a_restart_waits_for_the_new_server(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    answers: list[str] = []
    async with serving(tree) as live:
        server = live.plugin("server", "tool")

        async def call() -> None:
            answers.append(await server.value())

        edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
        async with anyio.create_task_group() as tasks:
            await live.fact(Transition, lambda fact: fact.to_state is State.STOPPED)
            tasks.start_soon(call)
        assert answers == ["2"]


async def test_a_call_in_flight_is_answered_before_the_server_stops(tree: PluginTree) -> None:
    slow = "import time\n\nVALUE = 1\nSLOW = 0.3\n"
    folder = mcp_plugin(tree, "server")
    text = (folder / "server.py").read_text()
    text = text.replace("VALUE = 1\n", slow, 1).replace(
        '        if name == "echo":', '        if name == "echo":\n            time.sleep(SLOW)', 1
    )
    (folder / "server.py").write_text(text)
    answers: list[str] = []
    async with serving(tree) as live, anyio.create_task_group() as tasks:
        server = live.plugin("server", "tool")

        async def call() -> None:
            answers.append(await server.echo("old"))

        tasks.start_soon(call)
        await anyio.lowlevel.checkpoint()
        edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
        await live.fact(ReloadCommitted)
        assert answers == ["old"]


async def test_a_new_server_that_does_not_come_up_gives_way_to_the_old(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        live.forget()
        edit(folder / "server.py", "VALUE = 1", "VALUE = 2\nraise RuntimeError('half done')")
        await live.fact(ReloadRolledBack)
        error = live.status("server", "tool").error
        assert "RuntimeError: half done" in str(error)
        assert await server.value() == "1"
        live.forget()
        edit(folder / "server.py", "raise RuntimeError('half done')", "")
        await live.fact(ReloadCommitted)
        assert await server.value() == "2"


async def test_the_old_server_does_not_meet_files_that_came_later(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    async with serving(tree) as live:
        live.forget()
        tree.write(folder / "json.py", "raise RuntimeError('not the json of the library')")
        await live.fact(ReloadRolledBack)
        assert await live.plugin("server", "tool").value() == "1"
        (folder / "json.py").unlink()
        live.forget()
        edit(folder / "server.py", "VALUE = 1", "VALUE = 2")
        await live.fact(ReloadCommitted)
        assert (await live.plugin("server", "tool").where("HOME")).split()[0] == str(folder)


async def test_the_old_server_finds_what_its_folder_held(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    tree.write(folder / "prompts/system.txt", "be brief")
    tree.write(folder / "node_modules/left_pad/index.js", "")
    tree.write(folder / "state.db", "")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        live.forget()
        (folder / "prompts/system.txt").write_text("be long")
        edit(folder / "server.py", "VALUE = 1", "raise RuntimeError")
        live.take_in()
        await live.fact(ReloadRolledBack)
        copy = Path((await server.where("HOME")).split()[0])
        assert copy != folder
        assert (copy / "prompts/system.txt").read_text() == "be brief"
        assert (copy / "node_modules").resolve() == folder / "node_modules"
        assert (copy / "state.db").resolve() == folder / "state.db"


async def test_a_script_that_does_not_compile_touches_nothing(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        pid = await server.pid()
        edit(folder / "server.py", "VALUE = 1", "VALUE = (")
        rejected = await live.fact(PluginRejected)
        assert isinstance(rejected.error, PluginLoadError)
        assert rejected.error.path == str(folder / "server.py")
        assert rejected.error.line is not None
        assert await server.pid() == pid


async def test_what_is_pending_is_not_started_with_something_else(tree: PluginTree) -> None:
    base = tree.plugin("base")
    folder = mcp_plugin(tree, "server", depends_on=["base"])
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        edit(folder / "server.py", "VALUE = 1", "VALUE = (")
        await live.fact(PluginRejected)
        live.forget()
        edit(base / "plugin.py", "VALUE = 1", "VALUE = 2")
        await live.fact(ReloadCommitted)
        assert await server.value() == "1"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"python"', '"pythn3"', "dagstack.toml:6: command: there is no program 'pythn3' on PATH"),
        ('"server.py"', '"sever.py"', "there is no sever.py in .*; did you mean 'server.py'?"),
        ('["python", "server.py"]', '"python sever.py"', "did you mean 'server.py'?"),
        ('["python", "server.py"]', '["./server.py"]', "server.py is not executable; chmod"),
        ('["python", "server.py"]', "[]", "command: missing"),
        (
            'command = ["python", "server.py"]',
            'entry_point = "python"\nmcp_stdio = { command = "pyhton x.py" }',
            "dagstack.toml:7: command: there is no program 'pyhton'",
        ),
    ],
)
async def test_a_command_that_cannot_work_touches_nothing(
    tree: PluginTree, old: str, new: str, message: str
) -> None:
    folder = mcp_plugin(tree, "server")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        pid = await server.pid()
        edit(folder / "dagstack.toml", old, new)
        rejected = await live.fact(PluginRejected)
        assert isinstance(rejected.error, ManifestInvalid)
        with pytest.raises(ManifestInvalid, match=message):
            raise rejected.error
        assert await server.pid() == pid
        assert live.state("server", "tool") is State.READY


async def test_where_and_with_what_environment_it_runs(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "inherited")
    table = 'mcp_stdio = { working_dir = "inner", env = { GIVEN = "yes" } }\n'
    folder = mcp_plugin(tree, "server", manifest=table)
    (folder / "inner").mkdir()
    (folder / "server.py").rename(folder / "inner/server.py")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        inner = folder / "inner"
        assert await server.where("GIVEN") == f"{inner} yes"
        assert await server.where("OURS") == f"{inner} inherited"


async def test_a_registry_without_a_dev_server_runs_them_too(tree: PluginTree) -> None:
    mcp_plugin(tree, "server")
    registry = PluginRegistry().discover(tree.root)
    await registry.setup_all(PluginContext(config={}, logger=None, registry=registry))
    server = registry.get_plugin("tool", "server")
    pid = int(await server.pid())
    await registry.teardown_all()
    assert not is_running(pid)


async def test_the_first_runtime_that_is_there_is_used(tree: PluginTree) -> None:
    folder = mcp_plugin(tree, "server")
    edit(folder / "dagstack.toml", '"mcp_stdio"', '["no_such_runtime", "mcp_stdio"]')
    async with serving(tree) as live:
        assert await live.plugin("server", "tool").value() == "1"


async def test_a_quick_edit_of_a_module_beside_the_script_is_not_missed(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    folder = mcp_plugin(tree, "server")
    (folder / "answers.py").write_text("VALUE = 10\n")
    edit(folder / "server.py", "VALUE = 1\n", "from answers import VALUE\n")
    async with serving(tree) as live:
        server = live.plugin("server", "tool")
        second = (folder / "answers.py").stat().st_mtime_ns // 10**9
        for value in (11, 12):
            live.forget()
            (folder / "answers.py").write_text(f"VALUE = {value}\n")
            os.utime(folder / "answers.py", ns=(0, second * 10**9 + value * 10**7))
            # The bytecode of before has been made within the same second.
            for each in (folder / "__pycache__").glob("answers.*"):
                os.utime(each, ns=(0, second * 10**9 + value * 10**7 - 10**6))
            await live.fact(ReloadCommitted)
            assert await server.value() == str(value)


@pytest.mark.parametrize("output", ["build", "dist"])
async def test_what_a_build_tool_writes_counts_where_the_manifest_names_it(
    tree: PluginTree, output: str
) -> None:
    folder = mcp_plugin(tree, "server")
    (folder / output).mkdir()
    (folder / "server.py").rename(folder / output / "server.py")
    edit(folder / "dagstack.toml", "server.py", f"{output}/server.py")
    async with serving(tree) as live:
        tree.write(folder / output / "more.py", "")
        await live.settle()
        assert live.status("server", "tool").generation == 2
