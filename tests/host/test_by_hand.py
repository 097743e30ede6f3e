"""Plugin objects that the host made itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dagstack_dev import (
    AmbiguousPlugin,
    ManifestInvalid,
    PluginContext,
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
