"""`register_module`: plugins whose manifest stands in an imported module (contract, section 1)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from serving import context

from dagstack_dev import (
    AmbiguousPlugin,
    KindUnknown,
    ManifestInvalid,
    PluginLoadError,
    PluginRegistry,
    State,
    unwrap,
)

FIELDS: dict[str, Any] = {
    "name": "echo",
    "kind": "tool",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "made_here:Echo",
}


class Echo:
    calls: list[str] = []  # noqa: RUF012 - what the plugin was asked, for the test

    def setup(self, ctx: Any) -> None:
        self.calls.append("setup")

    def teardown(self) -> None:
        self.calls.append("teardown")

    def say(self, word: str) -> str:
        return word


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module that was made in memory and can be imported."""
    made = ModuleType("made_here")
    made.Echo = Echo  # type: ignore[attr-defined]
    made.DAGSTACK_PLUGIN_MANIFEST = dict(FIELDS)  # type: ignore[attr-defined]
    sys.modules["made_here"] = made
    Echo.calls.clear()
    yield made
    del sys.modules["made_here"]


async def test_a_module_is_registered_by_its_dict_and_lives_like_any_plugin(
    module: ModuleType,
) -> None:
    registry = PluginRegistry()
    manifest = registry.register_module(module)
    assert (manifest.name, manifest.entry_point) == ("echo", "made_here:Echo")
    await registry.setup_all(context(registry=registry))
    plugin = registry.get_plugin("tool", name="echo")
    assert plugin.say("hello") == "hello"
    assert isinstance(unwrap(plugin), Echo)
    await registry.teardown_all()
    assert Echo.calls == ["setup", "teardown"]


def test_a_function_may_return_the_manifest(module: ModuleType) -> None:
    del module.DAGSTACK_PLUGIN_MANIFEST
    module.get_dagstack_manifest = lambda: FIELDS | {"priority": 7}  # type: ignore[attr-defined]
    assert PluginRegistry().register_module(module).priority == 7


def test_the_same_module_again_is_left_alone(module: ModuleType) -> None:
    registry = PluginRegistry()
    first = registry.register_module(module)
    assert registry.register_module(module) is first
    assert registry.list_manifests() == [first]


def test_another_module_with_the_same_plugin_is_ambiguous(module: ModuleType) -> None:
    registry = PluginRegistry()
    registry.register_module(module)
    twin = ModuleType("twin")
    twin.DAGSTACK_PLUGIN_MANIFEST = dict(FIELDS)  # type: ignore[attr-defined]
    with pytest.raises(AmbiguousPlugin, match="<module made_here> and <module twin>"):
        registry.register_module(twin)


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({}, r"binds neither DAGSTACK_PLUGIN_MANIFEST nor get_dagstack_manifest\(\)"),
        ({"DAGSTACK_PLUGIN_MANIFEST": []}, "DAGSTACK_PLUGIN_MANIFEST is list"),
        ({"get_dagstack_manifest": lambda: 1 / 0}, r"get_dagstack_manifest\(\) failed: .*Zero"),
        ({"DAGSTACK_PLUGIN_MANIFEST": {"name": "x"}}, "kind: missing"),
    ],
)
def test_a_module_without_a_proper_manifest_is_refused(bound: dict[str, Any], message: str) -> None:
    module = ModuleType("odd")
    vars(module).update(bound)
    registry = PluginRegistry()
    with pytest.raises(ManifestInvalid, match=message):
        registry.register_module(module)
    assert registry.list_manifests() == []


def test_a_class_that_is_not_there_is_a_load_error(module: ModuleType) -> None:
    module.DAGSTACK_PLUGIN_MANIFEST["entry_point"] = "made_here:Nothing"
    registry = PluginRegistry()
    with pytest.raises(PluginLoadError, match=r"tool/echo.*cannot import name 'Nothing'"):
        registry.register_module(module)
    assert registry.list_manifests() == []


@pytest.mark.usefixtures("imports_forgotten")
def test_a_problem_in_a_file_is_reported_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"DAGSTACK_PLUGIN_MANIFEST = {FIELDS | {'priority': 'high'}!r}".replace(", ", ",\n")
    (tmp_path / "told_with_line.py").write_text(f"\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ManifestInvalid) as caught:
        PluginRegistry().register_module(import_module("told_with_line"))
    assert str(caught.value).startswith(f"{tmp_path}/told_with_line.py:7: priority: ")


def test_instances_can_be_walked_over_and_the_unavailable_named(module: ModuleType) -> None:
    registry = PluginRegistry()
    registry.register_module(module)
    registry.register_manifest(FIELDS | {"kind": "other"}, Echo())
    walked = list(registry.iter_instances())
    assert walked == [registry.get_plugin("tool", "echo"), registry.get_plugin("other", "echo")]
    assert list(registry.iter_instances("other")) == walked[1:]
    assert list(registry.iter_instances("nothing")) == []
    assert registry.resolve.__self__ is registry  # type: ignore[attr-defined]
    with pytest.raises(AmbiguousPlugin):
        registry.resolve("echo")
    with pytest.raises(KindUnknown):
        registry.resolve("nobody")
    assert registry.unavailable_plugins() == {}
    assert {status.state for status in registry.statuses().values()} == {State.LOADED}


async def test_a_manifest_registered_by_hand_may_name_what_it_depends_on_with_its_kind(
    module: ModuleType,
) -> None:
    registry = PluginRegistry()
    registry.register_manifest(FIELDS)
    wants = [{"kind": "tool", "name": "echo"}]
    manifest = registry.register_manifest({**FIELDS, "name": "next", "depends_on": wants})
    assert manifest.depends_on == (("tool", "echo"),)
    module.DAGSTACK_PLUGIN_MANIFEST = manifest.model_copy(update={"name": "third"})  # type: ignore[attr-defined]
    assert registry.register_module(module).depends_on == manifest.depends_on
