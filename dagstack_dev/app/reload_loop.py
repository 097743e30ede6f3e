"""From what comes in to reloads: the loop changes -> plan -> apply."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from time import perf_counter, time_ns
from typing import TYPE_CHECKING

import anyio

from dagstack_dev.app.catalog import Catalog
from dagstack_dev.app.collector import EDITED, Collector
from dagstack_dev.app.config import ConfigInvalid, read_config
from dagstack_dev.app.demands import demanded
from dagstack_dev.app.draft import candidate_for
from dagstack_dev.app.health import HealthWatch
from dagstack_dev.app.inbox import Batch, Inbox
from dagstack_dev.app.leaks import LeakCheck
from dagstack_dev.app.missing import LOOK_SECONDS, MissingModules, missing_in
from dagstack_dev.app.preemption import Preemption
from dagstack_dev.app.revival import Revival
from dagstack_dev.app.shared import in_process
from dagstack_dev.core.config_document import ConfigDocument
from dagstack_dev.core.config_sections import misspelt_sections
from dagstack_dev.core.errors import DependencyCycle
from dagstack_dev.core.events import (
    PluginFixed,
    PluginRejected,
    ReloadSkipped,
    Transition,
    WatchProblem,
    WatchRecovered,
)
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.passing import SetupPreempted
from dagstack_dev.core.plan import Candidate, Load
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.disk.reading import changed_at, has_changed
from dagstack_dev.host.context import sees_the_same
from dagstack_dev.host.elapsed import ms_since
from dagstack_dev.host.preparation import locate
from dagstack_dev.host.reloader import Reloader
from dagstack_dev.host.sections import section_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from dagstack_dev.app.draft import Draft
    from dagstack_dev.app.hookspec_files import HookspecFiles
    from dagstack_dev.app.settings import Settings
    from dagstack_dev.app.shared import SharedCatalog
    from dagstack_dev.core.errors import PluginRegistryError
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.plan import ReloadPlan
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.snapshot import Snapshot
    from dagstack_dev.host.context import PluginContext
    from dagstack_dev.host.entry import Entry
    from dagstack_dev.host.registry import Registry


class ReloadLoop:
    """Keeps the plugins of a registry like what is on disk, one reload after the other.

    Args:
        registry: the registry.
        context: what its plugins are given.
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
    """

    def __init__(
        self,
        registry: Registry,
        context: PluginContext,
        *,
        snapshot: Snapshot,
        shared: SharedCatalog,
        config: str | None,
        hookspecs: HookspecFiles,
        settings: Settings,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._preemption = Preemption(registry.table, outdated=self._outdated, later=later)
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
        self._revival = Revival(
            registry.table,
            first=settings.retry_seconds,
            longest=settings.retry_limit_seconds,
            later=later,
            on_due=lambda ref: self.inbox.put(Batch(retried={ref})),
        )
        self._missing = MissingModules()
        self.health = HealthWatch(
            registry.table,
            settings,
            on_unhealthy=lambda ref, error: self.inbox.put(Batch(unhealthy={ref: error})),
        )
        self._registry = registry
        self._context = context
        self._table = registry.table
        self._snapshot = snapshot
        self._shared = shared
        self._config = config
        self._hookspecs = hookspecs
        self._catalog = Catalog(registry)
        self._reloader = Reloader(registry.conductor)
        self._reloads = 0
        self._told: dict[str, str] = {}
        self._misspelt: set[PluginRef] = set()
        self._busy = False
        self._idle = anyio.Event()
        self._ended = False
        self._ended_ns = 0
        self._look_away = registry.observe(self._note)

    def end(self) -> None:
        """Nothing is dealt with any more, and nobody waits for it."""
        self._ended = True
        self._look_away()
        for done in self.inbox.take().done:
            done.set()
        self._idle.set()

    async def come_to_rest(self) -> None:
        """Wait until nothing is left to do, or the end has come."""
        while not self._ended and (self._busy or not self.inbox.empty):
            await self._idle.wait()

    async def start(self, *, owns_plugins: bool) -> None:
        """Take what is on disk for the first time; whatever fails, fails alone.

        Args:
            owns_plugins: whether nobody else has set plugins up, and all of them are to be.
        """
        changes = await self.collector.first_look()
        if changed := self._snapshot.news.files.keys() & {self._config, *self._hookspecs.paths}:
            self.inbox.paths({*changed})  # They were saved since they were read.
        reasons = self._catalog.update(changes)
        self._catalog.miss(self._snapshot.folders.counts)
        shared = self._shared.differing(None)
        forced: dict[PluginRef, Candidate] = {}
        if owns_plugins:
            forced = {
                entry.ref: candidate_for(entry, "first start", Load.IMPORT)
                for entry in self._table.present()
                if self._table.states[entry.ref] is not State.READY
            }
        reload_id = None if owns_plugins else self._next_id()
        began = perf_counter()
        with self._preemption.watching(self.inbox.waiting):
            await self._reload(reasons, shared, reload_id=reload_id, began=began, forced=forced)

    async def run(self) -> None:
        """One reload at a time; what comes in meanwhile is the next batch."""
        while True:
            self._revival.arrange()
            missing = self._missing_modules()
            self._busy = False
            self._idle.set()
            seconds = self.leaks.idle_seconds or (LOOK_SECONDS if missing else None)
            if not await self.inbox.wait(seconds):
                await self.leaks.look(lambda: not self.inbox.empty)
                if missing and (folders := self._missing.come(missing)):
                    self.inbox.put(Batch(again=folders))
                continue
            self._busy = True
            self._idle = anyio.Event()
            batch = self.inbox.take()
            try:
                await self._handle(batch)
            finally:
                for done in batch.done:
                    done.set()

    def _note(self, fact: Fact) -> None:
        """See what comes of plugins.

        What a setup has written into its plugin's folder is to be told from edits.
        """
        if not isinstance(fact, Transition):
            return
        self._revival.note(fact)
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
        if self._config in files:
            with suppress(ConfigInvalid):
                refs |= {entry.ref for entry in self._configured_otherwise(self._read_config())}
        shared = self._shared.news(self._snapshot.files.differing(files))
        return refs | self._shared.importers(shared)

    def _read_config(self) -> ConfigDocument:
        assert self._config is not None, "no configuration file"  # noqa: S101 - it has changed
        return read_config(self._config, self._snapshot.file(self._config))

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
        is_edited = any(
            has_changed(f"{source.home}/{path}", file.fingerprint)
            for source in sources
            if source is not None
            for path, file in source.files.items()
            if path.endswith(EDITED)
        )
        return is_edited or not needed.isdisjoint(self._shared.changed_on_disk())

    async def _handle(self, batch: Batch) -> None:
        began = perf_counter()
        changes, files, shared = await self.collector.collect(batch)
        if not files.isdisjoint(self._hookspecs.paths):
            self._hookspecs.declare()
        reasons = self._catalog.judge_again() | self._catalog.update(changes)
        forced = demanded(batch, self._table)
        if self._config in files:
            forced |= self._reconfigure()
        paths = sorted(filter(self._snapshot.counts, batch.paths))
        again = (self._saved_again(paths) | self._preempted() | batch.again) - reasons.keys()
        reasons |= self._catalog.prepare_again(again)
        edited = {self._catalog.ref_of(folder) for folder in reasons}
        self._revival.begin_anew(edited)
        for ref, candidate in forced.items():
            folder = self._catalog.folder_of(ref)
            if ref not in batch.retried:
                self._revival.begin_anew([ref] if candidate.error is None else [])
            elif folder is not None:  # It may hold more than what has failed.
                reasons.setdefault(folder, candidate.reason)
        if reasons or forced or self._shared.has_news(shared):
            tried_again = batch.retried - edited - batch.forced
            with self._preemption.watching(self.inbox.waiting, tried_again):
                await self._reload(
                    reasons,
                    shared,
                    reload_id=self._next_id(),
                    began=began,
                    paths=paths,
                    forced=forced,
                    brings_news=batch.brings_news,
                )
        elif any(
            self._snapshot.folders.plugin_at(path) or self._shared.is_meant(path) for path in paths
        ):
            self._tell_skipped(self._next_id(), began, paths, "no content changed")
        if self._config in files:
            self.tell_misspelt_sections()

    def _errors(self) -> dict[str, BaseException | None]:
        """Why each plugin has failed or is pending, by its folder."""
        entries = self._table.entries
        refs = {folder: self._catalog.ref_of(folder) for folder in self._catalog.pending}
        return {folder: entries[ref].error for folder, ref in refs.items() if ref in entries}

    def _missing_modules(self) -> dict[str, set[str]]:
        """The modules that are missed by what has failed or is pending, by its folder."""
        errors = self._errors().items()
        return {folder: names for folder, error in errors if (names := missing_in(error))}

    def _preempted(self) -> set[str]:
        """The folders of setups that an edit has broken off: they go on though it may be undone."""
        errors = self._errors().items()
        return {folder for folder, error in errors if type(error) is SetupPreempted}

    def _saved_again(self, paths: Iterable[str]) -> set[str]:
        """The folders that are pending and whose files were saved, changed or not.

        All that are pending for shared code: what has failed is not known to import it any more.
        What was written in a reload does not count: a setup that fails may do that.
        """
        pending = self._catalog.pending
        saved = [path for path in paths if changed_at(path) > self._ended_ns] if pending else []
        folders = {self._snapshot.folders.plugin_at(path) for path in saved}
        if None in folders and any(
            self._snapshot.files.counts(path) and not self._snapshot.folders.plugin_at(path)
            for path in saved
        ):
            return {*pending}
        return pending & (folders | {each for each in pending if each.partition(":")[0] in saved})

    def _reconfigure(self) -> dict[PluginRef, Candidate]:
        """Read the configuration file again; candidates are those whose section differs."""
        key = str(self._config)
        try:
            config = self._read_config()
        except ConfigInvalid as error:
            if self._told.get(key) != str(error):
                self._told[key] = str(error)
                self._table.publish(
                    PluginRejected(ref=None, path=key, error=error, keeps_generation=None)
                )
            return {}
        if self._told.pop(key, None) is not None:
            fixed = PluginFixed(ref=None, path=key, message="the file can be used again")
            self._table.publish(fixed)
        differing = self._configured_otherwise(config)
        self._context = replace(self._context, config=config)
        self._registry.conductor.context = self._context
        return {
            entry.ref: replace(
                candidate_for(entry, "its configuration changed", Load.RENEW),
                error=section_problem(entry.offer, self._context),
            )
            for entry in differing
        }

    def _configured_otherwise(self, config: ConfigDocument) -> list[Entry]:
        """The plugins to whom `config` says something else than what is in force."""
        return [
            entry
            for entry in self._table.present()
            if not sees_the_same(entry.ref, self._context.config, config)
        ]

    async def _reload(
        self,
        reasons: Mapping[str, str],
        shared: Mapping[str, SourceFile | None],
        *,
        reload_id: int | None,
        began: float,
        paths: Sequence[str] = (),
        forced: Mapping[PluginRef, Candidate] | None = None,
        brings_news: bool = True,
    ) -> None:
        """Plan and apply one batch.

        Unless it `brings_news`, nothing else that is pending is tried with it. What waits to be
        tried again is left alone, except where a change of `shared` code may be what mends it.
        """

        def is_its_turn(ref: PluginRef | None) -> bool:
            return brings_news and (bool(shared) or not self._revival.is_waiting(ref))

        draft = self._catalog.draft(reasons, forced or {}, is_its_turn)
        changes = self._shared.prepare(shared)
        self._shared.enter(changes, draft)
        plan = plan_reload(self._table.world(), draft.candidates.values(), draft.removed)
        for error in plan.errors():
            self._locate(error, draft)
        kept = {ref for ref in plan.rejected if self._table.states[ref] is State.READY}
        self._reject(draft, plan, reload_id)
        self.collector.own_writes.reload_begins()
        with self.health.paused():
            applied = await self._reloader.apply(
                plan,
                draft.candidates,
                draft.offers,
                {each.name: each for each in changes},
                reload_id=reload_id,
                paths=paths,
                began=began,
            )
        for ref, path in self._runtime.take_outdated().items() if self._runtime else ():
            reason = f"{path} has changed, and Python loads an extension module only once"
            self._table.require_restart(self._table.entries[ref], reason)
        self._ended_ns = time_ns()
        settled = {ref for ref in draft.unchanged if self._table.entries[ref].pending}
        self._catalog.settle(draft, plan, applied)
        rest = self._shared.settle(shared)
        self._shared.note_missed(changes, draft, {*plan.rejected, *applied.rolled_back})
        self.leaks.add(applied.retired)
        if reload_id is not None and applied.touched and settled:
            self._tell_skipped(reload_id, began, paths, "what runs is on disk again", settled)
        elif reload_id is not None and not applied.touched:
            reason = "nothing to do"
            if plan.rejected:
                reason = "nothing can be taken over"
            elif shared and not changes:
                reason = "no plugin imports what changed"
            elif draft.unchanged:
                reason = "what runs is on disk again"
            self._tell_skipped(reload_id, began, paths, reason, draft.unchanged)
        self._tell_fixed(settled, reload_id)
        # What was to go on running has lost what it depends on, so nothing is kept by rejecting
        # its newer source any more. Or what has just come runs shared code that is out of date,
        # or code that somebody else has done without, for it was not there yet.
        lost = any(self._table.states[ref] is not State.READY for ref in kept)
        held_back = self._catalog.held_back(draft, applied, reasons)
        if lost or self._shared.has_news(rest):
            await self._reload({}, rest, reload_id=self._next_id(), began=perf_counter())
        elif held_back and not shared:
            await self._reload(
                held_back,
                {},
                reload_id=self._next_id(),
                began=perf_counter(),
                paths=paths,
                brings_news=False,
            )

    def _locate(self, error: PluginRegistryError, draft: Draft) -> None:
        """Have `error` name a line of a manifest; of a cycle, one that is news closes it."""
        ref = error.ref
        if isinstance(error, DependencyCycle):
            for each, needed in zip(error.cycle, (*error.cycle[1:], error.cycle[0]), strict=True):
                offer = draft.offers.get(each)
                if offer is not None and {needed, needed.name} & {*offer.manifest.depends_on}:
                    ref = each
                    break
        if ref in draft.offers:
            locate(error, draft.offers[ref].source)
        elif ref in self._table.entries:
            locate(error, self._table.entries[ref].offer.source)

    def _reject(self, draft: Draft, plan: ReloadPlan, reload_id: int | None) -> None:
        """Report what cannot be taken over, but not the same thing with every batch."""
        rejected: list[tuple[PluginRef | None, str, BaseException]] = [
            (None, folder, error) for folder, error in draft.unclaimed.items()
        ]
        rejected += (
            (ref, self._catalog.folder_of(ref) or "", error) for ref, error in plan.rejected.items()
        )
        for ref, folder, error in rejected:
            if self._told.get(folder) != str(error):
                self._told[folder] = str(error)
                self._reloader.reject(ref, folder, error, reload_id)

    def _tell_fixed(self, settled: Collection[PluginRef], reload_id: int | None) -> None:
        """Report what was rejected or rolled back before and is not any more."""
        folders = {self._catalog.folder_of(ref) or "" for ref in settled}
        folders |= self._told.keys() - self._catalog.pending - {str(self._config)}
        for folder in sorted(folders):
            self._told.pop(folder, None)
            ref = self._catalog.ref_of(folder)
            message = "what is on disk runs"
            if ref in settled:
                message = "what is on disk matches what runs"
            elif ref is None:
                message = "it is gone from disk"
            self._table.publish(
                PluginFixed(ref=ref, path=folder, message=message, reload_id=reload_id)
            )

    def _tell_skipped(
        self,
        reload_id: int,
        began: float,
        paths: Sequence[str],
        reason: str,
        settled: Iterable[PluginRef] = (),
    ) -> None:
        self._table.publish(
            ReloadSkipped(
                reload_id=reload_id,
                duration_ms=ms_since(began),
                paths=tuple(paths),
                reason=reason,
                settled=tuple(sorted(settled)),
            )
        )

    def _next_id(self) -> int:
        self._reloads += 1
        return self._reloads

    def tell_misspelt_sections(self) -> None:
        """Tell the observers of tables in the configuration that reach no plugin, once each."""
        config = self._context.config
        if not isinstance(config, ConfigDocument):
            return
        found = misspelt_sections(config, (entry.ref for entry in self._table.present()))
        for table, message in found.items():
            if table not in self._misspelt:
                self.report_problem(config.path, message)
        self._misspelt = {*found}

    def report_problem(self, path: str, message: str) -> None:
        """Tell the observers that watching `path` has a problem."""
        self._table.publish(WatchProblem(message=message, path=path))

    def report_recovery(self, path: str, message: str) -> None:
        """Tell the observers that a problem with watching `path` is over."""
        self._table.publish(WatchRecovered(message=message, path=path))
