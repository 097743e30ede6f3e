"""The specification's registry: the host's, with the disk and the runtimes of this package."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.app.entry_points import DEFAULT_GROUP, Installed, installed_plugins, module_plugin
from dagstack_dev.app.hookspec_files import read_hookspecs
from dagstack_dev.compat.imports import answer_for
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.events import PluginToolsChanged
from dagstack_dev.core.manifest.parsing import manifest_from
from dagstack_dev.core.sources import ModulePlugin
from dagstack_dev.disk.discovery import plugin_sources
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.module_source import ModuleSource
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.host.loop.gc_pause import rare_collections
from dagstack_dev.host.registry.registry import CORE_VERSION, Registry
from dagstack_dev.host.services.loggers import AppLogger
from dagstack_dev.logs import LOGGER_NAME, FactLogger
from dagstack_dev.runtimes.in_process.runtime import InProcessRuntime
from dagstack_dev.runtimes.mcp.http import McpHttpRuntime
from dagstack_dev.runtimes.mcp.stdio import McpStdioRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from dagstack_dev.core.hookspecs.kinds import KindSpec
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Observer, Prepared, Runtime
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.plugins.entry import Revision
    from dagstack_dev.host.services.resources import ResourceRegistry
    from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode

_WORKER: Final = "dagstack_dev.app.plugin_process"
"""What runs in the process of one plugin."""


class PluginRegistry(Registry):
    """Stores plugins, checks their manifests and versions, orders their setup, hands them out.

    The central object of the specification. Every transition of a plugin is logged as the app has
    configured structlog, or else the standard `logging`; where it has configured neither, nothing
    is seen of it.

    Args:
        core_version: the version that `core_version` of each manifest is held against.
        resource_registry: the host objects that plugins may declare in `[plugin.resources]`.
        observer: gets every fact, in place of that logging.
    """

    def __init__(
        self,
        *,
        core_version: str = CORE_VERSION,
        resource_registry: ResourceRegistry | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.in_process = InProcessRuntime(apart=_apart)
        answer_for(self.in_process)
        super().__init__(
            core_version=core_version,
            resource_registry=resource_registry,
            runtimes=_runtimes(self.in_process, self._note_new_tools),
        )
        self.in_process.ask(self.runner.queue)
        self.roots: list[str] = []
        self.installed = Installed()
        self.observe(
            FactLogger(AppLogger(LOGGER_NAME, quiet=True)) if observer is None else observer
        )

    def _note_new_tools(self, ref: PluginRef) -> None:
        self.table.publish(PluginToolsChanged(ref=ref))

    def discover(
        self,
        path: str | os.PathLike[str],
        *,
        recursive: bool = True,
        ignore: Iterable[str] | None = None,
    ) -> PluginRegistry:
        """Register every plugin below `path`: all of them, or none when anything is wrong.

        Args:
            path: a folder; relative to the current one, a leading `~` is expanded.
            recursive: look below `path` too, not only at `path` itself.
            ignore: globs to leave out, besides the usual caches and build folders.

        Returns:
            This registry.

        Raises:
            FileNotFoundError: there is no such folder.
            ManifestInvalid, VersionIncompatible, RuntimeNotSupported, PluginLoadError,
            AmbiguousPlugin: the first error by path; all further ones are its `others`.
        """
        root = root_folder(path)
        rules = IgnoreRules(ignore or ())
        self.add_code_root(root, rules)
        with rare_collections(adds_only=True):
            self._register(plugin_sources([root], rules, recursive=recursive))
        self.roots.append(root)
        return self

    def add_hookspecs(
        self, *specs: KindSpec | type | str | os.PathLike[str], replace: bool = False
    ) -> None:
        """Declare kinds, as `Registry.add_hookspecs` does; also by the path of a YAML file.

        Args:
            specs: as there; or paths, relative to the current folder.
            replace: as there.

        Raises:
            HookspecsInvalid: a file cannot be used, with every problem in it at once.
            ValueError, HookspecMissing, KindVersionIncompatible: as there.
        """
        found: list[KindSpec | type] = []
        for spec in specs:
            if isinstance(spec, str | os.PathLike):
                found.extend(read_hookspecs(spec))
            else:
                found.append(spec)
        super().add_hookspecs(*found, replace=replace)

    def add_code_root(self, root: str, rules: IgnoreRules) -> None:
        """Let plugins import the code below a folder.

        Args:
            root: its absolute path.
            rules: what is left out.
        """
        self.in_process.shared.add_root(root, rules.excludes)

    def register_manifest(
        self, manifest: PluginManifest | dict[str, Any], plugin: object = None
    ) -> PluginManifest:
        """Register a plugin object that the host made, or what a manifest names, without a folder.

        Args:
            manifest: its fields.
            plugin: the object; without it the class of `entry_point`, whose module has to be
                importable, is loaded as for `discover`, or the server is started as there.

        Raises:
            ManifestInvalid: the manifest does not match the schema.
            VersionIncompatible, RuntimeNotSupported, KindUnknown, PluginLoadError,
            AmbiguousPlugin: as for `discover`.
        """
        if plugin is not None:
            return super().register_manifest(manifest, plugin)
        valid = manifest_from(manifest)
        fields = valid.model_dump(exclude_defaults=True)
        named = ModulePlugin(valid.entry_module, f"{valid.kind}.{valid.name}", computed=fields)
        self._register_installed(Installed(modules=[ModuleSource(None, named)]))
        return self.table.entries[valid.ref].manifest

    def register_module(self, module: ModuleType) -> PluginManifest:
        """Register the plugin that an imported module declares (contract, section 1).

        The module binds a dict `DAGSTACK_PLUGIN_MANIFEST`, or a function `get_dagstack_manifest()`
        that returns one. Its `entry_point` names an importable module and a class in it. A module
        whose plugin is registered already is left alone.

        Args:
            module: the module.

        Returns:
            The manifest.

        Raises:
            ManifestInvalid: the module binds no manifest, or not a valid one.
            VersionIncompatible, RuntimeNotSupported, PluginLoadError, AmbiguousPlugin: as for
                `discover`.
        """
        found = module_plugin(module)
        self._register_installed(found)
        folder = found.modules[0].folder
        return next(
            entry.manifest for entry in self.table.present() if entry.revision.folder == folder
        )

    def load_entry_points(self, group: str = DEFAULT_GROUP) -> list[PluginManifest]:
        """Register what installed packages offer by entry points: all, or none if one is broken.

        An entry point names a module, a class, a dict or a function that returns one. The manifest
        is a file in the module's package (or, for an editable installation, in its project), else
        in the module. What is registered already is left alone.

        Args:
            group: the name of the group that the entry points are in.

        Returns:
            The manifests of what is new, in the order of the entry points' names, those with a
            manifest file first.

        Raises:
            ManifestInvalid, VersionIncompatible, RuntimeNotSupported, PluginLoadError,
            AmbiguousPlugin: the first error; all further ones are its `others`.
        """
        found = installed_plugins(group)
        if found.errors:
            first, *others = found.errors.values()
            raise first.with_others(others)
        return self._register_installed(found)

    def _register_installed(self, found: Installed) -> list[PluginManifest]:
        rules = IgnoreRules()
        for root in (*found.folders, *found.code_roots):
            self.add_code_root(root, rules)
        known = {entry.revision.folder for entry in self.table.present()}
        sources = [each for each in found.sources(rules) if each.folder not in known]
        revisions = self._register(sources)
        self.installed.add(found)
        return [revision.manifest for revision in revisions]

    def _register(self, sources: Iterable[PluginSource]) -> list[Revision]:
        """Register what `sources` offer, all or none."""
        revisions: list[Revision] = []
        errors: list[PluginRegistryError] = []
        for source in sources:
            try:
                revisions.append(self.prepare(source))
            except PluginRegistryError as error:
                errors.append(error)
        if errors:
            raise errors[0].with_others(errors[1:])
        self.register_revisions(revisions)
        return revisions


def _apart(code: InProcessCode) -> Prepared:
    """Return `code` as what runs in a process of its own."""
    from dagstack_dev.runtimes.process.code import ProcessCode  # noqa: PLC0415 - few plugins do

    return ProcessCode(code, _WORKER)


def _runtimes(
    in_process: InProcessRuntime, on_new_tools: Callable[[PluginRef], None]
) -> dict[str, Runtime]:
    """Return what can be served here."""
    stdio = McpStdioRuntime(on_new_tools)
    served: dict[str, Runtime] = {in_process.name: in_process, stdio.name: stdio}
    if find_spec("httpx2") is not None:  # The extra `[mcp]`; its first connection imports it.
        served[McpHttpRuntime.name] = McpHttpRuntime(on_new_tools)
    return served


def discover(
    path: str | os.PathLike[str],
    *,
    recursive: bool = True,
    ignore: Iterable[str] | None = None,
    core_version: str = CORE_VERSION,
    resource_registry: ResourceRegistry | None = None,
) -> PluginRegistry:
    """Make a registry of every plugin below `path`: the specification's way to get one.

    Args:
        path: a folder, as for `PluginRegistry.discover`.
        recursive: likewise.
        ignore: likewise.
        core_version: the version that `core_version` of each manifest is held against.
        resource_registry: the host objects that plugins may declare in `[plugin.resources]`.

    Returns:
        The registry.

    Raises:
        FileNotFoundError, PluginRegistryError: as `PluginRegistry.discover` does.
    """
    registry = PluginRegistry(core_version=core_version, resource_registry=resource_registry)
    return registry.discover(path, recursive=recursive, ignore=ignore)
