"""The specification's registry: the host's, with the disk and the runtimes of this package."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dagstack_dev.app.bulk import rare_collections
from dagstack_dev.core.errors import PluginRegistryError
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.host.preparation import prepare
from dagstack_dev.host.registry import CORE_VERSION, Registry
from dagstack_dev.logs import FactLogger
from dagstack_dev.runtimes.in_process import InProcessRuntime

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.ports import Observer
    from dagstack_dev.host.resources import ResourceRegistry
    from dagstack_dev.host.table import Offer


class PluginRegistry(Registry):
    """Stores plugins, checks their manifests and versions, orders their setup, hands them out.

    The central object of the specification. Every transition of a plugin is logged through
    structlog as the app has configured it.

    Args:
        core_version: the version that `core_version` of each manifest is held against.
        resource_registry: the host objects that plugins may declare in `[plugin.resources]`.
        observer: told every fact, in place of that logging.
    """

    def __init__(
        self,
        *,
        core_version: str = CORE_VERSION,
        resource_registry: ResourceRegistry | None = None,
        observer: Observer | None = None,
    ) -> None:
        runtime = InProcessRuntime()
        super().__init__(
            core_version=core_version,
            resource_registry=resource_registry,
            runtimes={"in_process": runtime},
        )
        self._shared = runtime.shared
        self.roots: list[str] = []
        self.observe(FactLogger() if observer is None else observer)

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
        self._shared.add_root(root, rules.path)
        with rare_collections():
            self._discover(root, rules, recursive=recursive)
        self.roots.append(root)
        return self

    def _discover(self, root: str, rules: IgnoreRules, *, recursive: bool) -> None:
        offers: list[Offer] = []
        errors: list[PluginRegistryError] = []
        for folder in find_plugins(root, rules, recursive=recursive):
            source, _ = read_plugin(folder, root, rules)
            try:
                offers.append(
                    prepare(source, core_version=self.core_version, runtimes=self.runtimes)
                )
            except PluginRegistryError as error:
                errors.append(error)
        if errors:
            raise errors[0].with_others(errors[1:])
        self.register_offers(offers)


def discover(
    path: str | os.PathLike[str],
    *,
    recursive: bool = True,
    ignore: Iterable[str] | None = None,
    core_version: str = CORE_VERSION,
    resource_registry: ResourceRegistry | None = None,
) -> PluginRegistry:
    """A registry of every plugin below `path`: the specification's one way to get one.

    Arguments and errors are those of `PluginRegistry` and its `discover`.
    """
    registry = PluginRegistry(core_version=core_version, resource_registry=resource_registry)
    return registry.discover(path, recursive=recursive, ignore=ignore)
