"""From what comes in to reloads: the loop changes -> plan -> apply."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import anyio

from dagstack_dev.app.events import from_anywhere
from dagstack_dev.app.health import HealthWatch
from dagstack_dev.app.leaks import LeakCheck
from dagstack_dev.app.reload.collect import EDITED, Collector
from dagstack_dev.app.reload.configuration import Configuration
from dagstack_dev.app.reload.inbox import (
    CRASHED,
    TRIED_AGAIN,
    UNHEALTHY,
    Batch,
    Happening,
    Inbox,
    Request,
)
from dagstack_dev.app.reload.missing import LOOK_SECONDS
from dagstack_dev.app.reload.preemption import Preemption
from dagstack_dev.app.reload.reconciler import Occasion, Reconciler, Turn
from dagstack_dev.app.reload.reports import Reports
from dagstack_dev.app.reload.retry import Retries
from dagstack_dev.app.reload.shared import in_process
from dagstack_dev.app.reload.state import ReloadState
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.desired import PENDING
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.life import PluginCrashed
from dagstack_dev.core.events import Transition, WatchProblem, WatchRecovered
from dagstack_dev.core.lifecycle import State
from dagstack_dev.disk.reading import changed_at, has_changed
from dagstack_dev.host.gc_pause import rare_collections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from dagstack_dev.app.hookspec_files import HookspecFiles
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.app.settings import Settings
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.disk.snapshot import Snapshot
    from dagstack_dev.host.registry import Registry
    from dagstack_dev.host.transaction import Applied


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
        leaks: what is left of old generations.
        health: how the plugins are.
        configuration: what the configuration file says.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        snapshot: Snapshot,
        shared: SharedFiles,
        config: str | None,
        hookspecs: HookspecFiles,
        settings: Settings,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._preemption = Preemption(
            registry.table,
            building=lambda: self._reconciler.building,
            retried=lambda: self._state.retried,
            outdated=self._outdated,
            later=later,
        )
        self.inbox = Inbox(self._preemption.note_input)
        self.leaks = LeakCheck(registry.table, settings.leaks)
        self._runtime = in_process(registry)
        self.collector = Collector(
            snapshot,
            shared,
            self.inbox,
            doubt_seconds=settings.doubt_ms / 1000,
            imported=self._runtime.take_found if self._runtime else dict,
            later=lambda folder, seconds: later(seconds, lambda: self._look_again(folder)),
            on_problem=self.report_problem,
        )
        self.health = HealthWatch(
            registry.table,
            settings,
            on_unhealthy=lambda ref, error: self._happens(Happening(ref, UNHEALTHY, error)),
        )
        self.configuration = Configuration(registry, config, snapshot.file)
        self._table = registry.table
        self._snapshot = snapshot
        self._shared = shared
        self._hookspecs = hookspecs
        self._state = ReloadState(registry, snapshot.is_watched)
        self._retries = Retries(
            registry.table,
            self._state,
            first=settings.retry_seconds,
            longest=settings.retry_limit_seconds,
            later=later,
            on_due=lambda ref: self._happens(Happening(ref, TRIED_AGAIN)),
        )
        self._reports = Reports(registry.table)
        self._reconciler = Reconciler(
            registry,
            self._state,
            shared,
            self._reports,
            planned=self._preemption.planned,
            building=self._building,
            ended=self._part_has_ended,
        )
        self._batches = 0
        self._under_way = 0  # Reloads, and looks at what has come in.
        self._held = Batch()
        self._asked: list[Request] = []
        self.has_started = anyio.Event()
        self._idle = anyio.Event()
        self._ended = False
        self._look_away = registry.observe(self._note)

    def end(self) -> None:
        """Nothing is dealt with any more, and nobody waits for it."""
        self._ended = True
        self._look_away()
        self.inbox.take()
        self.inbox.answer_all()
        self._idle.set()

    async def come_to_rest(self) -> None:
        """Wait until nothing is left to do, or the end has come."""
        while not self._ended and not self._is_idle:
            await self._idle.wait()

    @property
    def waiting(self) -> set[str]:
        """The paths of what has come in and is not taken in yet."""
        return self.inbox.waiting.paths | self._held.paths

    @property
    def _is_idle(self) -> bool:
        return self.inbox.empty and not (self._under_way or self._held)

    async def start(self, *, owns_plugins: bool) -> None:
        """Take what is on disk for the first time; whatever fails, fails alone.

        Args:
            owns_plugins: whether nobody else has set plugins up, and all of them are to be.
        """
        self._tell_paths = from_anywhere(self.inbox.paths)
        occasion = Occasion(self._batches, began=perf_counter(), is_first=owns_plugins)
        plugins, files, shared, _ = await self.collector.first_look()
        reasons = self._take_settings(files)  # They may have been saved since they were read.
        reasons |= dict.fromkeys(self._state.missing(), "removed")
        if owns_plugins:
            for entry in self._table.present():
                if self._table.states[entry.ref] is not State.READY:
                    reasons[self._state.place(entry.ref) or ""] = "first start"
        reasons |= self._state.update(plugins, self._batches)
        turn = self._reconciler.begin(reasons, shared, occasion, is_news=True)
        self._begun()
        self.has_started.set()
        await self._reload(turn, occasion)

    async def run(self) -> None:
        """Take in one batch after the other; the reloads that follow may go on side by side."""
        await self.has_started.wait()
        async with anyio.create_task_group() as self._group:
            while True:
                if self._is_idle:
                    self._idle.set()
                    self._idle = anyio.Event()
                if await self.inbox.wait(None if self._under_way else self._idle_seconds):
                    batch = self.inbox.take()
                    if not batch and self._under_way:
                        self._answer()  # What differs is dealt with by what is under way.
                        continue
                    self._under_way += 1
                    try:
                        with rare_collections():
                            await self._handle(self._free_part(batch))
                    finally:
                        self._under_way -= 1
                    continue
                await self.leaks.look(lambda: not self.inbox.empty)
                if places := self._state.come():
                    self.inbox.put(Batch(again=places))

    @property
    def _idle_seconds(self) -> float | None:
        """How long nothing should happen before there is something to be looked at."""
        return self.leaks.idle_seconds or (LOOK_SECONDS if self._state.absent() else None)

    def _free_part(self, batch: Batch) -> Batch:
        """What of `batch` touches nothing that is being built; the rest is held until that ends."""
        if not self._reconciler.building:
            return batch
        is_building = self._reconciler.is_building
        free, held = Batch(again=batch.again), Batch()
        for path in batch.paths:
            place = self._snapshot.folders.plugin_at(path)
            refs = self._state.refs_at([place] if place is not None else ())
            part = held if is_building(refs | self._shared.importers([path])) else free
            part.paths.add(path)
        for request in batch.requests:
            is_held = request.refs is None or is_building(self._table.reached_by(request.refs))
            (held if is_held else free).requests.append(request)
        for each in batch.happened:
            part = held if is_building(self._table.reached_by([each.ref])) else free
            part.happened.append(each)
        self._held.join(held)
        return free

    def _still_free(self, batch: Batch) -> Batch:
        """`batch`, which has been looked at, without what has to be held by now."""
        free = self._free_part(replace(batch, paths=set()))
        free.paths = batch.paths
        return free

    def note_crash(self, ref: PluginRef, error: BaseException | None) -> None:
        """Deal with a plugin whose own task has died, of `error` if not of a cancelled scope."""
        self._happens(Happening(ref, CRASHED, _crash(ref, error)))

    def _happens(self, happening: Happening) -> None:
        self.inbox.put(Batch(happened=[happening]))

    def _note(self, fact: Fact) -> None:
        """See what comes of plugins.

        What a setup has written into its plugin's folder is to be told from edits.
        """
        if not isinstance(fact, Transition):
            return
        self.health.note(fact)
        self._preemption.note(fact)
        if fact.to_state in {State.READY, State.FAILED}:
            folder = self._table.entries[fact.ref].offer.folder
            if folder is not None:
                self.collector.own_writes.setup_ended(folder)

    def _look_again(self, folder: str) -> None:
        self.collector.own_writes.wait_is_over(folder)
        self.inbox.paths({folder})

    def _outdated(self, waiting: Batch) -> set[PluginRef]:
        """The plugins that differ on disk, by what has come in, from what they are set up from."""
        folders, files = self.collector.edited(waiting)
        present = [*self._table.present()] if folders else []
        refs = {entry.ref for entry in present if entry.offer.folder in folders}
        refs |= self.configuration.differing(files)
        shared = self._shared.news(self._snapshot.files.differing(files))
        return refs | self._shared.importers(shared)

    def is_outdated(self, ref: PluginRef, seconds: float) -> bool:
        """Whether a setup of `ref` that blocks the loop for `seconds` now is of use to nobody.

        Called from the watchdog's thread, as events do not get through. Configuration is not
        looked at.
        """
        if not self._preemption.may_break_off(ref, seconds):
            return False
        needed, left = {ref}, {ref}
        while left:
            left = {each for one in left for each in self._table.graph.dependencies(one)} - needed
            needed |= left
        sources = (self._table.entries[each].offer.source for each in needed)
        edited = {
            f"{source.home}/{path}"
            for source in sources
            if source is not None
            for path, file in source.files.items()
            if path.endswith(EDITED) and has_changed(f"{source.home}/{path}", file.fingerprint)
        }
        shared = self._shared.changed_on_disk()
        if not needed.isdisjoint(self._shared.importers(shared)):
            edited |= shared
        if edited:  # To be there before the plugin would be tried again.
            self._tell_paths(edited)
        return bool(edited)

    # From a batch to the places where something may differ

    async def _handle(self, batch: Batch) -> None:
        """Take in what has come in, and begin the reload that it asks for."""
        if not batch and not self._reconciler.differs:
            self._answer()
            return
        began = perf_counter()
        self._batches += 1
        plugins, files, shared, saved = await self.collector.collect(batch)
        batch = self._still_free(batch)
        paths = sorted(filter(self._snapshot.counts, batch.paths))
        saved = saved.union(path for path in paths if not self._snapshot.knows(path))
        reasons = self._take_settings(files) | self._state.judge_again()
        reasons |= self._state.update(plugins, self._batches)
        self._preemption.note_outdated(self._state.refs_at(reasons) & self._reconciler.building)
        again = self._saved_again(saved) | batch.again
        if batch.everywhere:
            again |= self._state.come()
        reasons |= self._state.prepare_again(again - reasons.keys())
        reasons |= dict.fromkeys(self._state.request(batch.asked), "asked for")
        code = self._shared.news(shared)
        news = self._state.refs_at(reasons) | self._shared.importers(code)
        if news or code:  # They are a wish to try again, whatever has failed.
            again = self._state.forget_failures(news, all_of_them=bool(code))
            reasons = dict.fromkeys(again, PENDING) | reasons
        reasons |= self._happened(batch)
        self._asked += batch.requests
        after = [self.configuration.tell_misspelt] if self.configuration.is_among(files) else []
        occasion = Occasion(self._batches, paths, began)
        is_news = bool(reasons) or self._shared.has_changed(shared)
        turn = self._reconciler.begin(reasons, shared, occasion, is_news=is_news)
        if turn is None:
            if any(
                self._snapshot.folders.plugin_at(path) or self._shared.is_meant(path)
                for path in saved
            ):
                number = self._reconciler.next_id()
                self._reports.skipped(number, began, paths, "no content changed")
            for each in after:
                each()
            self._answer()
            return
        self._begun()
        self._group.start_soon(self._reload, turn, occasion, after)

    def _begun(self) -> None:
        """Count a reload as under way, from before its task begins."""
        self._under_way += 1
        self._preemption.note_input(self.inbox.waiting)

    async def _reload(
        self,
        turn: Turn | None,
        occasion: Occasion,
        after: Iterable[Callable[[], object]] = (),
    ) -> None:
        """Go on with `turn` until nothing differs, or something more has come in; call `after`."""
        try:
            with rare_collections():
                await self._reconciler.reconcile(turn, occasion, self._may_go_on)
        finally:
            self._under_way -= 1
            for each in after:
                each()
            self.inbox.put(Batch())  # There may be something else to be done.
            self._may_go_on()
            self._answer()
        for ref, path in self._runtime.take_outdated().items() if self._runtime else ():
            reason = f"{path} has changed, and Python loads an extension module only once"
            self._table.require_restart(self._table.entries[ref], reason)

    def _answer(self) -> None:
        """Answer whoever has asked for what is dealt with by now."""
        if self._reconciler.differs and not self.inbox.empty:
            return  # What has come in is looked at first, and then it goes on.
        asked, self._asked = self._asked, []
        for each in asked:
            if each.refs is not None and (
                self._reconciler.is_building(self._table.reached_by(each.refs))
                or self._reconciler.is_due(each.refs, to_be_tried=self._under_way > 0)
            ):
                self._asked.append(each)
            else:
                each.done.set()

    def _part_has_ended(self, applied: Applied) -> None:
        """Deal with what has waited for this part of a reload; others may last for long yet."""
        self.leaks.add(applied.retired)
        self._retries.arrange(applied.touched)
        self.inbox.put(Batch())
        self._may_go_on()

    def _may_go_on(self) -> bool:
        """Whether nothing has come in meanwhile; what was held is looked at again."""
        held, self._held = self._held, Batch()
        if held:
            self.inbox.put(held)
        return self.inbox.empty

    @contextmanager
    def _building(self, refs: AbstractSet[PluginRef], places: set[str]) -> Iterator[None]:
        self.collector.own_writes.reload_begins(places)
        with self.health.paused(refs):
            yield

    def _happened(self, batch: Batch) -> dict[str, str]:
        """Take down what has happened to plugins by itself; why each is looked at, by place."""
        found: dict[PluginRef, str] = {}
        for ref, reason, error in batch.happened:
            if reason == UNHEALTHY:
                is_so = self._table.entries[ref].degraded_by is error
            else:
                is_so = self._table.states.get(ref) is State.FAILED
            if not is_so:  # It has been reloaded since, or waits for others, and for no more.
                if error is None:
                    self._state.failures.pop(ref, None)
                continue
            if error is None:
                self._state.request([ref])
            else:
                self._state.fail_running(ref, error)
                self._retries.arrange([ref])
            found[ref] = reason
        return {self._state.place(ref) or "": reason for ref, reason in found.items()}

    def _saved_again(self, files: Iterable[str]) -> set[str]:
        """The places where something was saved, changed or not, and does not run.

        What was written in a reload does not count: a setup that fails may do that.
        """
        saved = [path for path in files if changed_at(path) > self._reconciler.ended_ns]
        plugin_at = self._snapshot.folders.plugin_at
        if any(self._snapshot.files.counts(path) and not plugin_at(path) for path in saved):
            # What has failed is not known to import it any more.
            return self._reconciler.unsettled.keys() | self._state.failed()
        places = {plugin_at(path) or path for path in saved}
        places |= {each for each in self._reconciler.unsettled if each.partition(":")[0] in saved}
        owners = {place: self._state.owner(place) for place in places}
        return {
            place
            for place, owner in owners.items()
            if place in self._reconciler.unsettled
            or (owner is not None and not self._state.is_live(owner))
        }

    def _take_settings(self, files: AbstractSet[str]) -> dict[str, str]:
        """Take in what of the settings is among `files`; the answer is where a section differs."""
        if not files.isdisjoint(self._hookspecs.paths):
            self._hookspecs.declare()
        places = (self._state.place(ref) or "" for ref in self.configuration.take(files))
        return dict.fromkeys(places, "its configuration changed")

    def report_problem(self, path: str, message: str) -> None:
        """Tell the observers that watching `path` has a problem."""
        self._table.publish(WatchProblem(message=message, path=path))

    def report_recovery(self, path: str, message: str) -> None:
        """Tell the observers that a problem with watching `path` is over."""
        self._table.publish(WatchRecovered(message=message, path=path))


def _crash(ref: PluginRef, error: BaseException | None) -> PluginCrashed:
    """Why a plugin is down that was ready: what a task of its own has raised."""
    died_of = "its own scope was cancelled" if error is None else in_words(root_error(error))
    crash = PluginCrashed(ref, died_of)
    crash.__cause__ = error
    return crash
