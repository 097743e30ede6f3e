"""A dev server drives a registry of `dagstack-plugin-system`, the real one."""

from __future__ import annotations

import logging
import shutil
from types import ModuleType
from typing import Any

import dagstack.plugin_system as original
import pytest
from serving import edit
from trees import PluginTree

from dagstack_dev import DevServer, PluginContext, State, unwrap

TOOL = """
from dagstack.plugin_system.hookspecs.tool import hookimpl

class Plugin:
    WORD = "one"
    setups = 0

    def setup(self, ctx):
        self.ctx = ctx
        Plugin.setups += 1

    def teardown(self):
        self.ctx = None

    @hookimpl
    def get_schema(self):
        return {"word": self.WORD}

    @hookimpl
    def execute(self, args):
        return {"word": self.WORD, "args": args}
"""


def context(registry: object) -> original.PluginContext:
    return original.PluginContext(
        config={"tool": {"echo": {"loud": True}}},
        logger=logging.getLogger("app"),
        registry=registry,  # type: ignore[arg-type]
    )


def registered(registry: original.PluginRegistry) -> list[str]:
    return [manifest.name for manifest in registry.list_manifests()]


async def test_the_apps_registry_holds_what_runs_and_follows_reloads(tree: PluginTree) -> None:
    folder = tree.plugin("echo", kind="tool", code=TOOL)
    registry = original.PluginRegistry()
    async with DevServer(tree.root, registry=registry, context=context(registry)) as server:
        plugin = registry.get_plugin("tool", name="echo")
        assert plugin.execute({"a": 1}) == {"word": "one", "args": {"a": 1}}
        assert plugin.ctx.registry is registry
        assert plugin.ctx.config == {"loud": True}

        edit(folder / "plugin.py", '"one"', '"two"')
        await server.wait_idle()
        assert registry.get_plugin("tool", name="echo") is plugin
        assert plugin.execute({}) == {"word": "two", "args": {}}
        dispatcher = original.BroadcastCollectDispatcher(
            registry, dispatch_class_override="broadcast_collect"
        )
        assert list(registry.iter_instances("tool")) == [plugin]
        hook = registry.plugin_manager.hook
        assert hook.get_schema() == [{"word": "two"}]
        assert hook.execute(args={}) == {"word": "two", "args": {}}
        assert dispatcher.dispatch("tool", "nothing_of_it", plugin.ctx) == ([], None)
    assert registered(registry) == []
    assert registry.plugin_manager.hook.get_schema() == []


async def test_new_and_removed_plugins_come_and_go(tree: PluginTree) -> None:
    tree.plugin("one")
    registry = original.PluginRegistry()
    async with DevServer(tree.root, registry=registry) as server:
        tree.plugin("two", depends_on=["one"])
        await server.wait_idle()
        assert registered(registry) == ["one", "two"]
        assert registry.list_manifests()[1].depends_on == ["one"]
        shutil.rmtree(tree.root / "two")
        await server.wait_idle()
        assert registered(registry) == ["one"]


async def test_a_plugin_that_fails_stays_in_it_and_comes_back(tree: PluginTree) -> None:
    folder = tree.plugin("one", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n")
    tree.plugin("two", code=TOOL)
    registry = original.PluginRegistry()
    async with DevServer(tree.root, registry=registry) as server:
        assert registered(registry) == ["one", "two"]
        edit(folder / "plugin.py", "1 / 0", "self.ok = True")
        await server.wait_idle()
        assert registry.get_plugin("demo", "one").ok


async def test_what_the_app_has_set_up_is_taken_over_and_given_back(tree: PluginTree) -> None:
    tree.plugin("echo", kind="tool", code=TOOL)
    registry = original.PluginRegistry()
    registry.discover(tree.root)
    ctx = context(registry)
    await registry.setup_all(ctx)
    own = registry.get_plugin("tool", "echo")
    async with DevServer(tree.root, registry=registry, context=ctx):
        assert vars(own)["ctx"] is None
        live = registry.get_plugin("tool", "echo")
        assert unwrap(live) is not own
        await registry.setup_all(ctx)  # The dev server decides; nothing is set up twice.
        assert live.setups == 1
        await registry.teardown_all()
        assert live.ctx is not None
    assert registry.get_plugin("tool", "echo") is own
    assert vars(own)["ctx"] is not None
    await registry.teardown_all()
    assert vars(own)["ctx"] is None


async def test_plugins_of_the_app_can_be_depended_on(tree: PluginTree) -> None:
    class Base:
        def setup(self, ctx: Any) -> None:
            self.word = "base"

    module = ModuleType("app_plugins")
    module.Base = Base  # type: ignore[attr-defined]
    module.DAGSTACK_PLUGIN_MANIFEST = {  # type: ignore[attr-defined]
        "schema_version": "1",
        "name": "base",
        "kind": "demo",
        "kind_api_version": "1",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "app_plugins:Base",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "app_plugins", module)
        registry = original.PluginRegistry()
        registry.register_module(module)
    code = """
    class Plugin:
        def setup(self, ctx):
            self.word = ctx.registry.get_plugin("demo", "base").word
    """
    tree.plugin("user", depends_on=["base"], code=code)
    async with DevServer(tree.root, registry=registry):
        assert registry.get_plugin("demo", "user").word == "base"
    assert registered(registry) == ["base"]


async def test_resources_of_the_apps_registry_are_injected(tree: PluginTree) -> None:
    code = "class Plugin:\n    def setup(self, ctx):\n        self.box = ctx.resources.box\n"
    tree.plugin("one", code=code, manifest='[plugin.resources]\nrequired = ["box"]\n')
    registry = original.PluginRegistry()
    registry.resources.register("box", "full")
    async with DevServer(tree.root, registry=registry) as server:
        assert [status.state for status in server.statuses().values()] == [State.READY]
        assert registry.get_plugin("demo", "one").box == "full"


async def test_its_context_alone_names_the_registry(tree: PluginTree) -> None:
    tree.plugin("one")
    registry = original.PluginRegistry()
    async with DevServer(tree.root, context=context(registry)):
        assert isinstance(registry.get_plugin("demo", "one").ctx, PluginContext)
