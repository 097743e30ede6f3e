"""From what comes in to reloads: the loop changes -> plan -> apply."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from dagstack_dev.app.health import HealthWatch
from dagstack_dev.app.leaks import LeakCheck
from dagstack_dev.app.publication import Publication
from dagstack_dev.app.reload.collect import Collector
from dagstack_dev.app.reload.configuration import Configuration
from dagstack_dev.app.reload.inbox import (
    CRASHED,
    UNHEALTHY,
    Batch,
    Inbox,
    Occasion,
    Request,
)
from dagstack_dev.app.reload.preemption import Preemption
from dagstack_dev.app.reload.reconciler import Reconciler
from dagstack_dev.app.reload.reports import Reports
from dagstack_dev.app.reload.retry import Retries
from dagstack_dev.app.reload.state import ReloadState
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.desired import PENDING
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.files import FolderGone
from dagstack_dev.core.errors.life import PluginCrashed
from dagstack_dev.core.events import Transition, WatchProblem, WatchRecovered
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.loop.gc_pause import rare_collections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.api.board import Board
    from dagstack_dev.app.hookspec_files import HookspecFiles
    from dagstack_dev.app.registry import PluginRegistry
    from dagstack_dev.app.reload.reconciler import Reload
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.app.settings import Settings
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.snapshot import Snapshot
    from dagstack_dev.host.reload.transaction import Applied

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether a missing module has come; a look takes some 50 µs for each."""


class ReloadLoop:
    """Keeps the plugins of a registry like what is on disk, one reload after the other.

    Args:
        registry: the registry.
        snapshot: what is on disk.
        shared: the code that they share.
        config: the path of the configuration file, if there is one.
        hookspecs: the files that declare kinds.
        settings: see `Settings`.
        later: called with seconds and a function, to have the function called then.

    Attributes:
        inbox: what it is to deal with.
        collector: what of that it believes.
        configuration: what the configuration file says.
        preemption: which setups are broken off for an edit.
        health: how the plugins are.
        leaks: what is left of old generations.
        has_started: set once the disk has been looked at for the first time.
        held: where on disk something differs that is held back, as last looked at.
    """

    def __init__(
        self,
        registry: PluginRegistry,
        *,
        snapshot: Snapshot,
        shared: SharedFiles,
        config: str | None,
        hookspecs: HookspecFiles,
        settings: Settings,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._table = table = registry.table
        self._snapshot = snapshot
        self._shared = shared
        self._hookspecs = hookspecs
        self._runtime = registry.in_process
        self._state = ReloadState(registry, snapshot.is_watched)
        self._revisions = self._state.revisions
        self._reports = Reports(table)
        self._reconciler = Reconciler(registry, self._state, shared, self._reports)
        self.inbox = Inbox(self._note_input, self._look_at_held)
        self._publication: Publication | None = None
        self.held = frozenset[str]()
        self.collector = Collector(
            snapshot,
            shared,
            self.inbox,
            debounce_seconds=settings.debounce_ms / 1000,
            imported=self._runtime.take_found,
            later=later,
            on_problem=self.report_problem,
        )
        self.configuration = Configuration(registry, config, snapshot.file)
        self.preemption = Preemption(
            table,
            self._state,
            inbox=self.inbox,
            collector=self.collector,
            shared=shared,
            later=later,
        )
        self._retries = Retries(table, self._state, self.inbox, settings, later)
        self.health = HealthWatch(
            table,
            settings,
            building=self._state.building,
            on_unhealthy=lambda ref, error: self.inbox.happens(ref, UNHEALTHY, error),
        )
        self.leaks = LeakCheck(table, settings.leaks)
        self._later = later
        self._batches = 0
        self._news = Occasion(0)  # The last one of which anything was news.
        self._under_way = 0  # Reloads, and looks at what has come in.
        self.has_started = anyio.Event()
        self._idle = anyio.Event()
        self._ended = False
        self._look_away = registry.observe(self._note)

    def publication(self, board: Board) -> Publication:
        """Return what keeps `board` up to date, as an observer."""
        self._publication = Publication(
            board, self._table, self._state, self._shared, self.refs_held, self._later
        )
        return self._publication

    def refs_held(self) -> frozenset[PluginRef]:
        """Return the plugins of which edits are held back."""
        plugin_at = self._snapshot.folders.plugin_at
        places = {place for path in self.held if (place := plugin_at(path))}
        return self._shared.importers(self.held) | self._revisions.refs_at(places)

    def _look_at_held(self) -> None:
        """Find out what of that which is held back differs: an event is only a hint."""
        hints = self.inbox.held
        self.held = self.collector.differing(hints) if hints else frozenset()
        if self._publication is not None:
            self._publication.touch()

    def _note_input(self, news: Batch) -> None:
        self.preemption.note_input(news)

    async def start(self, *, owns_plugins: bool) -> None:
        """Take what is on disk for the first time; whatever fails, fails alone.

        Args:
            owns_plugins: whether the server is to set all plugins up, and nothing else has.
        """
        occasion = Occasion(self._batches, began=perf_counter(), is_first=owns_plugins)
        plugins, files, shared, *_ = await self.collector.first_look()
        reasons = self._take_settings(files)  # They may have been saved since they were read.
        reasons |= dict.fromkeys(self._revisions.missing(), "removed")
        if owns_plugins:
            for entry in self._table.present():
                if self._table.states[entry.ref] is not State.READY:
                    reasons[self._revisions.place(entry.ref) or ""] = "first start"
        reasons |= self._revisions.update(plugins, self._batches)
        reload = self._begin(reasons, shared, occasion, is_news=True)
        self._under_way += 1
        self.has_started.set()
        await self._carry_out(reload)

    async def run(self) -> None:
        """Take in one batch after the other; the reloads that follow may go on side by side."""
        await self.has_started.wait()
        async with anyio.create_task_group() as self._group:
            while True:
                if self.is_idle:
                    self._idle.set()
                    self._idle = anyio.Event()
                if await self.inbox.wait(None if self._under_way else self._idle_seconds):
                    await self._take_in(self.inbox.take())
                    continue
                await self.leaks.look(lambda: not self.inbox.empty)
                if places := self._state.look_for_modules():
                    self.inbox.put(Batch(again=places))

    async def come_to_rest(self) -> None:
        """Wait until nothing is left to do, or the end has come."""
        while not self._ended and not self.is_idle:
            await self._idle.wait()

    def end(self) -> None:
        """Deal with nothing any more, and let no request wait for it."""
        self._ended = True
        self._look_away()
        self.inbox.take()
        self.inbox.answer_all()
        self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do, but for edits that are held back."""
        return self.inbox.empty and not (self._under_way or self.inbox.deferred)

    def is_building(self, ref: PluginRef) -> bool:
        """Return whether something of a plugin is being built."""
        return self._state.is_building({ref})

    @property
    def _idle_seconds(self) -> float | None:
        """How long nothing should happen before there is something to be looked at."""
        return self.leaks.idle_seconds or (LOOK_SECONDS if self._state.missing_modules() else None)

    # From a batch to the places where something may differ

    async def _take_in(self, batch: Batch) -> None:
        """Deal with what has come in, but for what has to wait."""
        part_has_ended = self._under_way and not batch  # Others deal with what else differs.
        batch = self._free_part(batch)
        is_due = self._state.has_waited if part_has_ended else self._reconciler.differs
        if not batch and not is_due:
            self._answer()
            return
        self._under_way += 1
        try:
            with rare_collections():
                has_begun = await self._handle(batch)
        finally:
            self._under_way -= 1
        if not has_begun:
            self._answer()  # Not before: a reload that has ended meanwhile has left that to us.

    def _free_part(self, batch: Batch, *, is_read: bool = False) -> Batch:
        """Return what of `batch` touches nothing that is being built, and defer the rest.

        Args:
            batch: what has come in.
            is_read: whether its paths have been looked at, so that it is too late to defer them.
        """
        state = self._state
        if not state.building:
            return batch
        free, deferred = Batch(again=batch.again, since=batch.since), self.inbox.deferred
        for path in batch.paths:
            place = self._snapshot.folders.plugin_at(path)
            refs = self._revisions.refs_at([place] if place is not None else ())
            is_busy = not is_read and state.is_building(refs | self._shared.importers([path]))
            part = deferred if is_busy else free
            part.paths.add(path)
        for request in batch.requests:
            is_busy = request.refs is None or self._is_concerned(request.refs)
            part = deferred if is_busy else free
            part.requests.append(request)
        for each in batch.happened:
            part = deferred if self._is_concerned([each.ref]) else free
            part.happened.append(each)
        return free

    def _is_concerned(self, refs: Iterable[PluginRef]) -> bool:
        """Return whether any of `refs`, or of what depends on them, is being built."""
        return self._state.is_building(self._table.reached_by(refs))

    async def _handle(self, batch: Batch) -> bool:
        """Find out where something may differ by now, and begin the reload that it asks for.

        Returns:
            Whether it asks for one.
        """
        began = min(batch.since, perf_counter())
        self._batches += 1
        plugins, files, shared, saved, edits, looks = await self.collector.collect(batch)
        batch = self._free_part(batch, is_read=True)  # More has come in meanwhile.
        paths = sorted(filter(self._snapshot.counts, batch.paths))
        saved = saved.union(path for path in paths if not self._snapshot.knows(path))
        reasons = self._take_settings(files) | self._revisions.judge_again()
        reasons |= self._revisions.update(plugins, self._batches)
        self.preemption.note_outdated(self._revisions.refs_at(reasons) & self._state.building)
        code = self._shared.news(shared)
        why_again = PENDING if code else "saved again"
        again = dict.fromkeys(self._saved_again(saved), why_again) | batch.again
        if batch.everywhere:
            again |= self._state.look_for_modules()
        again = {place: why for place, why in again.items() if place not in reasons}
        reasons |= self._revisions.prepare_again(again)
        reasons |= dict.fromkeys(self._state.request(batch.asked), "asked for")
        news = self._revisions.refs_at(reasons) | self._shared.importers(code)
        if news or code:  # They are a wish to try again, whatever has failed.
            failed = self._state.forget_failures(news, all_of_them=bool(code))
            reasons = dict.fromkeys(failed, PENDING) | reasons
        reasons |= self._happened(batch)
        for request in batch.requests:
            request.is_taken_in = True
        occasion = Occasion(self._batches, paths, began, edits, looks)
        is_news = bool(reasons or code) or self._shared.is_undone(shared)
        if is_news:
            self._news = occasion
        cause = occasion if is_news else self._news.going_on()
        reload = self._begin(reasons, shared, cause, is_news=is_news)
        if reload is not None:
            self._under_way += 1
            self._group.start_soon(self._carry_out, reload, files)
            return True
        plugin_at = self._snapshot.folders.plugin_at
        if any(plugin_at(path) or self._shared.is_meant(path) for path in saved):
            number = self._reconciler.next_id()
            self._reports.planned(number, occasion)
            self._reports.skipped(number, occasion, "no content changed")
        self.configuration.report_misspelt(files)
        return False

    def _take_settings(self, files: AbstractSet[str]) -> dict[str, str]:
        """Take in what of the settings is among `files`.

        Returns:
            The places of the plugins whose section differs, each with the reason in words.
        """
        if not files.isdisjoint(self._hookspecs.paths):
            self._hookspecs.declare()
        places = self._revisions.places(self.configuration.take(files))
        return dict.fromkeys(places, "its configuration changed")

    def _saved_again(self, files: Iterable[str]) -> set[str]:
        """Return the places where something was saved, changed or not, and does not run.

        What was written in a reload does not count: a setup that fails may do that.
        """
        state, plugin_at = self._state, self._snapshot.folders.plugin_at
        saved = [*self.collector.own_writes.after_setups(files)]
        if any(self._snapshot.files.counts(path) and not plugin_at(path) for path in saved):
            # What has failed is not known to import it any more.
            return state.unstable.keys() | self._revisions.places(state.failures)
        places = {plugin_at(path) or path for path in saved}
        places |= {each for each in state.unstable if each.partition(":")[0] in saved}
        owners = {place: self._revisions.owner(place) for place in places}
        return {
            place
            for place, owner in owners.items()
            if place in state.unstable or (owner is not None and not state.is_live(owner))
        }

    def _happened(self, batch: Batch) -> dict[str, str]:
        """Note what has happened to plugins by itself; return why each is looked at, by place."""
        state, found = self._state, dict[str, str]()
        for ref, reason, error in batch.happened:
            if reason == UNHEALTHY:
                is_so = self._table.entries[ref].degraded_by is error
            else:
                is_so = self._table.states.get(ref) is State.FAILED
            if not is_so:  # It has been reloaded since, or waits for others, and for no more.
                if error is None:
                    state.drop_failures(ref)
                continue
            if error is None:
                state.request([ref])
            else:
                state.fail_running(ref, error)
                self._retries.arrange([ref])
            found |= dict.fromkeys(self._revisions.places([ref]), reason)
        return found

    # From these places to what runs

    def _begin(
        self,
        reasons: Mapping[str, str],
        contents: Mapping[str, SourceFile | None],
        occasion: Occasion,
        *,
        is_news: bool,
    ) -> Reload | None:
        """As `Reconciler.begin`; what is about to be built is left alone by everything else."""
        reload = self._reconciler.begin(reasons, contents, occasion, is_news=is_news)
        if reload is not None:
            refs = reload.plan.affected
            news = {each.place for each in reload.wanted.candidates.values()}
            self.collector.own_writes.reload_begins(self._revisions.places(refs) | news)
            self.health.interrupt(refs)
            self.preemption.planned(refs)
            self.preemption.note_input(self.inbox.waiting)
        return reload

    async def _carry_out(
        self, reload: Reload | None, files: AbstractSet[str] = frozenset()
    ) -> None:
        """Go on until nothing differs but what is known to fail, or something more comes in.

        Args:
            reload: what is to be done first.
            files: the single files that have changed.
        """
        try:
            with rare_collections():
                while reload is not None:
                    await self._reconciler.carry_out(reload, self._end_part)
                    await anyio.lowlevel.checkpoint()  # Other threads may have reported edits.
                    self.inbox.put_deferred()
                    if not (self._reconciler.differs and self.inbox.empty):
                        break
                    shared, unstable = self._shared.differing(()), self._state.unstable
                    left = {
                        place: reason
                        for place, reason in reload.places.items()
                        if unstable.get(place) == PENDING
                    }
                    cause = reload.occasion.going_on()
                    reload = self._begin(left, shared, cause, is_news=False)
        finally:
            self._under_way -= 1
            self.configuration.report_misspelt(files)
            self.inbox.put_deferred()  # There may be something else to be done.
            self._answer()
        for ref, path in self._runtime.take_outdated().items():
            reason = f"{path} has changed, and Python loads an extension module only once"
            self._table.require_restart(self._table.entries[ref], reason)

    def _end_part(self, applied: Applied) -> None:
        """Deal with what has waited for this part of a reload; others may last for long yet."""
        for imported in applied.imported.values():
            paths = {path: ran for path, ran in imported.code.items() if isinstance(path, str)}
            if edited := self._snapshot.see(paths):  # While it was built.
                self.inbox.put_paths(edited)
        self.leaks.add(applied.retired)
        self._retries.arrange(applied.touched)
        self.inbox.put_deferred()

    def _answer(self) -> None:
        """Answer the requests that are dealt with by now."""
        if self.inbox.empty or not self._reconciler.differs:
            self.inbox.answer(self._is_due)  # Else what has come in is looked at first.

    def _is_due(self, request: Request) -> bool:
        """Return whether something of what was asked for has not been dealt with yet."""
        refs, unstable = request.refs, self._state.unstable
        if refs is None:
            return False
        places = self._revisions.places(refs) & unstable.keys()
        return self._is_concerned(refs) or any(
            self._under_way or unstable[place] != PENDING for place in places
        )

    # What is observed and reported

    def _note(self, fact: Fact) -> None:
        """See what comes of plugins.

        `OwnWrites` distinguishes what a setup has written into its plugin's folder from edits.
        """
        if not isinstance(fact, Transition):
            return
        self.health.note(fact)
        self.preemption.note(fact)
        if fact.to_state in {State.READY, State.FAILED}:
            folder = self._table.entries[fact.ref].revision.folder
            if folder is not None:
                self.collector.own_writes.setup_ended(folder)

    def note_crash(self, ref: PluginRef, error: BaseException | None) -> None:
        """Deal with a plugin whose own task has died, of `error` if not of a cancelled scope."""
        died_of = "its own scope was cancelled" if error is None else in_words(root_error(error))
        crash = PluginCrashed(ref, died_of)
        crash.__cause__ = error
        self.inbox.happens(ref, CRASHED, crash)

    def report_problem(self, path: str, message: str, /, *, is_gone: bool = False) -> None:
        """Report that watching `path` has a problem, or that it is gone and cannot be seen."""
        error = FolderGone.of(path, message) if is_gone else None
        self._table.publish(WatchProblem(message=message, path=path, error=error))

    def report_recovery(self, path: str, message: str) -> None:
        """Report that a problem with watching `path` is over."""
        self._table.publish(WatchRecovered(message=message, path=path))
