"""Plugin objects that the host made itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from dagstack_dev import (
    AmbiguousPlugin,
    ManifestInvalid,
    PluginContext,
    PluginLoadError,
    PluginManifest,
    PluginRef,
    PluginRegistry,
    PluginRegistryError,
    RuntimeNotSupported,
    VersionIncompatible,
    unwrap,
)


@pytest.mark.parametrize("form", [dict, PluginManifest.model_validate])
async def test_a_plugin_object_is_registered_by_hand(
    registry: PluginRegistry, ctx: PluginContext, form: Callable[[object], PluginManifest]
) -> None:
    class Plugin:
        ready = False

        def setup(self, ctx: PluginContext) -> None:
            self.ready = True

    values = {
        "name": "mine",
        "kind": "hand",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "anything:Plugin",
    }
    plugin = Plugin()
    valid = registry.register_manifest(form(values), plugin)
    assert valid.ref == PluginRef("hand", "mine")
    proxy = registry.get_plugin("hand", "mine")
    assert unwrap(proxy) is plugin
    await registry.setup_all(ctx)
    assert proxy.ready
    await registry.teardown_all()
    assert registry.statuses()[valid.ref].path is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"priority": "5"}, ManifestInvalid),
        ({"name": None}, ManifestInvalid),
        ({"core_version": ">=9"}, VersionIncompatible),
        ({"runtime": "elsewhere"}, RuntimeNotSupported),
        ({"name": "taken"}, AmbiguousPlugin),
    ],
)
def test_a_manifest_by_hand_is_checked_like_a_file(
    registry: PluginRegistry,
    put: Callable[..., object],
    change: dict[str, object],
    error: type[PluginRegistryError],
) -> None:
    put(object(), "taken")
    values = {
        "name": "mine",
        "kind": "demo",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Plugin",
    }
    with pytest.raises(error):
        registry.register_manifest({**values, **change}, object())
    assert [each.name for each in registry.list_manifests()] == ["taken"]


def named(name: str, entry_point: str, **fields: object) -> dict[str, object]:
    values = {"name": name, "kind": "hand", "core_version": ">=0.1", "runtime": "in_process"}
    return {**values, "entry_point": entry_point, **fields}


@pytest.mark.usefixtures("imports_forgotten")
async def test_without_an_object_the_class_that_the_manifest_names_is_loaded(
    registry: PluginRegistry, ctx: PluginContext, tmp_path: Path
) -> None:
    code = """
    class First:
        WORD = "first"

    class Second:
        def setup(self, ctx):
            self.word = ctx.registry.get_plugin("hand", "one").WORD
    """
    (tmp_path / "by_hand.py").write_text(dedent(code))
    sys.path.insert(0, str(tmp_path))
    registry.register_manifest(named("two", "by_hand:Second", depends_on=["one"]))
    registry.register_manifest(PluginManifest.model_validate(named("one", "by_hand:First")))
    registry.register_manifest(named("again", "by_hand:First", priority=3))
    await registry.setup_all(ctx)
    assert registry.get_plugin("hand", "two").word == "first"
    one, again = (unwrap(registry.get_plugin("hand", name)) for name in ("one", "again"))
    assert type(one) is type(again)
    assert one is not again
    assert [each.priority for each in registry.list_manifests()] == [0, 0, 3]
    await registry.teardown_all()


@pytest.mark.parametrize("entry_point", ["there_is_no_such:Plugin", "json:NoClass"])
def test_a_class_that_cannot_be_imported_is_not_registered(
    registry: PluginRegistry, entry_point: str
) -> None:
    with pytest.raises(PluginLoadError):
        registry.register_manifest(named("mine", entry_point))
    assert registry.list_manifests() == []


def test_a_server_that_cannot_be_started_is_reported_without_a_line(
    registry: PluginRegistry,
) -> None:
    fields = named("mine", "python gone.py", runtime="mcp_stdio")
    with pytest.raises(ManifestInvalid, match=r"there is no gone\.py") as caught:
        registry.register_manifest(fields)
    assert caught.value.line is None
