"""Brings what runs to what is on disk: want, compare, plan, carry out, record, until all agrees."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.desired import want
from dagstack_dev.core.errors import DependencyCycle, PluginRegistryError, said
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.host.preparation import locate
from dagstack_dev.host.reloader import Reloader
from dagstack_dev.host.transaction import Applied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dagstack_dev.app.reload.reports import Reports
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.app.reload.state import ReloadState
    from dagstack_dev.core.desired import Wanted
    from dagstack_dev.core.plan import ReloadPlan, SharedNews
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.host.entry import Offer
    from dagstack_dev.host.registry import Registry
    from dagstack_dev.runtimes.shared_change import SharedChange


AGAIN: Final = "what runs is on disk again"
NOTHING: Final = "nothing to do"


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one turn of the loop is about to do.

    Attributes:
        places: where something may differ.
        wanted: what does.
        offers: what candidates are to be loaded from, where that is not what they have.
        contents: the files of shared code that differ from what runs.
        changes: what of that is for plugins, by name.
        news: the same for the planner.
        plan: what follows from all that.
    """

    places: set[str]
    wanted: Wanted
    offers: Mapping[PluginRef, Offer]
    contents: Mapping[str, SourceFile | None]
    changes: Mapping[str, SharedChange]
    news: Sequence[SharedNews]
    plan: ReloadPlan


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a reload is under way.

    Attributes:
        number: of what has come in.
        paths: where that was.
        began: when the reload began, on the clock of `time.perf_counter`.
        is_first: whether this is the first start, which is no reload.
    """

    number: int
    paths: Sequence[str] = ()
    began: float = 0.0
    is_first: bool = False


class Reconciler:
    """The loop of a reload.

    Args:
        registry: what runs.
        state: what is on disk, and what has failed.
        shared: the code that plugins share.
        reports: who is told.

    Attributes:
        unsettled: the places where something differs from what runs, or from what was tried last;
            derived from the state, and kept so that a reload looks nowhere else.
        is_quiet: whether the last call went on until nothing differed but what is known to fail.
        ended_ns: when plugins were last changed, in nanoseconds since the epoch.
    """

    def __init__(
        self, registry: Registry, state: ReloadState, shared: SharedFiles, reports: Reports
    ) -> None:
        self._registry = registry
        self._table = registry.table
        self._state = state
        self._shared = shared
        self._reports = reports
        self._reloader = Reloader(registry.conductor)
        self._reloads = 0
        self._pending: set[PluginRef] = set()
        self.unsettled: set[str] = set()
        self.is_quiet = True
        self.ended_ns = 0

    def next_id(self) -> int:
        """The number of another reload."""
        self._reloads += 1
        return self._reloads

    async def reconcile(
        self,
        reasons: Mapping[str, str],
        contents: Mapping[str, SourceFile | None],
        cause: Cause,
        may_go_on: Callable[[], bool],
    ) -> list[Applied]:
        """Go on until nothing differs but what is known to fail, or something more comes in.

        Args:
            reasons: the places where something has happened, each with what.
            contents: the files of shared code that differ from what runs.
            cause: why this is done.
            may_go_on: asked before each further turn.

        Returns:
            What has become of it, turn by turn.
        """
        turn = self._plan(reasons, contents, cause)
        done = [await self._carry_out(turn, None if cause.is_first else self.next_id(), cause)]
        while self.unsettled or self._shared.differs:
            self.is_quiet = may_go_on()
            if not self.is_quiet:
                return done
            again = Cause(cause.number, cause.paths, perf_counter())
            turn = self._plan({}, self._shared.differing(()), again)
            if not self._reloader.has_work(turn.plan):
                self._settle(turn, Applied(), None, again)
                break
            done.append(await self._carry_out(turn, self.next_id(), again))
        self.is_quiet = True
        return done

    def _plan(
        self,
        reasons: Mapping[str, str],
        contents: Mapping[str, SourceFile | None],
        cause: Cause,
    ) -> _Turn:
        state = self._state
        places = {*reasons, *self.unsettled}
        wanted = want(state, state, places, reasons)
        places |= self._places(wanted.candidates)  # What else lies where they leave, or did.
        offers = {
            ref: offer
            for ref, place in wanted.places.items()
            if (offer := state.offer(place)) is not None and not state.is_loaded(ref, offer)
        }
        changes = self._shared.prepare(contents, cause.number)
        news = [self._shared.news_of(change, offers) for change in changes.values()]
        plan = plan_reload(
            state.world(),
            wanted.candidates.values(),
            wanted.removed,
            shared=news,
            failures=state.failures,
        )
        for error in plan.errors():
            if isinstance(error, PluginRegistryError):
                self._locate(error, offers)
        return _Turn(places, wanted, offers, contents, changes, news, plan)

    def _locate(self, error: PluginRegistryError, offers: Mapping[PluginRef, Offer]) -> None:
        """Have `error` name a line of a manifest; of a cycle, one that is news closes it."""
        ref = error.ref
        if isinstance(error, DependencyCycle):
            for each, needed in zip(error.cycle, (*error.cycle[1:], error.cycle[0]), strict=True):
                offer = offers.get(each)
                if offer is not None and {needed, needed.name} & {*offer.manifest.depends_on}:
                    ref = each
                    break
        if ref is not None and ref in offers:
            locate(error, offers[ref].source)
        elif ref in self._table.entries:
            locate(error, self._table.entries[ref].offer.source)

    async def _carry_out(self, turn: _Turn, reload_id: int | None, cause: Cause) -> Applied:
        """Tell what is not taken over, do the rest, and take down what has become of it."""
        plan = turn.plan
        for place, error in turn.wanted.unclaimed.items():
            self._reports.rejected(None, place, error, reload_id)
        for ref, reason in self._kept(turn).items():
            self._reject(ref, reason, reload_id)
        in_force = {name for each in plan.transactions for name in each.shared}
        for name in turn.changes.keys() - in_force - plan.held.keys():
            turn.changes[name].leave()  # No plugin of the plan imports it any more.
        applied = await self._reloader.apply(
            plan,
            turn.wanted.candidates,
            turn.offers,
            turn.changes,
            reload_id=reload_id,
            paths=cause.paths,
            began=cause.began,
        )
        self._state.record(plan, turn.wanted.candidates, applied)
        self.ended_ns = time_ns()
        self._settle(turn, applied, reload_id, cause)
        return applied

    def _kept(self, turn: _Turn) -> dict[PluginRef, BaseException]:
        """What does not run what is on disk, or is not run from there, each with the reason."""
        kept = dict(turn.plan.rejected)
        for change in turn.news:
            if change.name in turn.plan.held:
                for ref in change.plugins:
                    error = change.error_for(ref) or turn.plan.held[change.name]
                    kept.setdefault(ref, error)
        return kept

    def _reject(self, ref: PluginRef, error: BaseException, reload_id: int | None) -> None:
        entry = self._table.present_entry(ref)
        known = entry.pending_error if entry is not None else None
        if known is not None and said(known) == said(error):
            return  # As when it has just been rolled back for that.
        if entry is not None and self._state.is_live(ref):
            self._table.keep_pending(entry, error)
        self._reports.rejected(ref, self._state.place(ref) or "", error, reload_id)

    def _settle(self, turn: _Turn, applied: Applied, reload_id: int | None, cause: Cause) -> None:
        """Note what is pending and what differs now, and tell what does not any more."""
        state, table = self._state, self._table
        kept = self._kept(turn)
        asked = {*turn.wanted.candidates, *kept, *applied.rolled_back, *applied.failed}
        places = turn.places | self._places({*asked, *applied.lost, *state.failures})
        self.unsettled = {place for place in places if not state.is_settled(place)}
        self._shared.settle()
        for ref in filter(state.is_live, kept):
            known = table.entries[ref].pending_error
            if known is None or said(known) != said(kept[ref]):
                table.keep_pending(table.entries[ref], kept[ref])
        before = self._pending | applied.rolled_back | kept.keys()
        pending = {ref for ref in before if state.is_live(ref) and table.entries[ref].pending}
        self._pending = pending & (kept.keys() | applied.rolled_back)
        settled = sorted(pending - self._pending)
        for ref in settled:
            table.up_to_date(table.entries[ref])
        if reload_id is not None and (settled or not applied.touched):
            reason = AGAIN if applied.touched else self._nothing(turn)
            refs = settled if applied.touched else turn.wanted.unchanged | {*settled}
            if cause.paths or reason != NOTHING:
                self._reports.skipped(reload_id, cause.began, cause.paths, reason, refs)
        for ref in settled:
            self._reports.settled(state.place(ref) or "", ref, reload_id)
        for place in self._reports.told(turn.wanted.unclaimed.keys() | self._places(kept)):
            owner = state.owner(place)
            message = "what is on disk runs" if owner is not None else "it is gone from disk"
            self._reports.fixed(place, owner, message, reload_id)

    def _places(self, refs: Iterable[PluginRef]) -> set[str]:
        return {place for ref in refs if (place := self._state.place(ref)) is not None}

    def _nothing(self, turn: _Turn) -> str:
        """Why nothing was to be done, in words."""
        if turn.plan.rejected or turn.plan.held:
            return "nothing can be taken over"
        if turn.contents and not turn.changes:
            return "no plugin imports what changed"
        return AGAIN if turn.wanted.unchanged else NOTHING
