"""The dev server: watches plugin folders and keeps what runs like what is on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Self

import anyio
import structlog

from dagstack_dev.app.bulk import rare_collections
from dagstack_dev.app.catalog import Catalog, candidate_for
from dagstack_dev.app.collector import Collector
from dagstack_dev.app.config import ConfigInvalid, has_content, read_config
from dagstack_dev.app.events import EventStream
from dagstack_dev.app.inbox import Batch, Inbox
from dagstack_dev.app.leaks import LeakCheck
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.app.settings import Settings
from dagstack_dev.app.shared import SharedCatalog
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors import KindUnknown, PluginCrashed, TeardownErrors, in_words
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadSkipped,
    Transition,
    WatchProblem,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.planning import Candidate, Load, plan_reload
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.discovery import lies_in, root_folder
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.polling import reason_to_poll
from dagstack_dev.disk.snapshot import DiskView
from dagstack_dev.disk.sweep import Sweep
from dagstack_dev.disk.watcher import Watcher
from dagstack_dev.host.context import PluginContext, plugin_config
from dagstack_dev.host.reloader import Reloader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.host.registry import Registry


class DevServer:
    """Loads every plugin below some folders, sets them up, and reloads what changes.

    An asynchronous context manager: inside the block the plugins run and are kept up to date in
    the background, in the caller's event loop; at its end they are torn down in reverse order.
    One bad plugin never stops the others: it is `failed`, what depends on it is `blocked`, and
    both come alive as soon as the disk allows it.

        async with DevServer("plugins/", context=ctx) as server:
            llm = server.registry.get_plugin("llm", name="openai")

    Args:
        roots: folders to watch; those that `registry` discovered when none is given.
        code_roots: folders with further code that plugins import; see `SharedCode`. Those of
            `roots` are such ones by themselves.
        registry: a registry of the app, set up already or not; `context.registry` by default,
            else a new one. One that is set up is taken over as it runs, and is left running at
            the end: who set it up tears it down.
        context: what plugins are given; by default an empty configuration and a structlog logger.
        settings: see `Settings`.

    Raises (on entering):
        FileNotFoundError: a root or code root does not exist or is no folder.
        ValueError: there is nothing to watch.
        ConfigInvalid: the configuration file cannot be used.
    """

    def __init__(
        self,
        *roots: str | os.PathLike[str],
        code_roots: Iterable[str | os.PathLike[str]] = (),
        registry: Registry | None = None,
        context: PluginContext | None = None,
        settings: Settings | None = None,
    ) -> None:
        given = registry if registry is not None else getattr(context, "registry", None)
        self.registry: Registry = given if given is not None else PluginRegistry()
        if context is None:
            logger = structlog.stdlib.get_logger("dagstack_plugins")
            context = PluginContext(config={}, logger=logger, registry=self.registry)
        elif context.registry is None:
            context = replace(context, registry=self.registry)
        self._context = context
        self._settings = settings or Settings()
        self._given_code_roots = tuple(code_roots)
        self._given_roots = roots or tuple(getattr(self.registry, "roots", ()))
        self._table = self.registry.table
        self._reloader = Reloader(self.registry.conductor)
        self._streams: list[EventStream] = []
        self._leaks = LeakCheck(self._table, self._settings.leaks)
        self._told: dict[str, str] = {}
        self._config_paths: set[str] = set()
        self._reloads = 0
        self._busy = False
        self._forget_setups: Callable[[], None] = _nothing
        self._owns_plugins = True
        self._entered = False
        self._stopping = False
        self._ended = False

    # Entering and leaving

    async def __aenter__(self) -> Self:
        if self._entered:
            msg = "a DevServer can be entered once; make a new one"
            raise RuntimeError(msg)
        self._entered = True
        began = perf_counter()
        settings = self._settings
        self.roots = tuple(dict.fromkeys(root_folder(path) for path in self._given_roots))
        if not self.roots:
            msg = "nothing to watch; name at least one folder with plugins"
            raise ValueError(msg)
        self.code_roots = tuple(dict.fromkeys(map(root_folder, self._given_code_roots)))
        conductor = self.registry.conductor
        self._owns_plugins = not self.registry.is_set_up
        if not self._owns_plugins and conductor.context is not None:
            self._context = conductor.context
        self._config_file = settings.config_file and settings.config_file.expanduser().absolute()
        if self._config_file is not None:
            self._context = replace(self._context, config=read_config(self._config_file))
            self._config_paths = {str(self._config_file), str(self._config_file.resolve())}
        rules = IgnoreRules(settings.ignore)
        self._disk = DiskView(self.roots, rules)
        self._shared = SharedCatalog(self.registry, (*self.roots, *self.code_roots), rules)
        self._inbox = Inbox()
        self._collector = Collector(
            self._disk,
            self._shared,
            self._inbox,
            doubt_seconds=settings.doubt_ms / 1000,
            later=self._look_later,
            on_problem=self._report_problem,
        )
        self._idle = anyio.Event()
        self._catalog = Catalog(self.registry)
        self._patience_before = conductor.drain_seconds, self._table.call_patience
        self._table.call_patience = settings.call_patience
        conductor.drain_seconds = settings.drain_seconds
        self._on_crash_before, conductor.on_crash = conductor.on_crash, self._inbox.crash
        conductor.context = self._context
        if self._owns_plugins:
            self.registry.take_over(self._context)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        try:
            unasked = None if settings.polling else reason_to_poll()
            polling = settings.polling or unasked is not None
            watcher = Watcher(
                folders=(
                    *self.roots,
                    *(each for each in self.code_roots if not lies_in(each, list(self.roots))),
                ),
                single=self._config_paths,
                step_ms=settings.settle_ms,
                polling=polling,
                on_paths=self._inbox.paths,
                on_problem=self._report_problem,
            )
            await self._group.start(watcher.run)
            with rare_collections():
                await self._first_start()
            self._table.publish(
                WatchStarted(
                    roots=self.roots,
                    plugins=sum(1 for _ in self._table.present()),
                    ready=len(self._table.setup_order),
                    duration_ms=_ms_since(began),
                    polling=polling,
                    code_roots=self.code_roots,
                )
            )
            if unasked is not None:
                self._report_problem(self.roots[0], f"looking at intervals, for {unasked}")
            self._group.start_soon(self._sweep, name="dagstack-dev sweep")
            self._group.start_soon(self._run, name="dagstack-dev reload loop")
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        began = perf_counter()
        self._stopping = True
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            if exc is None or group.exceptions != (exc,):
                raise
            return None  # What the block raised is to come out of it as it is.
        finally:
            with anyio.CancelScope(shield=True):
                await self._leaks.finish()
            errors = await self._tear_down() if self._owns_plugins else ()
            self._table.publish(WatchStopped(duration_ms=_ms_since(began), errors=errors))
            self._ended = True
            self._forget_setups()
            self._shared.close()
            conductor = self.registry.conductor
            conductor.on_crash = self._on_crash_before
            conductor.drain_seconds, self._table.call_patience = self._patience_before
            for stream in self._streams:
                stream.end()
            for done in self._inbox.take().done:
                done.set()
            self._idle.set()

    async def _tear_down(self) -> tuple[BaseException, ...]:
        """Everything down, even when we are being cancelled; errors are facts already."""
        try:
            with anyio.CancelScope(shield=True):
                await self.registry.teardown_all()
        except TeardownErrors as error:
            return tuple(error.errors)
        return ()

    # What an app asks

    def statuses(self) -> dict[PluginRef, PluginStatus]:
        """How every plugin is doing, by ref."""
        return self.registry.statuses()

    def events(self) -> EventStream:
        """Every fact from now on, to be read with `async for`; it ends when the server stops."""
        stream = EventStream(self.registry.observe)
        if self._ended:
            stream.end()
        self._streams = [each for each in self._streams if not each.ended]
        self._streams.append(stream)
        return stream

    async def reload(self, *refs: PluginRef | tuple[str, str]) -> None:
        """Reload plugins although nothing changed; all of them when none is named.

        Returns when the reload has ended, or the server has. What came of it, `statuses` and
        `events` tell.

        Raises:
            KindUnknown: a plugin is not registered.
        """
        known = {entry.ref for entry in self._table.present()}
        wanted = {PluginRef(*ref) for ref in refs} or known
        for ref in sorted(wanted - known):
            raise KindUnknown(ref.kind, ref.name, known=sorted(known))
        await self._request(forced=wanted)

    async def wait_idle(self) -> None:
        """Wait until everything that is on disk now has been dealt with.

        Does not rely on file events: what was written before the call is seen, reported or not.
        A server that stops is waited for no longer than it takes to end.
        """
        await self._request(everywhere=True)
        while not self._stopping and (self._busy or not self._inbox.empty):
            await self._idle.wait()

    async def _request(
        self, *, everywhere: bool = False, forced: set[PluginRef] | None = None
    ) -> None:
        if not self._stopping:  # Nobody would answer any more.
            await self._inbox.request(everywhere=everywhere, forced=forced).wait()

    # The loop

    async def _first_start(self) -> None:
        """Take what is on disk for the first time; whatever fails, fails alone."""
        self._forget_setups = self.registry.observe(self._note_setup)
        changes = await self._collector.first_look()
        reasons = self._catalog.update(changes)
        self._catalog.miss(self._disk.counts)
        shared = self._shared.look(None)
        forced: dict[PluginRef, Candidate] = {}
        if self._owns_plugins:
            forced = {
                entry.ref: candidate_for(entry, "first start", Load.IMPORT)
                for entry in self._table.present()
                if self._table.states[entry.ref] is not State.READY
            }
        reload_id = None if self._owns_plugins else self._next_id()
        began = perf_counter()
        await self._reload(reasons, shared, reload_id=reload_id, began=began, forced=forced)

    async def _run(self) -> None:
        """One reload at a time; what comes in meanwhile is the next batch."""
        while True:
            self._busy = False
            self._idle.set()
            if not await self._inbox.wait(self._leaks.idle_seconds):
                await self._leaks.look(lambda: not self._inbox.empty)
                continue
            self._busy = True
            self._idle = anyio.Event()
            batch = self._inbox.take()
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
                self._collector.own_writes.set_up(folder)

    async def _sweep(self) -> None:
        """Take what no event has told for an event, now and then."""
        await Sweep(
            self._disk, seconds=self._settings.sweep_seconds, on_paths=self._inbox.paths
        ).run()

    def _look_later(self, folder: str, seconds: float) -> None:
        """Have a folder looked at again after a while."""

        async def look() -> None:
            await anyio.sleep(seconds)
            self._collector.own_writes.now_due(folder)
            self._inbox.paths({folder})

        self._group.start_soon(look)

    async def _handle(self, batch: Batch) -> None:
        began = perf_counter()
        config_changed = self._config_file is not None and (
            batch.everywhere or not self._config_paths.isdisjoint(batch.paths)
        )
        changes, shared = await self._collector.collect(batch)
        reasons = self._catalog.update(changes)
        forced = self._forced(batch)
        if config_changed:
            forced |= await self._reconfigure()
        paths = sorted(
            path for path in batch.paths if self._disk.counts(path) or self._shared.counts(path)
        )
        if reasons or forced or self._shared.has_news(shared):
            await self._reload(
                reasons, shared, reload_id=self._next_id(), began=began, paths=paths, forced=forced
            )
        elif any(self._disk.is_in_plugin(path) or self._shared.is_meant(path) for path in paths):
            self._table.publish(
                ReloadSkipped(
                    reload_id=self._next_id(),
                    duration_ms=_ms_since(began),
                    paths=tuple(paths),
                    reason="no content changed",
                )
            )

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
        assert self._config_file is not None  # noqa: S101 - the caller has asked
        key = str(self._config_file)
        if self._context.config and not has_content(self._config_file):
            await anyio.sleep(self._settings.doubt_ms / 1000)  # It is half-way through a save.
        try:
            config = read_config(self._config_file)
        except ConfigInvalid as error:
            if self._told.get(key) != str(error):
                self._told[key] = str(error)
                self._table.publish(
                    PluginRejected(ref=None, path=key, error=error, keeps_generation=None)
                )
            return {}
        self._told.pop(key, None)
        before, self._context = self._context, replace(self._context, config=config)
        self.registry.conductor.context = self._context
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
        for folder, error in draft.unclaimed.items():
            self._reject(None, folder, error, reload_id)
        for ref, error in plan.rejected.items():
            self._reject(ref, self._catalog.folder_of(ref) or "", error, reload_id)
        with self._collector.own_writes.reloading():
            applied = await self._reloader.apply(
                plan,
                draft.candidates,
                draft.offers,
                {each.name: each for each in changes},
                reload_id=reload_id,
                paths=paths,
                began=began,
            )
        self._catalog.settle(draft, plan, applied)
        self._shared.settle(shared)
        self._leaks.add(applied.retired)
        if reload_id is not None and not applied.touched:
            reason = "what runs is on disk again" if draft.unchanged else "nothing to do"
            if shared and not changes:
                reason = "no plugin imports what changed"
            self._table.publish(
                ReloadSkipped(
                    reload_id=reload_id,
                    duration_ms=_ms_since(began),
                    paths=tuple(paths),
                    reason="nothing can be taken over" if plan.rejected else reason,
                    settled=tuple(sorted(draft.unchanged)),
                )
            )
        for folder in {*reasons} - self._catalog.pending:
            self._told.pop(folder, None)
        if any(self._table.states[ref] is not State.READY for ref in kept):
            # What was to go on running has lost what it depends on, so nothing is kept by
            # rejecting its newer source any more.
            await self._reload({}, {}, reload_id=self._next_id(), began=perf_counter())

    def _reject(
        self, ref: PluginRef | None, folder: str, error: BaseException, reload_id: int | None
    ) -> None:
        """Report a rejection, but not the same one with every batch."""
        if self._told.get(folder) != str(error):
            self._told[folder] = str(error)
            self._reloader.reject(ref, folder, error, reload_id)

    def _next_id(self) -> int:
        self._reloads += 1
        return self._reloads

    def _report_problem(self, path: str, message: str) -> None:
        self._table.publish(WatchProblem(message=message, path=path))


def _nothing() -> None:
    pass


def _ms_since(began: float) -> float:
    return (perf_counter() - began) * 1000


def _died_of(error: BaseException | None) -> str:
    if error is None:
        return "its own scope was cancelled"
    root = root_error(error)
    return in_words(root)
