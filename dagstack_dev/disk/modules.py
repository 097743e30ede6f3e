"""The modules that plugins are imported from by name, as sources that may change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dagstack_dev.core.sources import ModulePlugin, PluginSource
from dagstack_dev.disk.changes import DiskChanges, looks_unfinished
from dagstack_dev.disk.reading import Stamp, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable


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

    def read(self) -> PluginSource | None:
        """The source as it is on disk; None when the module's file is gone."""
        if self.path is None:
            return PluginSource(self.folder, {}, self.plugin)
        try:
            stamp = Stamp.of(Path(self.path).stat())
        except OSError:
            return None
        return PluginSource(
            self.folder, {Path(self.path).name: read_file(self.path, stamp)}, self.plugin
        )


class ModuleView:
    """Some of these modules as last accepted: the counterpart of `DiskView` for folders."""

    def __init__(self, modules: Iterable[ModuleSource]) -> None:
        self._modules = {module.folder: module for module in modules}
        self._accepted: dict[str, PluginSource] = {}

    def look(self, hints: Iterable[str] | None = None, *, believe: bool = True) -> DiskChanges:
        """What differs from what was accepted; see `DiskView.look`."""
        near = None if hints is None else set(hints)
        found = DiskChanges()
        for folder, module in self._modules.items():
            before = self._accepted.get(folder)
            if before is None or (module.is_watched and _is_near(module.path, near)):
                found = found.and_also(_difference(before, module.read()))
        return found if not believe else replace(found, unsettled=frozenset())

    @property
    def watched(self) -> set[str]:
        """The files whose edits count."""
        return {each.path for each in self._modules.values() if each.is_watched and each.path}

    def accept(self, changes: DiskChanges) -> None:
        """Make what `changes` says of these modules what later looks are compared with."""
        for source in changes.removed:
            self._accepted.pop(source.folder, None)
        for source in changes.present():
            if source.folder in self._modules:
                self._accepted[source.folder] = source


def _is_near(path: str | None, hints: set[str] | None) -> bool:
    if path is None or hints is None:
        return path is not None
    return path in hints or any(path.startswith(f"{hint}/") for hint in hints)


def _difference(before: PluginSource | None, now: PluginSource | None) -> DiskChanges:
    if before is None:
        return DiskChanges(added=(now,)) if now is not None else DiskChanges()
    doubtful = frozenset({before.folder})
    if now is None:
        return DiskChanges(removed=(before,), unsettled=doubtful)
    if now.files == before.files:
        return DiskChanges()
    unsettled = doubtful if looks_unfinished(before, now) else frozenset[str]()
    return DiskChanges(changed=((before, now),), unsettled=unsettled)
