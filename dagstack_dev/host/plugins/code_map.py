"""Which plugin a file belongs to, and which plugins have imported its code."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from dagstack_dev.core.graph import reach
from dagstack_dev.core.ports import Imported

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from dagstack_dev.core.ports import Generation, Runtime
    from dagstack_dev.core.refs import PluginRef


class CodeMap:
    """The folders of plugins, and who imports code from where.

    Args:
        runtimes: those that serve the plugins, by name.
        running: the plugins that are set up.
    """

    def __init__(self, runtimes: Mapping[str, Runtime], running: Container[PluginRef]) -> None:
        self._runtimes = runtimes
        self._running = running
        self._by_folder: defaultdict[str | None, dict[PluginRef, None]] = defaultdict(dict)

    def add(self, ref: PluginRef, folder: str | None) -> None:
        """Note that `ref` is loaded from `folder`."""
        self._by_folder[folder][ref] = None

    def remove(self, ref: PluginRef, folder: str | None) -> None:
        """Note that `ref` is not loaded from `folder` any more."""
        del self._by_folder[folder][ref]

    def plugin_at(self, path: str) -> PluginRef | None:
        """Return the plugin that a source file belongs to, as quickly for many plugins as few."""
        folder, inner = os.path.dirname(path), path  # noqa: PTH120 - for each line that is logged
        while folder not in self._by_folder and folder != inner:
            folder, inner = os.path.dirname(folder), folder  # noqa: PTH120 - (the same)
        return next(iter(self.owners(folder)), None)

    def owners(self, folder: str) -> list[PluginRef]:
        """Return the plugins that were loaded from `folder`: the one that runs, then the latest."""
        latest = reversed(self._by_folder.get(folder, ()))
        return sorted(latest, key=lambda ref: ref not in self._running)

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:
        """Return the plugins that have imported code of `ref`, whatever they depend on."""
        return frozenset().union(*(each.importers(ref) for each in self._runtimes.values()))

    def imports_of(self, ref: PluginRef) -> Imported:
        """Return what `ref` has imported by now, of code that is not its own, or tried to."""
        found = [each.imports_of(ref) for each in self._runtimes.values()]
        code = {name: ran for each in found for name, ran in each.code.items()}
        return Imported(code, {name for each in found for name in each.absent})

    def undone(self, generations: Mapping[PluginRef, Generation | None]) -> set[PluginRef]:
        """Return what has to be imported anew though its code has not changed.

        That is code whose teardown has taken out of other modules what only the import puts there,
        and code that has imported it.

        Args:
            generations: those that are about to be set up again, by plugin.
        """
        found = (ref for ref, each in generations.items() if each is not None and each.is_undone)
        return reach(found, lambda ref: self.importers(ref) & generations.keys())
