"""Which folder stands for which plugin, and what each folder has to offer.

Between the disk, which knows folders, and the planner, which knows plugins. It keeps what could
not be taken over (broken, rejected, rolled back) as pending, to be offered again with every batch.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.draft import Draft, candidate_for
from dagstack_dev.core.config_errors import ConfigSectionInvalid
from dagstack_dev.core.dispatch_errors import HookspecMissing, KindVersionIncompatible
from dagstack_dev.core.errors import AmbiguousPlugin, PluginRegistryError
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Candidate, Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.context import sees_the_same
from dagstack_dev.host.entry import Offer
from dagstack_dev.host.preparation import prepare
from dagstack_dev.host.sections import section_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dagstack_dev.core.plan import ReloadPlan
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.changes import DiskChanges
    from dagstack_dev.host.entry import Entry
    from dagstack_dev.host.registry import Registry
    from dagstack_dev.host.transaction import Applied

PENDING: Final = "pending"
"""Why a plugin is tried that could not be taken over before."""


@dataclass(slots=True)
class _Record:
    """One folder: what it offers, or why it offers nothing."""

    source: PluginSource
    offer: Offer | None = None
    error: PluginRegistryError | None = None
    ref: PluginRef | None = None


class Catalog:
    """Every plugin folder below the roots.

    A folder claims the plugin that its manifest names, and owns the one that the registry runs,
    or has failed to run, from it. `_gone` are folders that own a plugin but exist no longer.

    Args:
        registry: whose plugins the folders are; those it has already discovered are known.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._records: dict[str, _Record] = {}
        self._claims: defaultdict[PluginRef, set[str]] = defaultdict(set)
        self._fallbacks: defaultdict[str, set[str]] = defaultdict(set)
        self._folder_of: dict[PluginRef, str] = {}
        self._ref_of: dict[str, PluginRef] = {}
        self._gone: set[str] = set()
        self._kinds = registry.kinds
        self.pending: set[str] = set()
        self._pending_by_hand: set[PluginRef] = set()
        for entry in registry.table.present():
            if entry.offer.source is not None:
                self._own(entry.offer.source.folder, entry.ref)

    def folder_of(self, ref: PluginRef) -> str | None:
        """The folder that `ref` runs from."""
        return self._folder_of.get(ref)

    def ref_of(self, folder: str) -> PluginRef | None:
        """The plugin that runs from `folder`, or failed to."""
        return self._ref_of.get(folder)

    def _own(self, folder: str, ref: PluginRef) -> None:
        """From now on `ref` is what `folder` runs, and nothing else."""
        self._disown(folder)
        former = self._folder_of.get(ref)
        if former is not None:
            self._disown(former)
        self._ref_of[folder] = ref
        self._folder_of[ref] = folder

    def _disown(self, folder: str) -> None:
        ref = self._ref_of.pop(folder, None)
        if ref is not None:
            del self._folder_of[ref]
            self._gone.discard(folder)

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

    def judge_again(self) -> dict[str, str]:
        """Prepare anew what other kinds than those of the last look would let in, or would not.

        Returns:
            As `update`.
        """
        kinds = self._registry.kinds
        if kinds == self._kinds:
            return {}
        self._kinds = kinds
        again = [
            record.source
            for record in self._records.values()
            if isinstance(record.error, HookspecMissing | KindVersionIncompatible)
            or (record.offer is not None and not kinds.allow(record.offer.manifest))
        ]
        for source in again:
            self._read(source)
        return dict.fromkeys((source.folder for source in again), "the hookspecs changed")

    def prepare_again(self, folders: Iterable[str]) -> dict[str, str]:
        """Prepare anew what was saved again, for a program that it names may be there by now.

        Returns:
            As `update`.
        """
        known = sorted(folder for folder in folders if folder in self._records)
        for folder in known:
            self._read(self._records[folder].source)
        return dict.fromkeys(known, "saved again")

    def miss(self, is_watched: Callable[[str], bool]) -> None:
        """Count watched folders as gone that were discovered earlier and are not there now."""
        self._gone |= {
            folder for folder in self._ref_of if folder not in self._records and is_watched(folder)
        }

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
            self._fallbacks[record.ref.kind].discard(folder)
        self.pending.discard(folder)
        if folder in self._ref_of:
            self._gone.add(folder)

    def _read(self, source: PluginSource) -> None:
        self._forget(source.folder)
        self._gone.discard(source.folder)
        record = self._records[source.folder] = _Record(source)
        owned = self._ref_of.get(source.folder)
        entry = self._registry.table.entries.get(owned) if owned else None
        try:
            record.offer = prepare(
                source,
                core_version=self._registry.core_version,
                runtimes=self._registry.runtimes,
                kinds=self._registry.kinds,
                previous=entry.offer if entry else None,
            )
            record.ref = record.offer.ref
            if record.offer.manifest.fallback:
                self._fallbacks[record.ref.kind].add(source.folder)
        except PluginRegistryError as error:
            record.error = recorded(error)
            record.ref = error.ref or owned
        if record.ref is not None:
            self._claims[record.ref].add(source.folder)

    def draft(
        self,
        reasons: Mapping[str, str],
        forced: Mapping[PluginRef, Candidate],
        is_its_turn: Callable[[PluginRef | None], bool] = lambda _: True,
    ) -> Draft:
        """The candidates for `reasons` (folder to why), for what is pending, and `forced`.

        Of what is pending, only plugins of which `is_its_turn` says so.
        """
        draft = Draft()
        died = {ref for ref, candidate in forced.items() if _has_died(candidate)}
        todo = {
            folder: PENDING
            for folder in self.pending
            if (ref := self._ref_of.get(folder)) not in died and is_its_turn(ref)
        } | dict(reasons)
        for folder in sorted(self._gone):
            owned = self._ref_of[folder]
            heirs = sorted(self._claims[owned])
            todo |= dict.fromkeys(heirs, f"moved from {folder}")
            free = [heir for heir in heirs if heir not in self._ref_of]
            if free:  # The folder was moved or renamed: what ran from it runs from there.
                self._own(free[0], owned)
            else:
                draft.removed.add(owned)
        for folder in sorted(todo):
            record = self._records.get(folder)
            if record is None:
                continue
            entry = self._running(folder, record)
            if entry is not None:
                draft.unchanged.add(entry.ref)
            else:
                self._offer(folder, record, todo[folder], draft)
        again = {
            ref: candidate_for(self._registry.table.entries[ref], PENDING, Load.RENEW)
            for ref in self._pending_by_hand
            if is_its_turn(ref)
        }
        spoken_for = draft.removed | draft.candidates.keys()
        spoken_for |= {each.replaces for each in draft.candidates.values() if each.replaces}
        for ref, candidate in (again | dict(forced)).items():
            if ref not in spoken_for:
                draft.candidates[ref] = candidate
        return draft

    def _running(self, folder: str, record: _Record) -> Entry | None:
        """The plugin of `folder`, if what it runs is just what it would run after a restart."""
        table = self._registry.table
        owned = self._ref_of.get(folder)
        if record.error is not None:  # Other kinds have been declared since it was loaded.
            return None
        if owned is None or owned != record.ref or table.states.get(owned) is not State.READY:
            return None
        entry = table.entries[owned]
        context = self._registry.conductor.context
        if context is None or entry.context is None:
            return None
        same = (
            entry.offer.source == record.source
            and table.graph.wants(entry.ref) == entry.manifest.depends_on
            and sees_the_same(entry.ref, entry.context.config, context.config)
        )
        return entry if same else None

    def _offer(self, folder: str, record: _Record, reason: str, draft: Draft) -> None:
        """Put what one folder offers into `draft`, under the right plugin."""
        draft.offering.add(folder)
        owned = self._ref_of.get(folder)
        ref = record.ref
        error = (
            record.error
            or self._duplicate(folder, ref, owned)
            or self._second_fallback(folder, record, owned)
            or self._section_problem(record)
        )
        if error is None and record.offer is not None and ref is not None:
            draft.candidates[ref] = Candidate(
                ref,
                wants=record.offer.manifest.depends_on,
                priority=record.offer.manifest.priority,
                reason=reason,
                replaces=owned if owned != ref else None,
            )
            draft.offers[ref] = record.offer
            return
        assert error is not None  # noqa: S101 - a record without an offer has an error
        self.pending.add(folder)
        states = self._registry.table.states
        if owned is not None and (ref is None or states.get(owned) is State.READY):
            ref = owned  # Whatever the folder says now, this is what it can lose.
        if ref in draft.candidates and ref == owned != record.ref:
            return  # Another folder offers what this one runs and claims no longer.
        if ref is None or self._folder_of.get(ref) not in {None, folder}:
            draft.unclaimed[folder] = error
            if owned is not None:
                draft.removed.add(owned)
            return
        draft.candidates[ref] = Candidate(
            ref, reason=reason, error=error, replaces=owned if owned != ref else None
        )
        draft.offers[ref] = Offer.unprepared(ref, record.source)

    def _duplicate(
        self, folder: str, ref: PluginRef | None, owned: PluginRef | None
    ) -> AmbiguousPlugin | None:
        """The error of a folder that claims what another one runs, or claims too."""
        if ref is None or ref == owned:
            return None
        rivals = self._claims[ref] - {folder}
        return AmbiguousPlugin.duplicate(ref, [*sorted(rivals), folder]) if rivals else None

    def _section_problem(self, record: _Record) -> PluginRegistryError | None:
        """Why the plugin's section of the configuration does not fit its manifest."""
        context = self._registry.conductor.context
        if record.offer is None or context is None:
            return None
        return section_problem(record.offer, context)

    def _second_fallback(
        self, folder: str, record: _Record, owned: PluginRef | None
    ) -> AmbiguousPlugin | None:
        """The error of a folder whose plugin is to be a fallback where there is another one."""
        offer = record.offer
        if offer is None or not offer.manifest.fallback:
            return None
        table = self._registry.table
        if owned is not None and owned.kind == offer.ref.kind:
            entry = table.entries[owned]
            if entry.manifest.fallback and table.states[owned] is State.READY:
                return None  # It was first.
        rivals = {self._records[each].ref for each in self._fallbacks[offer.ref.kind] - {folder}}
        rivals |= {entry.ref for entry in table.present() if self._runs_on_as(entry, offer.ref)}
        known = sorted(ref for ref in rivals if ref is not None)
        return AmbiguousPlugin.fallback([*known, offer.ref], folder) if known else None

    def _runs_on_as(self, entry: Entry, ref: PluginRef) -> bool:
        """Whether `entry` is a fallback of the kind of `ref` that no folder offers to change."""
        if not entry.manifest.fallback or entry.ref.kind != ref.kind or entry.ref == ref:
            return False
        if entry.offer.by_hand:
            return True
        record = self._records.get(self._folder_of.get(entry.ref, ""))
        is_ready = self._registry.table.states[entry.ref] is State.READY
        return record is not None and record.error is not None and is_ready

    def settle(self, draft: Draft, plan: ReloadPlan, applied: Applied) -> None:
        """Note what became of `draft`: who owns which folder now, and what stays pending."""
        states = self._registry.table.states
        for ref in draft.unchanged:
            entry = self._registry.table.entries[ref]
            self._registry.table.up_to_date(entry)
            self.pending.discard(self._folder_of[ref])
        for ref in draft.removed:
            folder = self._folder_of.get(ref)
            if folder is not None and states.get(ref) in {State.REMOVED, None}:
                self._disown(folder)
        for ref, candidate in draft.candidates.items():
            offer = draft.offers.get(ref)
            folder = offer.folder if offer is not None else self._folder_of.get(ref)
            if folder is None:
                self._pending_by_hand.discard(ref)
                continue
            withdrawn = states.get(ref) in {State.REMOVED, None} or (
                candidate.replaces in applied.rolled_back
                and states.get(candidate.replaces) is not State.REMOVED
            )
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
        in_draft = {offer.folder for offer in draft.offers.values()}
        self.pending |= draft.offering - in_draft  # Another folder offered the same plugin.
        for ref in plan.rejected:  # Also those that only a change of others has made invalid.
            folder = self._folder_of.get(ref)
            if folder is None:
                self._pending_by_hand.add(ref)
            elif folder in self._records:
                self.pending.add(folder)

    def held_back(
        self, draft: Draft, applied: Applied, reasons: Mapping[str, str]
    ) -> dict[str, str]:
        """What of `reasons` was rolled back only for plugins that were pending before.

        They were tried with it, for it might have mended them, and have failed again. Where
        plugins were removed as well, only all of it together says how things are to be.
        """
        if draft.removed or not applied.culprits:
            return {}
        before = {ref for ref, each in draft.candidates.items() if each.reason == PENDING}
        if not applied.culprits <= before:
            return {}
        return {
            folder: reason
            for folder, reason in reasons.items()
            if folder in self.pending and self._ref_of.get(folder) in applied.rolled_back
        }


def _has_died(candidate: Candidate) -> bool:
    """Whether it failed by itself; a section that does not fit may fit what is pending."""
    return not isinstance(candidate.error, ConfigSectionInvalid | None)
