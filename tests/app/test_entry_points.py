"""Plugins that are installed: found by entry points, and watched where they can be edited."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from installing import Installation, installation
from serving import context, edit, serving
from trees import PluginTree

from dagstack_dev import (
    DevServer,
    Leaks,
    ManifestInvalid,
    PluginLoadError,
    PluginRegistry,
    Settings,
    State,
    unwrap,
)
from dagstack_dev.core.events import (
    PluginLeaked,
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    Transition,
    WatchProblem,
    WatchStopped,
)

FIELDS = (
    '"name": "echo", "kind": "demo", "core_version": ">=0.1",\n'
    '    "runtime": "in_process", "entry_point": "echoes.plugin:Echo",\n'
    '    "priority": 1,\n'
)
MANIFEST = f"MANIFEST = {{\n    {FIELDS}}}\n"
CLASS = (
    "from echoes.words import WORD\n\n\nclass Echo:\n    def value(self):\n        return WORD\n"
)
TOML = """
[plugin]
name = "echo"
kind = "demo"
core_version = ">=0.1"
runtime = "in_process"
entry_point = "plugin:Echo"
"""
IN_CODE = {
    "echoes/__init__.py": MANIFEST.replace("MANIFEST", "DAGSTACK_PLUGIN_MANIFEST"),
    "echoes/plugin.py": CLASS,
    "echoes/words.py": "WORD = 'old'\n",
}
WITH_FILE = IN_CODE | {"echoes/__init__.py": "", "echoes/dagstack.toml": TOML}


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "python") as made:
        yield made


async def value_of(registry: PluginRegistry) -> object:
    """What the one plugin answers, once set up."""
    await registry.setup_all(context(registry=registry))
    try:
        return registry.get_plugin("demo", "echo").value()
    finally:
        await registry.teardown_all()


FUNCTION = f"def manifest():\n    '''Says who it is.'''\n    return {{\n    {FIELDS}}}\n"
MADE = f"""
{MANIFEST}
def make():
    return dict(MANIFEST)
"""
BESIDE_CLASS = f"{CLASS}\n\nDAGSTACK_PLUGIN_{MANIFEST}".replace(
    '"entry_point": "echoes.plugin:Echo",', ""
)
COMPUTED = f"NAME = 'echo'\n{MANIFEST}MANIFEST['name'] = NAME\nfound = dict(MANIFEST, priority=3)\n"


@pytest.mark.parametrize("editable", [True, False])
@pytest.mark.parametrize(
    ("files", "target"),
    [
        (IN_CODE, "echoes"),
        (IN_CODE, "echoes:DAGSTACK_PLUGIN_MANIFEST"),
        (IN_CODE | {"echoes/sub/__init__.py": MANIFEST}, "echoes.sub:MANIFEST"),
        (IN_CODE | {"echoes/about.py": FUNCTION}, "echoes.about:manifest"),
        (IN_CODE | {"echoes/about.py": COMPUTED}, "echoes.about:found"),
        (IN_CODE | {"echoes/about.py": MADE}, "echoes.about:make"),
        (IN_CODE | {"echoes/plugin.py": BESIDE_CLASS}, "echoes.plugin:Echo"),
        (WITH_FILE, "echoes"),
        (WITH_FILE, "echoes.plugin:Echo"),
        (WITH_FILE, "echoes.words"),
    ],
)
async def test_an_entry_point_names_a_module_a_class_or_a_manifest(
    installed: Installation, files: dict[str, str], target: str, editable: bool
) -> None:
    installed.package("echo-dist", files, entry_points={"echo": target}, editable=editable)
    registry = PluginRegistry()
    [manifest] = registry.load_entry_points()
    assert manifest.ref == ("demo", "echo")
    assert await value_of(registry) == "old"
    assert registry.load_entry_points() == []
    assert len(registry.list_manifests()) == 1


async def test_an_editable_project_may_hold_the_manifest(installed: Installation) -> None:
    table = TOML.replace("[plugin]", "[tool.dagstack.plugin]").replace(
        "plugin:Echo", "echoes.plugin:Echo"
    )
    files = IN_CODE | {"echoes/__init__.py": "", "pyproject.toml": f"[project]\n{table}"}
    home = installed.package("echo-dist", files, entry_points={"echo": "echoes"})
    registry = PluginRegistry()
    registry.load_entry_points()
    [status] = registry.statuses().values()
    assert status.path == str(home)
    assert await value_of(registry) == "old"


async def test_modules_of_an_installed_plugin_are_those_that_the_app_imports(
    installed: Installation,
) -> None:
    installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    registry = PluginRegistry()
    registry.load_entry_points()
    plugin = unwrap(registry.get_plugin("demo", "echo"))
    assert type(plugin) is import_module("echoes.plugin").Echo


def test_another_group_may_be_named(installed: Installation) -> None:
    installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"}, group="my.plugins")
    registry = PluginRegistry()
    assert registry.load_entry_points() == []
    assert [each.name for each in registry.load_entry_points("my.plugins")] == ["echo"]
    assert [each.name for each in registry.load_entry_points(group="my.plugins")] == []


@pytest.mark.parametrize(
    ("files", "target", "message"),
    [
        ({}, "nowhere", "found no Python file of a module 'nowhere'"),
        (
            {"echoes/__init__.py": ""},
            "echoes.nowhere",
            "found no Python file of a module 'echoes.nowhere'",
        ),
        ({"echoes/__init__.py": ""}, "echoes", "binds no DAGSTACK_PLUGIN_MANIFEST or"),
        ({"echoes/__init__.py": ""}, "echoes:nothing", "echoes binds no 'nothing'"),
        ({"echoes/__init__.py": "thing = 5"}, "echoes:thing", "thing is int"),
        ({"echoes/__init__.py": "1 / 0"}, "echoes", "importing echoes failed: .*Zero"),
        ({"echoes/__init__.py": "X = {'name':"}, "echoes:X", "is not valid Python"),
    ],
)
def test_what_an_entry_point_cannot_mean_is_reported_with_its_name(
    installed: Installation, files: dict[str, str], target: str, message: str
) -> None:
    installed.package("echo-dist", files, entry_points={"echo": target})
    installed.package("good", {"good.py": MANIFEST}, entry_points={"good": "good:MANIFEST"})
    registry = PluginRegistry()
    with pytest.raises(ManifestInvalid, match=message):
        registry.load_entry_points()
    assert registry.list_manifests() == []


def test_all_are_registered_or_none(installed: Installation) -> None:
    installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    broken = MANIFEST.replace('"echo"', '"bad"').replace("echoes.plugin", "nowhere.plugin")
    installed.package("bad", {"bad.py": broken}, entry_points={"bad": "bad:MANIFEST"})
    registry = PluginRegistry()
    with pytest.raises(PluginLoadError, match=r"demo/bad.*No module named 'nowhere'"):
        registry.load_entry_points()
    assert registry.list_manifests() == []


# Watching


async def test_an_edit_of_an_editable_installation_is_reloaded(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    tree.plugin("user", depends_on=["echo"])
    registry = PluginRegistry()
    registry.load_entry_points()
    async with serving(tree, registry=registry) as live:
        proxy = live.plugin("echo")
        assert proxy.value() == "old"
        for path, old, new, expected in (
            ("words.py", "'old'", "'new'", "new"),
            ("plugin.py", "return WORD", "return WORD * 2", "newnew"),
        ):
            edit(home / "echoes" / path, old, new)
            await live.settle()
            assert live.outcomes == [ReloadCommitted]
            assert live.affected == {"echo", "user"}
            assert proxy.value() == expected
        assert live.plugin("echo") is proxy
        assert live.of(PluginLeaked) == []
        assert unwrap(proxy).__class__ is sys.modules["echoes.plugin"].Echo


async def test_its_manifest_in_code_is_reloaded_too(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    async with serving(tree, entry_points="dagstack.plugins") as live:
        manifest = home / "echoes/__init__.py"
        edit(manifest, '"priority": 1', '"priority": 8')
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.server.registry.list_manifests()[0].priority == 8
        edit(manifest, '"priority": 8', '"priority": "8"')
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert f"{manifest}:4: priority" in str(rejected.error)
        assert live.plugin("echo").value() == "old"
        edit(manifest, '"priority": "8"', '"priority": 9')
        edit(manifest, '"name": "echo"', '"name": "other"')
        await live.settle()
        assert live.states == {"other": "ready"}


MAY_HANG = """
import anyio
HANGS = False
class Plugin:
    async def setup(self, ctx):
        if HANGS:
            await anyio.sleep_forever()
"""


async def test_its_manifest_in_code_is_edited_while_another_plugin_is_set_up(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    path = tree.plugin("slow", code=MAY_HANG) / "plugin.py"
    async with serving(tree, entry_points="dagstack.plugins") as live:
        edit(path, "HANGS = False", "HANGS = True")
        await live.fact(
            Transition,
            lambda fact: fact.reload_id is not None and fact.to_state is State.SETTING_UP,
        )
        edit(home / "echoes/__init__.py", '"priority": 1', '"priority": 8')
        edit(path, "HANGS = True", "HANGS = False")
        await live.settle()
        assert live.states == {"echo": "ready", "slow": "ready"}
        assert live.status("echo").generation == 2


async def test_a_bad_edit_of_an_installed_plugin_loses_nothing(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    async with serving(tree, entry_points="dagstack.plugins") as live:
        instance = live.instance("echo")
        edit(home / "echoes/plugin.py", "class Echo:", "class Echo")
        await live.settle()
        assert live.of(PluginRejected)
        assert live.instance("echo") is instance
        edit(home / "echoes/plugin.py", "class Echo", "class Other:")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("echo").value() == "old"
        edit(home / "echoes/plugin.py", "class Other:", "class Echo:")
        edit(home / "echoes/words.py", "'old'", "'new'")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("echo").value() == "new"


async def test_a_reload_on_demand_leaves_nothing_behind(
    installed: Installation, tree: PluginTree
) -> None:
    installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    async with serving(tree, entry_points="dagstack.plugins", leaks=Leaks.ERROR) as live:
        await live.server.reload(("demo", "echo"))
        assert live.status("echo").generation == 2
        live.forget()
    assert live.of(WatchStopped)
    assert live.of(PluginLeaked) == []


async def test_an_instance_that_stays_behind_is_reported(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    async with serving(tree, entry_points="dagstack.plugins", leaks=Leaks.ERROR) as live:
        kept = live.instance("echo")
        edit(home / "echoes/words.py", "'old'", "'new'")
        await live.settle()
    [leaked] = live.of(PluginLeaked)
    assert "instance of Echo" in leaked.holders[0]
    assert kept.value() == "old"


async def test_an_installed_folder_with_a_manifest_file_is_watched_like_any(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", WITH_FILE, entry_points={"echo": "echoes"})
    registry = PluginRegistry()
    registry.load_entry_points()
    async with serving(tree, registry=registry) as live:
        assert live.status("echo").path == str(home / "echoes")
        edit(home / "echoes/plugin.py", "return WORD", "return WORD + '!'")
        edit(home / "echoes/dagstack.toml", '"plugin:Echo"', '"plugin:Echo"\npriority = 4')
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("echo").value() == "old!"
        edit(home / "echoes/words.py", "'old'", "'new'")
        await live.settle()
        assert live.plugin("echo").value() == "new!"


async def test_a_plugin_whose_module_vanishes_is_removed_and_comes_back(
    installed: Installation, tree: PluginTree
) -> None:
    files = IN_CODE | {"echoes/about.py": MANIFEST, "echoes/__init__.py": ""}
    home = installed.package("echo-dist", files, entry_points={"echo": "echoes.about:MANIFEST"})
    async with serving(tree, entry_points="dagstack.plugins") as live:
        about = home / "echoes/about.py"
        about.unlink()
        await live.settle()
        assert live.states == {}
        about.write_text(MANIFEST)
        await live.settle()
        assert live.states == {"echo": "ready"}


async def test_two_plugins_of_one_module_are_two_plugins(
    installed: Installation, tree: PluginTree
) -> None:
    twins = MANIFEST + MANIFEST.replace("MANIFEST", "OTHER").replace('"echo"', '"other"')
    home = installed.package(
        "echo-dist",
        IN_CODE | {"echoes/__init__.py": twins},
        entry_points={"a": "echoes:MANIFEST", "b": "echoes:OTHER"},
    )
    async with serving(tree, entry_points="dagstack.plugins") as live:
        assert live.states == {"echo": "ready", "other": "ready"}
        edit(home / "echoes/words.py", "'old'", "'new'")
        await live.settle()
        assert [live.plugin(name).value() for name in ("echo", "other")] == ["new", "new"]


async def test_a_server_leaves_out_what_cannot_be_found_and_says_so(
    installed: Installation, tree: PluginTree
) -> None:
    installed.package("bad", {}, entry_points={"bad": "nowhere:X"})
    installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    tree.plugin("one")
    async with serving(tree, entry_points="dagstack.plugins") as live:
        assert live.states == {"one": "ready", "echo": "ready"}
        [problem] = live.of(WatchProblem)
        assert problem.path == "entry point bad = nowhere:X"
        assert problem.message == (
            "is left out: found no Python file of a module 'nowhere' in a folder"
        )


async def test_a_plugin_that_is_broken_at_the_start_comes_when_it_is_mended(
    installed: Installation, tree: PluginTree
) -> None:
    home = installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes.plugin:Echo"})
    plugin = home / "echoes/plugin.py"
    plugin.write_text(BESIDE_CLASS.replace("class Echo:", "class Echo"))
    async with serving(tree, entry_points="dagstack.plugins") as live:
        assert live.states == {}
        [rejected] = live.of(PluginRejected)
        assert f"{plugin}:4: is not valid Python" in str(rejected.error)
        edit(plugin, "class Echo", "class Echo:")
        await live.settle()
        assert live.plugin("echo").value() == "old"


def test_an_entry_point_may_name_a_class_that_its_package_imports(
    installed: Installation,
) -> None:
    files = WITH_FILE | {"echoes/__init__.py": "from echoes.plugin import Echo\n"}
    home = installed.package("echo-dist", files, entry_points={"echo": "echoes:Echo"})
    registry = PluginRegistry()
    registry.load_entry_points()
    [status] = registry.statuses().values()
    assert status.path == str(home / "echoes")


async def test_a_server_may_have_nothing_but_installed_plugins(installed: Installation) -> None:
    installed.package("echo-dist", IN_CODE, entry_points={"echo": "echoes"})
    settings = Settings(entry_points="dagstack.plugins")
    async with DevServer(context=context(), settings=settings) as server:
        [status] = server.statuses().values()
        assert status.state is State.READY


@pytest.mark.parametrize("value", ["my-package.plugin:Echo", "echoes:", "two words"])
def test_an_entry_point_that_names_nothing_is_reported(installed: Installation, value: str) -> None:
    installed.package("bad", {}, entry_points={"bad": value})
    with pytest.raises(ManifestInvalid, match=f"entry point bad = {value}: is no name of a module"):
        PluginRegistry().load_entry_points()
