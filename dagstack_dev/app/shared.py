"""Changes of shared code, put before the planner as changes of the plugins that import it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dagstack_dev.app.catalog import candidate_for
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.planning import Load
from dagstack_dev.disk.code_view import CodeView
from dagstack_dev.runtimes.imports import ImportLog
from dagstack_dev.runtimes.in_process import InProcessRuntime
from dagstack_dev.runtimes.shared import SharedCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dagstack_dev.app.catalog import Draft
    from dagstack_dev.core.planning import Candidate
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.host.registry import Registry
    from dagstack_dev.runtimes.shared_change import SharedChange


class SharedCatalog:
    """The files of shared code that differ from what runs.

    Args:
        registry: whose plugins import the code.
        roots: absolute folders with shared code; those of the plugins are among them.
        ignore: what does not count below them.
    """

    def __init__(self, registry: Registry, roots: Sequence[str], ignore: IgnoreRules) -> None:
        self._table = registry.table
        self._code = _shared_code(registry)
        self._view = CodeView(roots, ignore, self._code)
        self._offered: dict[str, bytes | None] = {}
        self._added = [root for root in roots if self._code.add_root(root, ignore.path)]

    def close(self) -> None:
        """Let nobody import from the roots any more, but for what the registry discovered."""
        for root in self._added:
            self._code.remove_root(root)

    def counts(self, path: str) -> bool:
        """Whether an event at `path` may be about shared code."""
        return self._view.counts(path)

    def is_meant(self, path: str) -> bool:
        """Whether some module is imported from `path`, or would be."""
        return self._code.is_meant(path)

    def look(self, hints: Iterable[str] | None) -> dict[str, SourceFile | None]:
        """What differs near `hints`, or anywhere for None, and what could not be taken over yet."""
        return self._view.look(None if hints is None else {*hints, *self._offered})

    def news(self, contents: Mapping[str, SourceFile | None]) -> dict[str, SourceFile | None]:
        """Those of `contents` that have not been offered in vain already."""
        return {
            path: file
            for path, file in contents.items()
            if path not in self._offered or self._offered[path] != _fingerprint(file)
        }

    def has_news(self, contents: Mapping[str, SourceFile | None]) -> bool:
        """Whether there is anything to do: something new, or what was offered in vain is gone."""
        return bool(self.news(contents)) or not self._offered.keys() <= contents.keys()

    def looks_unfinished(self, contents: Mapping[str, SourceFile | None]) -> bool:
        """Whether one of the news was emptied or has vanished, as half-way through a save."""
        return self._view.looks_unfinished(self.news(contents))

    def prepare(self, contents: Mapping[str, SourceFile | None]) -> list[SharedChange]:
        """Compile `contents`, and tell which plugins they are for."""
        return self._code.prepare(contents)

    def enter(self, changes: Iterable[SharedChange], draft: Draft) -> None:
        """Make the plugins that import what has changed candidates of `draft`."""
        renamed = {each.replaces: ref for ref, each in draft.candidates.items() if each.replaces}
        for change in changes:
            for plugin in change.plugins - draft.removed:
                ref = renamed.get(plugin, plugin)
                candidate = draft.candidates.get(ref) or self._candidate(ref, change)
                if candidate is not None:
                    error = candidate.error or change.error_for(ref)
                    draft.candidates[ref] = replace(
                        candidate, load=Load.IMPORT, error=error, shared=change.name
                    )
                    draft.unchanged.discard(ref)

    def _candidate(self, ref: PluginRef, change: SharedChange) -> Candidate | None:
        """What `ref` is already, to be imported once more; None when it cannot be."""
        entry = self._table.entries.get(ref)
        if entry is None or self._table.states[ref] is State.REMOVED or not entry.offer.prepared:
            return None
        return candidate_for(entry, change.reason, Load.IMPORT)

    def settle(self, contents: Mapping[str, SourceFile | None]) -> None:
        """Note what of `contents` is in force now; the rest is looked at with every batch."""
        running = self._code.fingerprints()
        self._offered = {
            path: _fingerprint(file)
            for path, file in contents.items()
            if running.get(path) != _fingerprint(file)
        }


def _fingerprint(file: SourceFile | None) -> bytes | None:
    return None if file is None else file.fingerprint


def _shared_code(registry: Registry) -> SharedCode:
    """The shared code that the registry's plugins import; without any such runtime, none."""
    for runtime in registry.runtimes.values():
        if isinstance(runtime, InProcessRuntime):
            return runtime.shared
    return SharedCode(ImportLog(), lambda _: None)
