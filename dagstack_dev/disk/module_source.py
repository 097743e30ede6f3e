"""The modules that plugins are imported from by name, as sources that may change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstack_dev.core.sources import ModulePlugin, PluginSource
from dagstack_dev.disk.reading import see_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.sources import SourceFile


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """Where the manifest of a plugin is that is imported by name.

    Attributes:
        path: the module's file; None for a module that was made in memory.
        plugin: how to import it.
        is_watched: whether an edit counts; not where it was installed for good.
    """

    path: str | None
    plugin: ModulePlugin
    is_watched: bool = False

    @property
    def folder(self) -> str:
        """What stands for the plugin's folder; see `PluginSource`."""
        path = self.path or f"<module {self.plugin.module}>"
        return f"{path}:{self.plugin.attribute}" if self.plugin.attribute else path

    def source(self, file: Callable[[str], SourceFile | None]) -> PluginSource | None:
        """Return the source, of what `file` says its file holds; None when that is gone."""
        if self.path is None:
            return PluginSource(self.folder, {}, self.plugin)
        held = file(self.path)
        if held is None:
            return None
        return PluginSource(self.folder, {os.path.basename(self.path): held}, self.plugin)  # noqa: PTH119 - as all over here

    def read(self) -> PluginSource | None:
        """Return the source as it is on disk now; None when the module's file is gone."""
        return self.source(lambda path: seen.file if (seen := see_file(path)) else None)
