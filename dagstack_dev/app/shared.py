"""Changes of shared code, put before the planner as changes of the plugins that import it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dagstack_dev.app.draft import candidate_for
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Load
from dagstack_dev.disk.reading import has_changed
from dagstack_dev.runtimes.imports import ImportLog
from dagstack_dev.runtimes.in_process import InProcessCode, InProcessRuntime
from dagstack_dev.runtimes.shared import SharedCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dagstack_dev.app.draft import Draft
    from dagstack_dev.core.plan import Candidate
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.disk.snapshot import Snapshot
    from dagstack_dev.host.registry import Registry
    from dagstack_dev.runtimes.shared_change import SharedChange


class SharedCatalog:
    """The files of shared code that differ from what runs.

    Args:
        registry: whose plugins import the code.
        snapshot: what is on disk.
        roots: absolute folders with shared code; those of the plugins are among them.
        ignore: what does not count below them.
    """

    def __init__(
        self, registry: Registry, snapshot: Snapshot, roots: Sequence[str], ignore: IgnoreRules
    ) -> None:
        self._table = registry.table
        self._snapshot = snapshot
        self._code = shared_code(registry)
        self._offered: dict[str, bytes | None] = {}
        self._asked: dict[str, frozenset[PluginRef]] = {}
        self._free: dict[str, set[PluginRef]] = {}
        self._missed: set[PluginRef] = set()
        self._added = [root for root in roots if self._code.add_root(root, ignore.excludes)]

    def close(self) -> None:
        """Let nobody import from the roots any more, but for what the registry discovered."""
        for root in self._added:
            self._code.remove_root(root)

    def is_meant(self, path: str) -> bool:
        """Whether some module is imported from `path`, or would be."""
        return self._code.is_meant(path)

    def differing(self, paths: Iterable[str] | None) -> dict[str, SourceFile | None]:
        """What differs at `paths`, or anywhere for None, and what could not be taken over yet.

        Likewise what runs, and came too late for somebody who imports it.
        """
        files = self._snapshot.files
        found = files.differing(None if paths is None else {*paths, *self._offered})
        return self._code.late() | found

    def changed_on_disk(self) -> frozenset[PluginRef]:
        """The plugins that import what differs on disk by now. May run in a thread of its own."""
        known = ((path, self._code.fingerprint(path)) for path in self._code.known())
        return self.importers(path for path, runs in known if has_changed(path, runs))

    def news(self, contents: Mapping[str, SourceFile | None]) -> dict[str, SourceFile | None]:
        """Those of `contents` that have not been offered in vain already."""
        return {
            path: file
            for path, file in contents.items()
            if path not in self._offered or self._offered[path] != _fingerprint(file)
        }

    def importers(self, contents: Iterable[str]) -> frozenset[PluginRef]:
        """The plugins that import any of the files at these paths."""
        return self._code.plugins_at(contents)

    def has_news(self, contents: Mapping[str, SourceFile | None]) -> bool:
        """Whether there is anything to do.

        That is something new, or what was offered in vain is gone or concerns somebody else too.
        """
        gone = not self._offered.keys() <= contents.keys()
        return gone or bool(self.news(contents)) or self.has_gained_importers()

    def prepare(self, contents: Mapping[str, SourceFile | None]) -> list[SharedChange]:
        """Compile `contents`, and tell which plugins they are for."""
        changes = self._code.prepare(contents)
        self._asked = {path: change.plugins for change in changes for path in change.files}
        self._free.clear()
        return changes

    def enter(self, changes: Iterable[SharedChange], draft: Draft) -> None:
        """Make the plugins that import what has changed candidates of `draft`."""
        renamed = {each.replaces: ref for ref, each in draft.candidates.items() if each.replaces}
        for change in changes:
            staying = {renamed.get(each, each) for each in change.plugins - draft.removed}
            offered = (self._enter(ref, change.reason, draft) for ref in sorted(staying))
            entered = list(filter(None, offered))
            keeping = self._keeping(entered, change, draft) if change.is_broken else []
            for candidate in keeping or entered:
                error = candidate.error or (change.error_for(candidate.ref) if keeping else None)
                draft.candidates[candidate.ref] = replace(
                    candidate, error=error, shared=change.name
                )
            if keeping:
                free = {each.ref for each in entered} - {each.ref for each in keeping}
                self._free |= dict.fromkeys(change.files, free)
            if not entered:
                change.leave()
        for plugin in sorted(self._missed - draft.removed):
            self._enter(renamed.get(plugin, plugin), "pending", draft)

    def _keeping(
        self, entered: Iterable[Candidate], change: SharedChange, draft: Draft
    ) -> list[Candidate]:
        """Those of `entered` for whose sake a change that does not compile is not put in force.

        None if nothing that runs would be lost by it: whoever imports the broken file then fails
        as after a restart. A plugin whose own new text names it no more is free of it.
        """
        bound = [each for each in entered if not self._is_free(each, change, draft)]
        live = any(self._table.states.get(each.keeps) is State.READY for each in bound)
        return bound if live else []

    def _is_free(self, candidate: Candidate, change: SharedChange, draft: Draft) -> bool:
        offer = draft.offers.get(candidate.ref)
        if offer is None or candidate.error is not None:
            return False
        code = offer.prepared
        return isinstance(code, InProcessCode) and not code.names_any_of(change.modules)

    def _enter(self, ref: PluginRef, reason: str, draft: Draft) -> Candidate | None:
        """Have `ref` imported anew, whatever else it is a candidate for, if it can be."""
        candidate = draft.candidates.get(ref) or self._candidate(ref, reason)
        if candidate is not None:
            candidate = draft.candidates[ref] = replace(candidate, load=Load.IMPORT)
            draft.unchanged.discard(ref)
        return candidate

    def _candidate(self, ref: PluginRef, reason: str) -> Candidate | None:
        """What `ref` is already, to be imported once more; None when it cannot be."""
        entry = self._table.entries.get(ref)
        if entry is None or self._table.states[ref] is State.REMOVED or not entry.offer.prepared:
            return None
        return candidate_for(entry, reason, Load.IMPORT)

    def settle(self, contents: Mapping[str, SourceFile | None]) -> dict[str, SourceFile | None]:
        """Note what of `contents` is in force now; the rest is looked at with every batch.

        Returns:
            The rest, and what has come too late for somebody meanwhile.
        """
        late = self._code.late()
        rest = {
            path: file
            for path, file in contents.items()
            if path in late or self._code.fingerprint(path) != _fingerprint(file)
        }
        self._offered = {path: _fingerprint(file) for path, file in rest.items()}
        given_up = self._code.log.given_up
        if given_up and self._is_all_well():
            given_up.clear()  # Nobody is left who may wait for a module.
        return late | rest

    def _is_all_well(self) -> bool:
        return all(
            self._table.states[entry.ref] is State.READY and not entry.pending
            for entry in self._table.present()
        )

    def note_missed(
        self, changes: Iterable[SharedChange], draft: Draft, kept: Collection[PluginRef]
    ) -> None:
        """Note who runs shared code that others have the successor of, to be imported anew.

        Args:
            changes: what was prepared; some of it is in force now.
            draft: what was planned for.
            kept: plugins whose candidate was rejected or rolled back.
        """
        self._missed -= {each.keeps for each in draft.candidates.values()} - set(kept)
        self._missed -= draft.removed
        for path, free in self._free.items():
            self._asked[path] -= free - set(kept)
        for change in changes:
            if self._offered.keys().isdisjoint(change.files):
                self._missed |= change.plugins & set(kept)

    def has_gained_importers(self) -> bool:
        """Whether a plugin imports something that was offered in vain, and was not asked."""
        return any(
            not self._code.plugins_at([path]) <= self._asked.get(path, frozenset())
            for path in self._offered
        )


def _fingerprint(file: SourceFile | None) -> bytes | None:
    return None if file is None else file.fingerprint


def in_process(registry: Registry) -> InProcessRuntime | None:
    """The registry's runtime for plugins in this process, if it has one of ours."""
    found = (each for each in registry.runtimes.values() if isinstance(each, InProcessRuntime))
    return next(found, None)


def shared_code(registry: Registry) -> SharedCode:
    """The shared code that the registry's plugins import; without any such runtime, none."""
    runtime = in_process(registry)
    return SharedCode(ImportLog(), lambda _: None) if runtime is None else runtime.shared
