"""From what comes in to reloads: the loop changes -> plan -> apply."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import anyio

from dagstack_dev.app.catalog import Catalog
from dagstack_dev.app.collector import Collector
from dagstack_dev.app.config import ConfigInvalid
from dagstack_dev.app.draft import candidate_for
from dagstack_dev.app.inbox import Batch, Inbox
from dagstack_dev.app.leaks import LeakCheck
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors import PluginCrashed, in_words
from dagstack_dev.core.events import PluginRejected, ReloadSkipped, Transition, WatchProblem
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Candidate, Load
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.host.context import plugin_config
from dagstack_dev.host.reloader import Reloader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dagstack_dev.app.config import ConfigFile
    from dagstack_dev.app.draft import Draft
    from dagstack_dev.app.settings import Settings
    from dagstack_dev.app.shared import SharedCatalog
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.plan import ReloadPlan
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.snapshot import DiskView
    from dagstack_dev.host.context import PluginContext
    from dagstack_dev.host.registry import Registry


class ReloadLoop:
    """Keeps the plugins of a registry like what is on disk, one reload after the other.

    Args:
        registry: the registry.
        context: what its plugins are given.
        disk: the folders of the plugins.
        shared: the code that they share.
        config: the configuration file.
        settings: see `Settings`.
        later: called with seconds and a function, to have the function called then.

    Attributes:
        inbox: what it is to deal with.
        collector: what of that it believes.
        leaks: what is left of old generations.
    """

    def __init__(
        self,
        registry: Registry,
        context: PluginContext,
        *,
        disk: DiskView,
        shared: SharedCatalog,
        config: ConfigFile,
        settings: Settings,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.inbox = Inbox()
        self.leaks = LeakCheck(registry.table, settings.leaks)
        self.collector = Collector(
            disk,
            shared,
            self.inbox,
            doubt_seconds=settings.doubt_ms / 1000,
            later=lambda folder, seconds: later(seconds, lambda: self._look_again(folder)),
            on_problem=self.report_problem,
        )
        self._registry = registry
        self._context = context
        self._table = registry.table
        self._disk = disk
        self._shared = shared
        self._config = config
        self._catalog = Catalog(registry)
        self._reloader = Reloader(registry.conductor)
        self._reloads = 0
        self._told: dict[str, str] = {}
        self._busy = False
        self._idle = anyio.Event()
        self._ended = False
        self._forget_setups = registry.observe(self._note_setup)

    def end(self) -> None:
        """Nothing is dealt with any more, and nobody waits for it."""
        self._ended = True
        self._forget_setups()
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
        reasons = self._catalog.update(changes)
        self._catalog.miss(self._disk.counts)
        shared = self._shared.look(None)
        forced: dict[PluginRef, Candidate] = {}
        if owns_plugins:
            forced = {
                entry.ref: candidate_for(entry, "first start", Load.IMPORT)
                for entry in self._table.present()
                if self._table.states[entry.ref] is not State.READY
            }
        reload_id = None if owns_plugins else self._next_id()
        began = perf_counter()
        await self._reload(reasons, shared, reload_id=reload_id, began=began, forced=forced)

    async def run(self) -> None:
        """One reload at a time; what comes in meanwhile is the next batch."""
        while True:
            self._busy = False
            self._idle.set()
            if not await self.inbox.wait(self.leaks.idle_seconds):
                await self.leaks.look(lambda: not self.inbox.empty)
                continue
            self._busy = True
            self._idle = anyio.Event()
            batch = self.inbox.take()
            try:
                await self._handle(batch)
            finally:
                for done in batch.done:
                    done.set()

    def _note_setup(self, fact: Fact) -> None:
        """Have what a setup has written into its plugin's folder told from edits."""
        if isinstance(fact, Transition) and fact.to_state is State.READY:
            folder = self._table.entries[fact.ref].offer.folder
            if folder is not None:
                self.collector.own_writes.set_up(folder)

    def _look_again(self, folder: str) -> None:
        self.collector.own_writes.now_due(folder)
        self.inbox.paths({folder})

    async def _handle(self, batch: Batch) -> None:
        began = perf_counter()
        changes, shared = await self.collector.collect(batch)
        reasons = self._catalog.update(changes)
        forced = self._forced(batch)
        if self._config.concerns(batch):
            forced |= await self._reconfigure()
        paths = sorted(
            path for path in batch.paths if self._disk.counts(path) or self._shared.counts(path)
        )
        if reasons or forced or self._shared.has_news(shared):
            await self._reload(
                reasons, shared, reload_id=self._next_id(), began=began, paths=paths, forced=forced
            )
        elif any(self._disk.is_in_plugin(path) or self._shared.is_meant(path) for path in paths):
            self._tell_skipped(self._next_id(), began, paths, "no content changed")

    def _forced(self, batch: Batch) -> dict[PluginRef, Candidate]:
        """Candidates for what was asked for and for what died."""
        forced: dict[PluginRef, Candidate] = {}
        for ref in batch.forced:
            if self._table.states[ref] is not State.REMOVED:  # As it may be since it was asked.
                forced[ref] = candidate_for(self._table.entries[ref], "asked for", Load.IMPORT)
        for ref, error in batch.crashed.items():
            if self._table.states.get(ref) is State.FAILED:
                died = PluginCrashed(ref, _died_of(error))
                died.__cause__ = error
                candidate = candidate_for(
                    self._table.entries[ref], "a task of its own ended it", Load.IMPORT
                )
                forced[ref] = replace(candidate, error=died)
        return forced

    async def _reconfigure(self) -> dict[PluginRef, Candidate]:
        """Read the configuration file again; candidates are those whose section differs."""
        key = str(self._config.path)
        try:
            config = await self._config.read_settled(self._context.config)
        except ConfigInvalid as error:
            if self._told.get(key) != str(error):
                self._told[key] = str(error)
                self._table.publish(
                    PluginRejected(ref=None, path=key, error=error, keeps_generation=None)
                )
            return {}
        self._told.pop(key, None)
        before, self._context = self._context, replace(self._context, config=config)
        self._registry.conductor.context = self._context
        return {
            entry.ref: candidate_for(entry, "its configuration changed", Load.RENEW)
            for entry in self._table.present()
            if plugin_config(before.config, entry.ref) != plugin_config(config, entry.ref)
        }

    async def _reload(
        self,
        reasons: Mapping[str, str],
        shared: Mapping[str, SourceFile | None],
        *,
        reload_id: int | None,
        began: float,
        paths: Sequence[str] = (),
        forced: Mapping[PluginRef, Candidate] | None = None,
    ) -> None:
        """Plan and apply one batch."""
        draft = self._catalog.draft(reasons, forced or {})
        changes = self._shared.prepare(shared)
        self._shared.enter(changes, draft)
        plan = plan_reload(self._table.world(), draft.candidates.values(), draft.removed)
        kept = {ref for ref in plan.rejected if self._table.states[ref] is State.READY}
        self._reject(draft, plan, reload_id)
        with self.collector.own_writes.reloading():
            applied = await self._reloader.apply(
                plan,
                draft.candidates,
                draft.offers,
                {each.name: each for each in changes},
                reload_id=reload_id,
                paths=paths,
                began=began,
            )
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
        for folder in {*reasons} - self._catalog.pending:
            self._told.pop(folder, None)
        # What was to go on running has lost what it depends on, so nothing is kept by rejecting
        # its newer source any more. Or what has just come runs shared code that is out of date.
        lost = any(self._table.states[ref] is not State.READY for ref in kept)
        if lost or self._shared.has_gained_importers():
            await self._reload({}, rest, reload_id=self._next_id(), began=perf_counter())

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
                duration_ms=_ms_since(began),
                paths=tuple(paths),
                reason=reason,
                settled=tuple(sorted(settled)),
            )
        )

    def _next_id(self) -> int:
        self._reloads += 1
        return self._reloads

    def report_problem(self, path: str, message: str) -> None:
        """Tell the observers that watching `path` has a problem."""
        self._table.publish(WatchProblem(message=message, path=path))


def _ms_since(began: float) -> float:
    return (perf_counter() - began) * 1000


def _died_of(error: BaseException | None) -> str:
    if error is None:
        return "its own scope was cancelled"
    root = root_error(error)
    return in_words(root)
