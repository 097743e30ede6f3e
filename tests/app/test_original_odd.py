"""A dev server drives a registry of `dagstack-plugin-system`, and something goes wrong."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import dagstack.plugin_system as original
import pytest
from anyio import wait_all_tasks_blocked
from mcp_servers import SDK_SERVER
from serving import edit
from trees import PluginTree

from dagstack_dev import DevServer, PluginRegistryError, State, unwrap
from dagstack_dev.core.events import Fact, WatchProblem, WatchStopped

HOOK = """
from dagstack.plugin_system.hookspecs.tool import hookimpl

class Plugin:
    def setup(self, ctx):
        self.ctx = ctx

    @hookimpl
    def get_schema(self):
        return "one"
"""
DISPATCHED = HOOK.replace("@hookimpl", "").replace("(self)", "(self, ctx)")
RAISES = "self.ctx = 1 / 0"


def context(registry: object) -> original.PluginContext:
    return original.PluginContext(
        config={},
        logger=logging.getLogger("app"),
        registry=registry,  # type: ignore[arg-type]
    )


def schemas(registry: original.PluginRegistry) -> object:
    return registry.plugin_manager.hook.get_schema()


def module_plugin(monkeypatch: pytest.MonkeyPatch, **fields: str) -> ModuleType:
    """A module of the app that is a plugin, imported as `app_plugins`."""
    module = ModuleType("app_plugins")
    module.Base = type("Base", (), {"WORD": "app"})  # type: ignore[attr-defined]
    module.DAGSTACK_PLUGIN_MANIFEST = {  # type: ignore[attr-defined]
        "schema_version": "1",
        "name": "base",
        "kind": "demo",
        "kind_api_version": "1",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "app_plugins:Base",
        **fields,
    }
    monkeypatch.setitem(sys.modules, "app_plugins", module)
    return module


async def test_a_plugin_that_fails_stops_no_other_ones_hooks(tree: PluginTree) -> None:
    tree.plugin("good", kind="tool", code=HOOK)
    folder = tree.plugin("bad", kind="tool", code=HOOK.replace("self.ctx = ctx", RAISES))
    registry = original.PluginRegistry()
    async with DevServer(tree.root, registry=registry) as server:
        assert schemas(registry) == ["one"]
        with pytest.raises(AttributeError, match="tool/bad is unavailable: its setup failed"):
            registry.get_plugin("tool", "bad").get_schema()
        edit(folder / "plugin.py", RAISES, "self.ctx = ctx")
        await server.wait_idle()
        assert schemas(registry) == ["one", "one"]


async def test_a_plugin_that_fails_is_passed_by_by_dispatchers(tree: PluginTree) -> None:
    tree.plugin("good", kind="tool", code=DISPATCHED)
    tree.plugin("bad", kind="tool", code=DISPATCHED.replace("self.ctx = ctx", RAISES))
    tree.plugin("above", kind="tool", code=DISPATCHED, depends_on=["bad"])
    registry = original.PluginRegistry()
    ctx = context(registry)
    async with DevServer(tree.root, context=ctx):
        dispatcher = original.BroadcastCollectDispatcher(registry)
        assert dispatcher.dispatch("tool", "get_schema", ctx) == (["one"], None)


async def test_hooks_that_pluggy_refuses_are_reported(tree: PluginTree) -> None:
    tree.plugin("good", kind="tool", code=HOOK)
    tree.plugin("odd", kind="tool", code=HOOK.replace("(self)", "(self, nonsense)"))
    registry = original.PluginRegistry()
    server = DevServer(tree.root, registry=registry)
    facts: list[Fact] = []
    server.registry.observe(facts.append)
    async with server:
        assert {status.state for status in server.statuses().values()} == {State.READY}
        assert schemas(registry) == ["one"]
    [problem] = [fact for fact in facts if isinstance(fact, WatchProblem)]
    assert "tool/odd runs, but has no part in pluggy's hooks" in problem.message
    assert "nonsense" in problem.message


async def test_one_name_in_two_kinds(tree: PluginTree) -> None:
    tree.plugin("same", kind="tool", code=HOOK)
    tree.plugin("same", kind="other", code=HOOK, folder="other")
    registry = original.PluginRegistry()
    async with DevServer(tree.root, registry=registry) as server:
        assert len(registry.list_manifests()) == 2
        assert schemas(registry) == ["one"]
        (tree.root / "other/dagstack.toml").unlink()
        await server.wait_idle()
        assert [each.kind for each in registry.list_manifests()] == ["tool"]
    assert schemas(registry) == []


async def test_servers_that_the_app_has_registered_run_as_its_own_objects(
    tree: PluginTree,
) -> None:
    tree.write(tree.root / "calc.py", SDK_SERVER)
    registry = original.PluginRegistry()
    fields = {
        "schema_version": "1",
        "name": "remote",
        "kind": "tool",
        "kind_api_version": "1",
        "core_version": ">=0.1",
        "runtime": "mcp_stdio",
        "command": ["python", "calc.py"],
    }
    registry.register_manifest(original.load_manifest_from_dict(fields))
    own = registry.get_plugin("tool", "remote")
    own._adapter = SimpleNamespace(start=_started, stop=_stopped)
    async with DevServer(tree.root, registry=registry):
        assert unwrap(registry.get_plugin("tool", "remote")) is own
        assert own._server_capabilities == {"started": True}
    assert registry.get_plugin("tool", "remote") is own


async def _started() -> dict[str, Any]:
    return {"started": True}


async def _stopped() -> None:
    pass


async def test_two_servers_cannot_drive_one_registry(tree: PluginTree) -> None:
    tree.plugin("one")
    registry = original.PluginRegistry()
    async with DevServer(tree.root, registry=registry):
        with pytest.raises(RuntimeError, match="another DevServer drives this registry"):
            await DevServer(tree.root, registry=registry).__aenter__()
        assert registry.get_plugin("demo", "one").value() == 1
    async with DevServer(tree.root, registry=registry):
        assert registry.get_plugin("demo", "one").value() == 1


async def test_what_cannot_be_taken_over_is_left_running(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_plugin(monkeypatch, name="not a name")
    tree.plugin("one")
    registry = original.PluginRegistry()
    registry.register_module(module)
    await registry.setup_all(context(registry))
    with pytest.raises(PluginRegistryError, match="name"):
        async with DevServer(tree.root, registry=registry):
            pytest.fail("it has taken it")
    assert registry._setup_done == registry._loaded
    assert isinstance(registry.get_plugin("demo"), module.Base)


async def test_what_the_app_changes_meanwhile_is_kept(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree.plugin("one", kind="tool", code=HOOK)
    registry = original.PluginRegistry()
    module = module_plugin(monkeypatch)
    async with DevServer(tree.root, registry=registry) as server:
        registry.register_module(module)
        registry.plugin_manager.unregister(name="one")
        edit(folder / "plugin.py", '"one"', '"two"')
        await server.wait_idle()
        assert schemas(registry) == ["two"]
        assert isinstance(registry.get_plugin("demo", "base"), module.Base)
        registry.plugin_manager.unregister(name="one")
    assert [manifest.name for manifest in registry.list_manifests()] == ["base"]


async def test_a_teardown_that_raises_does_not_stop_the_start(tree: PluginTree) -> None:
    code = """
    class Plugin:
        def teardown(self):
            raise ValueError("no")
    """
    tree.plugin("one", code=code)
    registry = original.PluginRegistry()
    registry.discover(tree.root)
    ctx = context(registry)
    await registry.setup_all(ctx)
    server = DevServer(tree.root, context=ctx)
    facts: list[Fact] = []
    server.registry.observe(facts.append)
    async with server:
        assert [each.state for each in server.statuses().values()] == [State.READY]
    told = [fact.message for fact in facts if isinstance(fact, WatchProblem)]
    assert "failed in teardown: no" in told[0]


async def test_the_apps_own_context_is_what_its_own_instances_are_given(tree: PluginTree) -> None:
    tree.plugin("contextual")  # The original loads a plugin of one name once per process.
    registry = original.PluginRegistry()
    registry.discover(tree.root)
    ctx = context(registry)
    await registry.setup_all(ctx)
    async with DevServer(tree.root, context=ctx):
        pass
    assert isinstance(registry.get_plugin("demo").ctx, original.PluginContext)


async def test_a_setup_that_raises_at_the_end_ends_the_server_all_the_same(
    tree: PluginTree,
) -> None:
    manifest = '[plugin.resources]\nrequired = ["box"]\n'
    tree.plugin("one", manifest=manifest)
    registry = original.PluginRegistry()
    registry.resources.register("box", "full")
    registry.discover(tree.root)
    ctx = context(registry)
    await registry.setup_all(ctx)
    server = DevServer(tree.root, context=ctx)
    await server.__aenter__()
    events = server.events()
    registry._resource_registry = original.ResourceRegistry()
    with pytest.raises(KeyError, match="box"):
        await server.__aexit__(None, None, None)
    assert [type(fact) async for fact in events][-1] is WatchStopped


async def test_an_app_that_is_cancelled_gets_its_plugins_as_they_are(tree: PluginTree) -> None:
    tree.plugin("one")
    registry = original.PluginRegistry()
    registry.discover(tree.root)
    ctx = context(registry)
    await registry.setup_all(ctx)
    own = registry.get_plugin("demo")
    with anyio.CancelScope() as scope:
        async with DevServer(tree.root, context=ctx):
            scope.cancel()
            await anyio.sleep_forever()
    assert registry.get_plugin("demo") is own
    assert registry._setup_done == []


@pytest.mark.parametrize("form", ["dagstack.toml", "pyproject.toml"])
async def test_a_folder_goes_before_the_module_of_the_same_name(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    folder = tree.plugin("base", code="class Plugin:\n    WORD = 'folder'\n")
    if form != "dagstack.toml":
        text = (folder / "dagstack.toml").read_text().replace("[plugin]", "[tool.dagstack.plugin]")
        (folder / "dagstack.toml").unlink()
        (folder / form).write_text(text)
    registry = original.PluginRegistry()
    registry.register_module(module_plugin(monkeypatch))
    async with DevServer(tree.root, registry=registry) as server:
        assert [each.state for each in server.statuses().values()] == [State.READY]
        edit(folder / "plugin.py", "'folder'", "'edited'")
        await server.wait_idle()
        assert registry.get_plugin("demo", "base").WORD == "edited"
    assert registry.get_plugin("demo", "base").WORD == "app"


async def test_an_app_that_is_cancelled_while_it_is_taken_over_keeps_its_registry(
    tree: PluginTree,
) -> None:
    code = """
    import anyio

    class Plugin:
        async def teardown(self):
            await anyio.sleep_forever()
    """
    tree.plugin("lasting", code=code)
    registry = original.PluginRegistry()
    registry.discover(tree.root)
    ctx = context(registry)
    await registry.setup_all(ctx)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(DevServer(tree.root, context=ctx).__aenter__)
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="another DevServer"):
                await DevServer(tree.root, context=ctx).__aenter__()
            scope.cancel()
    assert "teardown_all" not in vars(registry)
    assert [manifest.name for manifest in registry.list_manifests()] == ["lasting"]
