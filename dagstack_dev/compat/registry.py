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

from dagstack_dev.compat.imports import PACKAGE
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.events import Transition, WatchProblem
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.host.plugins.preparation import manifest_of
from dagstack_dev.host.registry.registry import Registry
from dagstack_dev.host.services.context import PluginContext

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.plugins.entry import Entry

_OF_ITS_RUNTIME: Final = {"endpoint", "url", "command", "env", "auth"}
"""What a manifest says of how a plugin is run; an object runs already."""

_NO_ENTRY_POINT: Final = "dagstack_dev:unwrap"
"""In place of one, for what is not loaded from a module."""

_DOWN: Final = frozenset({State.FAILED, State.BLOCKED})


def is_original(registry: object) -> bool:
    """Return whether `registry` is one of `dagstack-plugin-system`, without importing that."""
    module = sys.modules.get(f"{PACKAGE}.registry")
    # Where the package is missing, a plugin may have imported the module that stands for it.
    is_one = module is not None and isinstance(registry, module.PluginRegistry)
    return is_one and not isinstance(registry, Registry)


def context_from(context: Any) -> PluginContext:
    """Make a context of ours of one of the original's."""
    if isinstance(context, PluginContext):
        return context
    known = (each.name for each in fields(PluginContext) if each.init)
    return PluginContext(
        **{name: getattr(context, name) for name in known if hasattr(context, name)}
    )


def core_version_of(original: Any) -> str:
    """Return the version that a registry of the original checks `core_version` against."""
    return str(original._core_version)  # noqa: SLF001 - there is no public way


class Driver:
    """Has a registry of ours run the plugins of one of `dagstack-plugin-system`.

    Args:
        original: the app's registry. Its resources are offered to the plugins.
        registry: ours.
        context: what the app gives its plugins; for their setup when it has them back.
    """

    def __init__(self, original: Any, registry: Registry, context: Any) -> None:
        self.original = original
        self._registry = registry
        self._table = registry.table
        self._context = context
        self._release: Callable[[], object] | None = None
        self._held: list[Any] = []
        self._was_set_up = False
        self._hooked: dict[str, PluginRef] = {}

    @property
    def _loaded(self) -> list[Any]:
        """What the original holds."""
        loaded: list[Any] = self.original._loaded  # noqa: SLF001 - there is no public way
        return loaded

    async def take(self, sources: Iterable[PluginSource]) -> None:
        """Take the plugins over: those the app has set up are torn down, and are ours from now on.

        What the app has registered and no folder offers is registered here as the object it is.

        Args:
            sources: the plugins that our own discovery will bring.

        Raises:
            RuntimeError: another dev server has taken them.
            PluginRegistryError: one of them cannot be registered here; nothing has been taken.
        """
        original = self.original
        if vars(original).get("setup_all") is _nothing_to_do:
            msg = "another DevServer drives this registry; leave its block first"
            raise RuntimeError(msg)
        for name in original.resources.names():
            self._registry.resources.register(name, original.resources.get(name), replace=True)
        self._held = list(self._loaded)
        self._adopt(self._held, _refs(sources))
        self._was_set_up = bool(original._setup_done)  # noqa: SLF001 - there is no public way
        tear_down = original.teardown_all
        original.setup_all = original.teardown_all = _nothing_to_do
        try:
            await tear_down()
        except Exception as error:  # noqa: BLE001 - by then it has torn down all that it could
            self._report(f"the app's own plugins were torn down, but {in_words(error)}")
        except BaseException:
            del original.setup_all, original.teardown_all
            raise
        hooks = original.plugin_manager
        for loaded in self._held:
            if hooks.has_plugin(loaded.manifest.name):
                hooks.unregister(name=loaded.manifest.name)
        self._loaded.clear()
        self._release = self._registry.observe(self._follow)

    async def give_back(self, *, set_up: bool) -> None:
        """Undo `take`: the app has its own instances again.

        Args:
            set_up: whether to set them up if they were; not for an app that is being cancelled.

        Raises:
            Exception: whatever the original's `setup_all` does.
        """
        if self._release is None:
            return
        self._release()
        self._release = None
        original, hooks = self.original, self.original.plugin_manager
        del original.setup_all, original.teardown_all
        for ref in tuple(self._hooked.values()):
            self._unhook(ref)
        new = [each for each in self._loaded if _ref(each) not in self._table.entries]
        self._loaded[:] = [*self._held, *new]
        for each in self._held:
            hooks.register(each.instance, name=each.manifest.name)
        if self._was_set_up and set_up:
            await original.setup_all(self._context)

    def _adopt(self, held: Iterable[Any], on_disk: Collection[PluginRef]) -> None:
        """Register the app's own objects, with what counts of their manifests for an object."""
        for loaded in held:
            unasked = _OF_ITS_RUNTIME | {"execution_model"}
            fields = loaded.manifest.model_dump(exclude_none=True, exclude=unasked)
            if _ref(loaded) in on_disk:
                continue
            if fields["runtime"] != "in_process":
                fields |= {"runtime": "in_process", "entry_point": _NO_ENTRY_POINT}
            self._registry.register_manifest(fields, loaded.instance)

    def _follow(self, fact: Fact) -> None:
        """Keep the original's list like ours, one plugin at a time."""
        if not isinstance(fact, Transition):
            return
        if fact.to_state is State.REMOVED:
            del self._loaded[self._slot(fact.ref)]
            self._unhook(fact.ref)
        elif fact.to_state in {State.LOADED, State.READY, *_DOWN}:
            self._put_in(fact.ref, fact.to_state)

    def _put_in(self, ref: PluginRef, state: State) -> None:
        from dagstack.plugin_system.adapters.in_process import LoadedPlugin  # noqa: PLC0415 - it
        # is imported where the app has imported it, and nowhere else.

        entry = self._table.entries[ref]
        proxy = self._table.proxy(entry)
        try:
            manifest = _manifest_of_original(entry.manifest)
        except Exception as error:  # noqa: BLE001 - what its own schema makes of ours
            self._report(f"{ref} runs, but the app's registry cannot hold it: {error}", entry)
            return
        shown = LoadedPlugin(_Down(proxy) if state in _DOWN else proxy, manifest)
        self._loaded[self._slot(ref)] = [shown]
        if state is not State.LOADED:
            self._unhook(ref)
        if state is State.READY:
            self._hook(entry, proxy)

    def _slot(self, ref: PluginRef) -> slice:
        """Return where the original has `ref`, or the place after its last plugin."""
        at = next((n for n, each in enumerate(self._loaded) if _ref(each) == ref), None)
        return slice(len(self._loaded), None) if at is None else slice(at, at + 1)

    def _hook(self, entry: Entry, proxy: object) -> None:
        hooks, name = self.original.plugin_manager, entry.ref.name
        if hooks.has_plugin(name):
            return
        self._hooked[name] = entry.ref
        try:
            hooks.register(_Hooks(proxy), name=name)
        except Exception as error:  # noqa: BLE001 - pluggy's own check of the hooks
            self._unhook(entry.ref)
            self._report(f"{entry.ref} runs, but has no part in pluggy's hooks: {error}", entry)

    def _unhook(self, ref: PluginRef) -> None:
        """Take the hooks of `ref` from pluggy, which knows plugins by their names alone."""
        if self._hooked.get(ref.name) == ref:
            del self._hooked[ref.name]
            hooks = self.original.plugin_manager
            if hooks.has_plugin(ref.name):  # The app may have taken it out itself.
                hooks.unregister(name=ref.name)

    def _report(self, message: str, entry: Entry | None = None) -> None:
        path = entry.revision.folder if entry is not None else ""
        self._table.publish(WatchProblem(message=" ".join(message.split()), path=path))


def _ref(loaded: Any) -> PluginRef:
    return PluginRef(loaded.manifest.kind, loaded.manifest.name)


def _refs(sources: Iterable[PluginSource]) -> set[PluginRef]:
    """Return the plugins that `sources` offer, as far as their manifests say."""
    found = set()
    for source in sources:
        try:
            found.add(manifest_of(source).ref)
        except ManifestInvalid as error:
            if error.ref is not None:
                found.add(error.ref)
    return found


class _Down:
    """A plugin that does not run just now: to the original's dispatchers, one without the hook."""

    def __init__(self, proxy: object) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._proxy, name)
        except PluginUnavailable as error:
            raise AttributeError(str(error)) from error


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
    values.setdefault("entry_point", _NO_ENTRY_POINT)
    for key in _OF_ITS_RUNTIME:
        values.pop(key, None)
    return load_manifest_from_dict(values, source=str(manifest.ref))


async def _nothing_to_do(*_: object) -> None:
    """In place of the original's `setup_all` and `teardown_all`: the dev server decides."""
