"""Plugins that were found by name: entry points of installed packages, and imported modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagstack_dev.disk.discovery import plugin_sources
from dagstack_dev.disk.modules import ModuleSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.core.errors import PluginRegistryError
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.ignore import IgnoreRules


@dataclass(slots=True)
class Installed:
    """Plugins that were found by name.

    Attributes:
        folders: those that have a manifest file.
        modules: those that have it in their code.
        code_roots: folders with the code of those, where it is somebody's working copy.
        errors: why something is left out, by what named it.
    """

    folders: list[str] = field(default_factory=list)
    modules: list[ModuleSource] = field(default_factory=list)
    code_roots: list[str] = field(default_factory=list)
    errors: dict[str, PluginRegistryError] = field(default_factory=dict)

    def add(self, other: Installed) -> None:
        """Join what `other` has found; what is known already is left out."""
        self.folders += [each for each in other.folders if each not in self.folders]
        self.code_roots += [each for each in other.code_roots if each not in self.code_roots]
        known = {module.folder for module in self.modules}
        self.modules += [module for module in other.modules if module.folder not in known]

    def sources(self, ignore: IgnoreRules) -> Iterator[PluginSource]:
        """What they are loaded from, as it is on disk now."""
        yield from plugin_sources(self.folders, ignore, recursive=False)
        yield from filter(None, (module.read() for module in self.modules))
