"""Declared kinds keep plugins of other kinds and versions out."""

from __future__ import annotations

from typing import Any, Protocol

import pytest
from trees import PluginTree

from dagstack_dev import (
    TOOL_KIND,
    DispatchClass,
    HookSpec,
    HookspecMissing,
    KindSpec,
    KindUnknown,
    KindVersionIncompatible,
    PluginRegistry,
    VersionIncompatible,
    hookspecs,
    singleton,
)


@hookspecs(kind="demo", kind_api_version="1.2.0")
class Demo(Protocol):
    @singleton
    def value(self, ctx: object) -> int: ...


def manifest(**fields: object) -> dict[str, Any]:
    return {
        "name": "it",
        "kind": "demo",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Plugin",
        **fields,
    }


def test_without_a_declaration_every_kind_is_welcome(registry: PluginRegistry) -> None:
    registry.register_manifest(manifest(kind="whatever", kind_api_version="77"), object())
    assert not registry.kinds


def test_a_kind_that_is_not_declared_is_refused(registry: PluginRegistry) -> None:
    registry.add_hookspecs(Demo)
    registry.register_manifest(manifest(), object())
    with pytest.raises(HookspecMissing, match="dmo/it: no hookspec declares kind 'dmo'") as caught:
        registry.register_manifest(manifest(kind="dmo"), object())
    assert isinstance(caught.value, KindUnknown)
    assert caught.value.suggestion == "demo"


@pytest.mark.parametrize("version", ["1", "1.0.0", "1.9", "01"])
def test_the_major_version_of_the_kind_has_to_agree(registry: PluginRegistry, version: str) -> None:
    registry.add_hookspecs(Demo)
    registry.register_manifest(manifest(kind_api_version=version), object())
    with pytest.raises(KindVersionIncompatible, match=r"kind_api_version 2\.0") as caught:
        registry.register_manifest(manifest(name="new", kind_api_version="2.0"), object())
    assert isinstance(caught.value, VersionIncompatible)


def test_discover_refuses_all_of_them_before_any_code_runs(
    registry: PluginRegistry, tree: PluginTree
) -> None:
    registry.add_hookspecs(Demo)
    tree.plugin("good", code="class Plugin: ...\nraise SystemExit")
    bad = tree.plugin("bad", kind="demos")
    tree.plugin("old", manifest='kind_api_version = "3"\n')
    with pytest.raises(HookspecMissing) as caught:
        registry.discover(tree.root)
    assert caught.value.path == str(bad / "dagstack.toml")
    assert [type(each) for each in caught.value.others] == [KindVersionIncompatible]
    assert registry.list_manifests() == []


def test_built_in_kinds_refuse_no_plugin_until_the_app_declares_them(
    registry: PluginRegistry,
) -> None:
    registry.register_manifest(manifest(kind="tool", kind_api_version="9"), object())
    with pytest.raises(KindVersionIncompatible):
        registry.add_hookspecs(TOOL_KIND)


def test_what_is_loaded_already_has_to_comply_or_nothing_changes(registry: PluginRegistry) -> None:
    registry.register_manifest(manifest(), object())
    registry.register_manifest(manifest(kind="other"), object())
    with pytest.raises(HookspecMissing, match="other/it"):
        registry.add_hookspecs(Demo)
    assert not registry.kinds
    registry.add_hookspecs(Demo, KindSpec(kind="other"))
    assert set(registry.kinds.specs) == {"demo", "other"}


def test_a_kind_is_declared_once_unless_it_is_to_be_replaced(registry: PluginRegistry) -> None:
    registry.add_hookspecs(Demo)
    registry.add_hookspecs(Demo)
    newer = KindSpec(kind="demo", kind_api_version="1.3")
    with pytest.raises(ValueError, match=r"declared already, as version 1\.2\.0"):
        registry.add_hookspecs(newer)
    registry.add_hookspecs(newer, replace=True)
    assert registry.kinds.specs["demo"] == newer


def test_a_class_without_a_declaration_is_no_hookspec(registry: PluginRegistry) -> None:
    with pytest.raises(TypeError, match=r"PluginTree is no hookspec; decorate it with @hookspecs"):
        registry.add_hookspecs(PluginTree)


def test_specs_in_a_tuple_are_not_taken_for_one(registry: PluginRegistry) -> None:
    specs: Any = (KindSpec(kind="demo"),)
    with pytest.raises(TypeError, match=r"a tuple is no hookspec; .*add_hookspecs\(\*specs\)"):
        registry.add_hookspecs(specs)


@pytest.mark.parametrize("name", ["get-items", "import", "matches"])
def test_a_hook_that_no_plugin_can_have_is_refused(registry: PluginRegistry, name: str) -> None:
    spec = KindSpec(kind="demo", hooks=(HookSpec(name=name, dispatch=DispatchClass.CHAIN),))
    with pytest.raises(ValueError, match=f"kind demo: hook '{name}' "):
        registry.add_hookspecs(spec)
    assert not registry.kinds
