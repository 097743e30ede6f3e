"""Brings what runs to what is on disk: want, compare, plan, carry out, record, until all agrees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.desired import PENDING, want
from dagstack_dev.core.errors.base import PluginRegistryError, in_words
from dagstack_dev.core.errors.registry import DependencyCycle
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.host.plugins.preparation import locate
from dagstack_dev.host.reload.executor import Cause, PlanExecutor
from dagstack_dev.host.reload.transaction import Applied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dagstack_dev.app.reload.inbox import Occasion
    from dagstack_dev.app.reload.reports import Reports
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.app.reload.state import ReloadState
    from dagstack_dev.core.desired import Wanted
    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.plan import Failures, ReloadPlan, SharedNews
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.host.plugins.entry import Revision
    from dagstack_dev.host.registry.registry import Registry
    from dagstack_dev.runtimes.shared.change import SharedChange


AGAIN: Final = "what runs is on disk again"
NOTHING: Final = "nothing to do"


@dataclass(frozen=True, slots=True)
class Reload:
    """A reload that is planned, and about to be carried out.

    Attributes:
        places: where something may differ, each with what has happened there, or `PENDING`.
        wanted: what does.
        revisions: what candidates are to be loaded from, where that is not what they have.
        contents: the files of shared code that differ from what runs.
        changes: what of that is for plugins, by name.
        news: the same for the planner.
        failures: what was known to fail.
        asked: how often each plugin was asked for.
        plan: what follows from all that.
        before: the dependencies that were in force until then.
        occasion: why all this is done.
    """

    places: Mapping[str, str]
    wanted: Wanted
    revisions: Mapping[PluginRef, Revision]
    contents: Mapping[str, SourceFile | None]
    changes: Mapping[str, SharedChange]
    news: Sequence[SharedNews]
    failures: Failures
    asked: Mapping[PluginRef, int]
    plan: ReloadPlan
    before: DependencyGraph
    occasion: Occasion


class Reconciler:
    """Plans what is to be done, and does it.

    Args:
        registry: what runs.
        state: what is on disk, what has failed, and what is under way.
        shared: the code that plugins share.
        reports: reports what is not in force.
    """

    def __init__(
        self, registry: Registry, state: ReloadState, shared: SharedFiles, reports: Reports
    ) -> None:
        self._table = registry.table
        self._state = state
        self._revisions = state.revisions
        self._shared = shared
        self._reports = reports
        self._executor = PlanExecutor(registry.runner)
        self._reloads = 0

    @property
    def differs(self) -> bool:
        """Whether anything differs from what runs, or from what was tried last."""
        return bool(self._state.unstable) or self._shared.differs

    def next_id(self) -> int:
        """Return the number of another reload."""
        self._reloads += 1
        return self._reloads

    def begin(
        self,
        reasons: Mapping[str, str],
        contents: Mapping[str, SourceFile | None],
        occasion: Occasion,
        *,
        is_news: bool,
    ) -> Reload | None:
        """Plan what has to be done; from now on it counts as being built.

        What others are building is left alone, with all that depends on it; it is dealt with when
        that has ended.

        Args:
            reasons: the places where something has happened, each with what.
            contents: the files of shared code that differ from what runs.
            occasion: why this is done.
            is_news: whether anything of that has not been looked at before.

        Returns:
            What `carry_out` is to be called with; None where nothing is news, and nothing of what
            differs comes to more than what is known already.
        """
        reload, unstable = self._plan(reasons, contents, occasion), self._state.unstable
        unstable |= dict.fromkeys(unstable.keys() & reload.places.keys(), PENDING)
        if not is_news and not self._executor.has_work(reload.plan, reload.revisions):
            self._report_rejected(reload, None)
            self._conclude(reload, Applied(), None)
            return None
        self._state.building |= reload.plan.affected
        self._table.graph = reload.plan.graph  # At once: the next plan is made upon it.
        return reload

    def _plan(
        self,
        reasons: Mapping[str, str],
        contents: Mapping[str, SourceFile | None],
        occasion: Occasion,
    ) -> Reload:
        """Plan what is to be done now; what would touch what is being built has to wait."""
        state, building = self._state, self._state.building
        places = {**state.unstable, **reasons}
        changes = self._shared.prepare(contents, occasion.number, is_quiet=not building)
        busy, busy_changes = set[str](), set[str]()
        if building:
            busy = set(filter(state.is_busy, places))
            busy_changes = {
                name for name, each in changes.items() if state.is_building(each.plugins)
            }
        while True:
            reload = self._plan_for(
                {place: reason for place, reason in places.items() if place not in busy},
                contents,
                {name: each for name, each in changes.items() if name not in busy_changes},
                occasion,
            )
            more, names = self._colliding(reload)
            if not more and not names:
                break
            if more <= busy and names <= busy_changes:  # By what else they are: all has to wait.
                more, names = {*places}, {*changes}
            busy |= more
            busy_changes |= names
        state.unstable |= {place: places.get(place, PENDING) for place in busy}
        for error in reload.plan.errors():
            if isinstance(error, PluginRegistryError):
                self._locate(error, reload.revisions)
        return reload

    def _plan_for(
        self,
        places: Mapping[str, str],
        contents: Mapping[str, SourceFile | None],
        changes: Mapping[str, SharedChange],
        occasion: Occasion,
    ) -> Reload:
        state = self._state
        wanted = want(self._revisions, state, places)
        # What else lies where they were may be had.
        places = {**dict.fromkeys(self._revisions.places(wanted.candidates), PENDING), **places}
        revisions = {
            ref: revision
            for ref, candidate in wanted.candidates.items()
            if (revision := self._revisions.revision(candidate.place)) is not None
            and revision.ref == ref  # Else it only lies where another is to be.
            and not state.is_loaded(ref, revision)
        }
        news = [self._shared.news_of(change, revisions) for change in changes.values()]
        failures = state.failures
        plan = plan_reload(
            state.world(),
            wanted.candidates.values(),
            wanted.removed,
            shared=news,
            failures=failures,
        )
        return Reload(
            places=places,
            wanted=wanted,
            revisions=revisions,
            contents=contents,
            changes=changes,
            news=news,
            failures=failures,
            asked=dict(state.asked),
            plan=plan,
            before=self._table.graph,
            occasion=occasion,
        )

    def _colliding(self, reload: Reload) -> tuple[set[str], set[str]]:
        """Return the places and changes of `reload` that would touch what is being built."""
        building = self._state.building
        if not building:
            return set(), set()
        graph, wanted = reload.plan.graph, reload.wanted
        names = {ref.name for ref in building}
        refs, changes = set[PluginRef](), set[str]()
        for each in reload.plan.transactions:
            importers = map(self._table.code.importers, each.refs)
            near = {*each.refs}.union(*map(graph.dependencies, each.refs), *importers)
            if not near.isdisjoint(building):
                refs |= each.refs
                changes |= {*each.shared}
        for ref, candidate in wanted.candidates.items():
            wants = {want.name if isinstance(want, PluginRef) else want for want in candidate.wants}
            if candidate.keeps in reload.plan.rejected and not names.isdisjoint(wants):
                refs.add(ref)
        places = {each.place for ref, each in wanted.candidates.items() if ref in refs}
        places |= self._revisions.places(refs & wanted.removed)
        if refs and not places and not changes:  # A name that some new plugin takes.
            return set(reload.places), set(reload.changes)
        return places, changes

    def _locate(self, error: PluginRegistryError, revisions: Mapping[PluginRef, Revision]) -> None:
        """Have `error` name a line of a manifest; of a cycle, one that is news closes it."""
        ref = error.ref
        if isinstance(error, DependencyCycle):
            for each, needed in zip(error.cycle, (*error.cycle[1:], error.cycle[0]), strict=True):
                revision = revisions.get(each)
                if revision is not None and {needed, needed.name} & {*revision.manifest.depends_on}:
                    ref = each
                    break
        if ref is not None and ref in revisions:
            locate(error, revisions[ref].source)
        elif ref in self._table.entries:
            locate(error, self._table.entries[ref].revision.source)

    async def carry_out(self, reload: Reload, ended: Callable[[Applied], None]) -> None:
        """Report what is not put in force, do the rest, and note what has become of it.

        Several reloads may be under way at the same time.

        Args:
            reload: what `begin` has returned.
            ended: called with what has become of each part, as soon as that is recorded.
        """
        state, plan, occasion = self._state, reload.plan, reload.occasion
        reload_id = None if occasion.is_first else self.next_id()
        if reload_id is not None:
            self._reports.planned(reload_id, occasion, plan)
        self._report_rejected(reload, reload_id)
        in_force = {name for each in plan.transactions for name in each.shared}
        for name in reload.changes.keys() - in_force - plan.held.keys():
            reload.changes[name].leave()  # No plugin of the plan imports it any more.
        left = {*plan.affected}  # What has ended before may be built again, by another reload.

        def end_part(applied: Applied) -> None:
            left.difference_update(applied.touched)
            state.building -= applied.touched
            state.record(plan, reload.wanted.candidates, applied, reload.failures, reload.asked)
            state.look_at(self._revisions.places(applied.touched))
            late = {ref for ref in applied.overtaken if state.is_live(ref) or ref in state.building}
            state.unstable |= dict.fromkeys(state.request(late), "it has imported what is gone")
            ended(applied)

        try:
            applied = await self._executor.apply(
                plan,
                reload.wanted.candidates,
                reload.revisions,
                reload.changes,
                before=reload.before,
                cause=Cause(reload_id, occasion.began, occasion.paths),
                ended=end_part,
            )
        finally:
            state.building -= left
        self._conclude(reload, applied, reload_id)

    def _kept(self, reload: Reload) -> dict[PluginRef, BaseException]:
        """Return what does not run what is on disk, or not from there, each with the reason."""
        kept = dict(reload.plan.rejected)
        for change in reload.news:
            if change.name in reload.plan.held:
                for ref in change.plugins & (self._shared.behind | change.naming):
                    error = change.error_for(ref) or reload.plan.held[change.name]
                    kept.setdefault(ref, error)
        return kept

    def _report_rejected(self, reload: Reload, reload_id: int | None) -> None:
        """Report what of `reload` is not put in force; what is, ends earlier rejections there."""
        unclaimed, kept = reload.wanted.unclaimed, self._kept(reload)
        for place in reload.places.keys() - unclaimed.keys() - self._revisions.places(kept):
            self._reports.tried(place)
        for place in sorted(unclaimed):
            self._reports.rejected(None, place, unclaimed[place], reload_id)
        for ref in sorted(kept):
            self._reject(ref, kept[ref], reload_id)

    def _reject(self, ref: PluginRef, error: BaseException, reload_id: int | None) -> None:
        entry = self._table.present_entry(ref)
        known = entry.pending_error if entry is not None else None
        if known is not None and in_words(known) == in_words(error):
            return  # As when it has just been rolled back for that.
        if entry is not None and self._state.is_live(ref):
            self._table.note_pending(entry, error)
        self._reports.rejected(ref, self._revisions.place(ref) or "", error, reload_id)

    def _conclude(self, reload: Reload, applied: Applied, reload_id: int | None) -> None:
        """Note what is pending and what differs now, and report what does not any more."""
        state, table, occasion = self._state, self._table, reload.occasion
        kept = self._kept(reload)
        down = filterfalse(state.is_live, applied.touched)
        failed = state.failed_near(applied.touched)
        places = reload.places.keys() | self._revisions.places(
            {*reload.wanted.candidates, *kept, *applied.rolled_back, *down, *failed}
        )
        state.look_at(place for place in places if not (state.building and state.is_busy(place)))
        self._shared.look_at(reload.news)
        for ref in filter(state.is_live, kept):
            known = table.entries[ref].pending_error
            is_other = known is None or in_words(known) != in_words(kept[ref])
            if is_other and self._differs_at(
                self._revisions.place(ref) or ""
            ):  # Else it is fixed by now.
                table.note_pending(table.entries[ref], kept[ref])
        # Another reload may have come later to what this one has not, or be about to set it up.
        left = filter(state.is_live, table.pending - kept.keys())
        caught_up = sorted(
            ref for ref in left if not self._differs_at(self._revisions.place(ref) or "")
        )
        for ref in caught_up:
            table.note_pending(table.entries[ref], None)
        if reload_id is not None and (caught_up or not applied.touched):
            reason = AGAIN if applied.touched else self._nothing(reload)
            refs = caught_up if applied.touched else reload.wanted.unchanged | {*caught_up}
            if occasion.paths or reason != NOTHING:
                self._reports.skipped(reload_id, occasion, reason, refs)
        for ref in caught_up:
            message, place = "the file matches what runs", self._revisions.place(ref) or ""
            self._reports.fixed(place, ref, message, reload_id, is_pending=True)
        for place in self._reports.paths:
            owner = self._revisions.owner(place)
            is_down = owner is not None and not state.is_live(owner)
            if not (is_down or self._differs_at(place) or state.is_busy(place)):
                message = "it is gone from disk" if owner is None else "what is on disk runs"
                self._reports.fixed(place, owner, message, reload_id)

    def _differs_at(self, place: str) -> bool:
        """Return whether what runs from `place` is not what is on disk."""
        owner = self._revisions.owner(place)
        return not self._state.is_stable(place) or (
            owner is not None and owner in self._shared.behind
        )

    def _nothing(self, reload: Reload) -> str:
        """Return why nothing was to be done, in words."""
        if reload.plan.rejected or reload.plan.held:
            return "nothing can be taken over"
        if self._state.building and self._state.unstable.keys() - reload.places.keys():
            return "it waits for what is being set up"
        if reload.contents and not reload.changes:
            return "no plugin imports what changed"
        return AGAIN if reload.wanted.unchanged else NOTHING
