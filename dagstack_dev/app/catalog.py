"""Which folder stands for which plugin, and what each folder has to offer.

Between the disk, which knows folders, and the planner, which knows plugins. It keeps what could
not be taken over (broken, rejected, rolled back) as pending, to be offered again with every batch.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagstack_dev.core.errors import AmbiguousPlugin, PluginRegistryError
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.planning import Candidate, Load
from dagstack_dev.host.preparation import prepare
from dagstack_dev.host.table import Offer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.planning import ReloadPlan
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.snapshot import DiskChanges
    from dagstack_dev.host.registry import Registry
    from dagstack_dev.host.reloader import Applied


@dataclass(slots=True)
class _Record:
    """One folder: what it offers, or why it offers nothing."""

    source: PluginSource
    offer: Offer | None = None
    error: PluginRegistryError | None = None
    ref: PluginRef | None = None


@dataclass(slots=True)
class Draft:
    """What a batch puts before the planner.

    Attributes:
        candidates: by ref.
        offers: what each is loaded from.
        removed: plugins whose folder is gone.
        unclaimed: folders that cannot even be given a plugin, with the reason.
    """

    candidates: dict[PluginRef, Candidate] = field(default_factory=dict)
    offers: dict[PluginRef, Offer] = field(default_factory=dict)
    removed: set[PluginRef] = field(default_factory=set)
    unclaimed: dict[str, PluginRegistryError] = field(default_factory=dict)


class Catalog:
    """Every plugin folder below the roots.

    Args:
        registry: whose plugins the folders are; those it has already discovered are known.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._records: dict[str, _Record] = {}
        self._claims: defaultdict[PluginRef, set[str]] = defaultdict(set)
        self._folder_of: dict[PluginRef, str] = {}
        self._ref_of: dict[str, PluginRef] = {}
        self.pending: set[str] = set()
        for entry in registry.table.present():
            if entry.offer.source is not None:
                self._own(entry.offer.source.folder, entry.ref)

    def folder_of(self, ref: PluginRef) -> str | None:
        """The folder that `ref` runs from."""
        return self._folder_of.get(ref)

    def _own(self, folder: str, ref: PluginRef) -> None:
        before = self._ref_of.get(folder)
        if before is not None and self._folder_of.get(before) == folder:
            del self._folder_of[before]
        self._ref_of[folder] = ref
        self._folder_of[ref] = folder

    def update(self, changes: DiskChanges) -> dict[str, str]:
        """Take in what the disk now holds.

        Returns:
            The folders to be looked at, each with the reason in words.
        """
        reasons: dict[str, str] = {}
        for source in changes.removed:
            self._forget(source.folder)
            reasons[source.folder] = "removed"
        for source in changes.added:
            if not self._is_loaded_already(source):
                reasons[source.folder] = "added"
            self._read(source)
        for before, now in changes.changed:
            files = before.changed_files(now)
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            reasons[now.folder] = f"{files[0]}{more} changed"
            self._read(now)
        return reasons

    def _is_loaded_already(self, source: PluginSource) -> bool:
        """Whether the registry discovered this very folder with this very content."""
        ref = self._ref_of.get(source.folder)
        entry = self._registry.table.entries.get(ref) if ref else None
        known = entry.offer.source if entry else None
        return known is not None and known.files == source.files

    def _forget(self, folder: str) -> None:
        record = self._records.pop(folder, None)
        if record is not None and record.ref is not None:
            self._claims[record.ref].discard(folder)
        self.pending.discard(folder)

    def _read(self, source: PluginSource) -> None:
        self._forget(source.folder)
        record = self._records[source.folder] = _Record(source)
        owned = self._ref_of.get(source.folder)
        entry = self._registry.table.entries.get(owned) if owned else None
        try:
            record.offer = prepare(
                source,
                core_version=self._registry.core_version,
                runtimes=self._registry.runtimes,
                previous=entry.offer if entry else None,
            )
            record.ref = record.offer.ref
        except PluginRegistryError as error:
            record.error = error
            record.ref = owned or error.ref
        if record.ref is not None:
            self._claims[record.ref].add(source.folder)

    def draft(self, reasons: Mapping[str, str], forced: Mapping[PluginRef, Candidate]) -> Draft:
        """The candidates for `reasons` (folder to why), for what is pending, and `forced`."""
        draft = Draft()
        todo = dict.fromkeys(self.pending, "pending") | dict(reasons)
        for folder in reasons:
            owned = self._ref_of.get(folder)
            if folder in self._records or owned is None:
                continue
            heirs = self._claims[owned] - {folder}
            if heirs:  # The folder was moved or renamed: another one holds this plugin now.
                del self._ref_of[folder], self._folder_of[owned]
                todo |= dict.fromkeys(heirs, f"moved from {folder}")
            else:
                draft.removed.add(owned)
        for folder in sorted(todo):
            record = self._records.get(folder)
            if record is not None:
                self._offer(folder, record, todo[folder], draft)
        for ref, candidate in forced.items():
            if ref not in draft.candidates:
                draft.candidates[ref] = candidate
        return draft

    def _offer(self, folder: str, record: _Record, reason: str, draft: Draft) -> None:
        owned = self._ref_of.get(folder)
        error = record.error
        ref = record.ref
        if ref is not None and ref != owned:
            rivals = self._claims[ref] - {folder}
            holder = self._folder_of.get(ref)
            if rivals and holder not in {None, folder}:
                error = AmbiguousPlugin.duplicate(ref, [holder or "", folder])
            elif rivals:
                error = AmbiguousPlugin.duplicate(ref, sorted(self._claims[ref]))
        if error is not None:
            self.pending.add(folder)
            holder = self._folder_of.get(ref) if ref is not None else None
            ref = owned if owned is not None else ref if holder in {None, folder} else None
        if ref is None:
            assert error is not None  # noqa: S101 - a source without a ref has an error
            draft.unclaimed[folder] = error
            return
        offer = record.offer
        if error is not None or offer is None:
            draft.candidates[ref] = Candidate(ref, reason=reason, error=error)
            draft.offers[ref] = Offer.unprepared(ref, record.source)
            return
        draft.candidates[ref] = Candidate(
            ref,
            wants=offer.manifest.depends_on,
            priority=offer.manifest.priority,
            reason=reason,
            load=Load.IMPORT,
            replaces=owned if owned != ref else None,
        )
        draft.offers[ref] = offer

    def settle(self, draft: Draft, plan: ReloadPlan, applied: Applied) -> None:
        """Note what became of `draft`: who owns which folder now, and what stays pending."""
        states = self._registry.table.states
        for ref in draft.removed:
            folder = self._folder_of.get(ref)
            if folder is not None and states.get(ref) in {State.REMOVED, None}:
                del self._folder_of[ref]
                self._ref_of.pop(folder, None)
        for ref, candidate in draft.candidates.items():
            offer = draft.offers.get(ref)
            folder = offer.folder if offer is not None else self._folder_of.get(ref)
            if folder is None:
                continue
            withdrawn = states.get(ref) in {State.REMOVED, None}
            if candidate.keeps not in plan.rejected and not withdrawn:
                self._own(folder, ref)
            in_force = (
                candidate.error is None
                and candidate.keeps not in plan.rejected
                and ref not in applied.errors
                and candidate.keeps not in applied.rolled_back
            )
            if in_force:
                self.pending.discard(folder)
            else:
                self.pending.add(folder)
