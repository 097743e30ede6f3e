"""The configuration file: what of it is in force, and for whom it says something else by now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dagstack_dev.app.config import read_config
from dagstack_dev.app.reload.reports import Reports
from dagstack_dev.core.config import ConfigDocument, belongs_to_none, misspelt_sections
from dagstack_dev.core.errors.files import ConfigInvalid
from dagstack_dev.core.events import WatchProblem
from dagstack_dev.host.services.context import sees_the_same

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.host.registry.registry import Registry
    from dagstack_dev.host.services.context import PluginContext


class Configuration:
    """The configuration of a registry's plugins, taken from a file where there is one.

    Args:
        registry: whose context holds what is in force.
        path: of the file, if there is one.
        file: returns what is at a path by now.
    """

    def __init__(
        self, registry: Registry, path: str | None, file: Callable[[str], SourceFile | None]
    ) -> None:
        self._runner = registry.runner
        self._table = registry.table
        self._path = path
        self._file = file
        self._reports = Reports(registry.table)
        self._misspelt: set[PluginRef] = set()

    @property
    def _context(self) -> PluginContext:
        context = self._runner.context
        assert context is not None, "no context"  # noqa: S101 - a server has given it one
        return context

    def take(self, files: AbstractSet[str]) -> set[PluginRef]:
        """Put in force what the file says if it is among `files`; report what cannot be used.

        Returns:
            The plugins whose section differs.
        """
        if self._path is None or self._path not in files:
            return set()
        try:
            config = read_config(self._path, self._file(self._path))
        except ConfigInvalid as error:
            self._reports.rejected(None, self._path, error)
            return set()
        self._reports.fixed(self._path, None, "the file can be used again")
        before = self._context.config
        self._runner.context = replace(self._context, config=config)
        refs = (entry.ref for entry in self._table.present())
        return {ref for ref in refs if not sees_the_same(ref, before, config)}

    def report_misspelt(self, files: AbstractSet[str]) -> None:
        """Report tables that reach no plugin, once each, if the file is among `files`."""
        config = self._context.config
        if self._path not in files or not isinstance(config, ConfigDocument):
            return
        found = misspelt_sections(config, (entry.ref for entry in self._table.present()))
        for table, meant in found.items():
            if table not in self._misspelt:
                message = belongs_to_none(table, meant, config.line_of(table))
                self._table.publish(WatchProblem(message=message, path=config.path))
        self._misspelt = {*found}
