"""Drives a registry of PyPI `dagstack-plugin-system`, which knows no reloads.

The plugins run in our own registry, where they are watched and reloaded. For as long as a dev
server does that, the app's registry holds their proxies in place of instances of its own: its
`get_plugin`, `iter_instances`, dispatchers and pluggy hooks reach whichever generation runs.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.core.errors import ManifestInvalid
from dagstack_dev.core.events import Transition, WatchProblem
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest import parse_manifest
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.host.context import PluginContext

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.disk.ignore import IgnoreRules

_PACKAGE: Final = "dagstack.plugin_system"


def is_original(registry: object) -> bool:
    """Whether `registry` is one of `dagstack-plugin-system`, which is not imported for that."""
    module = sys.modules.get(f"{_PACKAGE}.registry")
    return module is not None and isinstance(registry, module.PluginRegistry)


def context_from(context: Any) -> PluginContext:
    """A context of the original, or of ours, as one of ours."""
    if isinstance(context, PluginContext):
        return context
    known = (each.name for each in fields(PluginContext) if each.init)
    return PluginContext(
        **{name: getattr(context, name) for name in known if hasattr(context, name)}
    )


class OriginalRegistry(PluginRegistry):
    """Our registry in the place of one of `dagstack-plugin-system`.

    Args:
        original: the app's registry. Its resources are offered to the plugins.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.original = original
        self._release: Callable[[], None] | None = None
        self._held: list[Any] = []
        self._was_set_up = False

    async def take(self, on_disk: Collection[PluginRef]) -> None:
        """Take the plugins over: those the app has set up are torn down, and are ours from now on.

        What the app has registered and no folder offers is registered here as the object it is.

        Args:
            on_disk: the plugins that our own discovery will bring.

        Raises:
            TeardownErrors (of the original): a teardown raised; nothing has been taken over.
        """
        original = self.original
        self._was_set_up = bool(original._setup_done)  # noqa: SLF001 - there is no public way
        await original.teardown_all()
        for name in original.resources.names():
            self.resources.register(name, original.resources.get(name), replace=True)
        self._held = list(original._loaded)  # noqa: SLF001 - likewise
        for loaded in self._held:
            values = loaded.manifest.model_dump(exclude_none=True)
            values.pop("endpoint", None)
            if (values["kind"], values["name"]) not in on_disk:
                self.register_manifest(values | {"runtime": "in_process"}, loaded.instance)
        original.setup_all = original.teardown_all = _nothing_to_do
        self._show(())
        self._release = self.observe(self._follow)

    async def give_back(self, context: PluginContext) -> None:
        """The reverse of `take`: the app has its own instances again, set up if they were."""
        if self._release is None:
            return
        self._release()
        self._release = None
        original = self.original
        del original.setup_all, original.teardown_all
        self._show(self._held)
        if self._was_set_up:
            await original.setup_all(context)

    def _show(self, plugins: Collection[Any]) -> None:
        """Let the original hold just `plugins`."""
        original, hooks = self.original, self.original.plugin_manager
        for loaded in original._loaded:  # noqa: SLF001 - there is no public way
            hooks.unregister(name=loaded.manifest.name)
        original._loaded[:] = plugins  # noqa: SLF001 - likewise
        for loaded in plugins:
            hooks.register(loaded.instance, name=loaded.manifest.name)

    def _follow(self, fact: Fact) -> None:
        """Keep the original's list like ours, one plugin at a time."""
        if not isinstance(fact, Transition):
            return
        if fact.to_state in {State.LOADED, State.READY}:
            self._put_in(fact.ref)
        elif fact.to_state is State.REMOVED:
            self._take_out(fact.ref)

    def _put_in(self, ref: PluginRef) -> None:
        from dagstack.plugin_system.adapters.in_process import LoadedPlugin  # noqa: PLC0415 - it
        # is imported where the app has imported it, and nowhere else.

        entry = self.table.entries[ref]
        proxy = self.table.proxy(entry)
        try:
            manifest = _manifest_of_original(entry.manifest)
        except Exception as error:  # noqa: BLE001 - what its own schema makes of ours
            self.table.publish(
                WatchProblem(
                    message=f"{ref} runs, but the app's registry cannot hold it: {error}",
                    path=entry.offer.folder,
                )
            )
            return
        place = self._take_out(ref)
        self.original._loaded.insert(  # noqa: SLF001 - there is no public way
            place, LoadedPlugin(proxy, manifest)
        )
        if not self.original.plugin_manager.has_plugin(ref.name):
            self.original.plugin_manager.register(_Hooks(proxy), name=ref.name)

    def _take_out(self, ref: PluginRef) -> int:
        """Let the original know `ref` no longer; the answer is the place that it had."""
        loaded = self.original._loaded  # noqa: SLF001 - there is no public way
        for place, each in enumerate(loaded):
            if each.manifest.name == ref.name and each.manifest.kind == ref.kind:
                del loaded[place]
                self.original.plugin_manager.unregister(name=ref.name)
                return place
        return len(loaded)


def refs_on_disk(roots: Iterable[str], rules: IgnoreRules) -> set[PluginRef]:
    """The plugins that the folders below `roots` offer, as far as their manifests tell."""
    found = set()
    for root in roots:
        for folder in find_plugins(root, rules):
            source, _ = read_plugin(folder, root, rules)
            file = source.manifest
            try:
                found.add(parse_manifest((file and file.content) or b"", folder).ref)
            except ManifestInvalid as error:
                if error.ref is not None:
                    found.add(error.ref)
    return found


class _Hooks:
    """What pluggy is given of a plugin: its methods, which reach whichever instance there is.

    Compared by identity, as pluggy does compare, whatever becomes of the plugin.
    """

    def __init__(self, plugin: object) -> None:
        for name, member in vars(type(plugin)).items():  # A proxy's class has forwarders for all.
            if isinstance(member, FunctionType) and not name.startswith("__"):
                setattr(self, name, getattr(plugin, name))


def _manifest_of_original(manifest: PluginManifest) -> Any:
    """Our manifest as one of the original's, as far as that knows its fields."""
    from dagstack.plugin_system import PluginManifest as Theirs  # noqa: PLC0415 - see `_put_in`
    from dagstack.plugin_system import load_manifest_from_dict  # noqa: PLC0415 - likewise

    ours = manifest.model_dump(mode="json", exclude_defaults=True)
    values = {key: value for key, value in ours.items() if key in Theirs.model_fields}
    values["schema_version"], values["kind_api_version"] = "1", manifest.kind_api_version
    values["runtime"] = "in_process"  # To the app, whatever the plugin runs in is a proxy.
    values["depends_on"] = [getattr(each, "name", each) for each in manifest.depends_on]
    values.setdefault("entry_point", "dagstack_dev:unwrap")
    for key in ("endpoint", "command", "env", "auth"):
        values.pop(key, None)
    return load_manifest_from_dict(values, source=str(manifest.ref))


async def _nothing_to_do(*_: object) -> None:
    """In place of the original's `setup_all` and `teardown_all`: the dev server decides."""
