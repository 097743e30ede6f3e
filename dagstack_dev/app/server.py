"""The dev server: watches plugin folders and keeps what runs like what is on disk."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import anyio

from dagstack_dev.app.config import read_config
from dagstack_dev.app.entry_points import DEFAULT_GROUP, Installed, installed_plugins
from dagstack_dev.app.events import EVENTS_LIMIT, EventStream
from dagstack_dev.app.hookspec_files import HookspecFiles
from dagstack_dev.app.lifetime import Lifetime
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.app.reload.loop import ReloadLoop
from dagstack_dev.app.reload.recorder import Recorder
from dagstack_dev.app.reload.shared import SharedFiles
from dagstack_dev.app.reloading_parent import warn_of_reloading_parent
from dagstack_dev.app.services import with_services
from dagstack_dev.app.settings import Settings
from dagstack_dev.app.telemetry import export
from dagstack_dev.app.unattended import UnattendedTasks
from dagstack_dev.app.write_log import writes_noted
from dagstack_dev.compat.registry import Driver, context_from, core_version_of, is_original
from dagstack_dev.core.errors.life import TeardownErrors
from dagstack_dev.core.errors.registry import KindUnknown
from dagstack_dev.core.events import WatchStarted, WatchStopped
from dagstack_dev.core.recorded import recorded
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.discovery import plugin_sources
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import lies_in, root_folder
from dagstack_dev.disk.snapshot import Snapshot
from dagstack_dev.disk.sweep import Sweep, reason_to_poll
from dagstack_dev.disk.watcher import Watcher
from dagstack_dev.host.loop.gc_pause import rare_collections
from dagstack_dev.host.loop.limits import ms_since
from dagstack_dev.host.loop.tasks import spawn
from dagstack_dev.host.services.context import PluginContext
from dagstack_dev.host.services.loggers import AppLogger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from dagstack_dev.app.local_api import LocalApi
    from dagstack_dev.core.lifecycle import PluginStatus


class DevServer:
    """Loads every plugin below some folders, sets them up, and reloads what changes.

    An asynchronous context manager: inside the block the plugins run and are kept up to date in
    the background, in the caller's event loop; at its end they are torn down in reverse order.
    One bad plugin never stops the others: it is `failed`, what depends on it is `blocked`, and
    both come alive as soon as the disk allows it.

        async with DevServer("plugins/", context=ctx) as server:
            llm = server.registry.get_plugin("llm", name="openai")

    Or `start` and `stop` it, in any tasks of one event loop. Should the server itself fail, what
    runs in the block is cancelled and the failure comes out of the block.

    Args:
        roots: folders to watch; those that `registry` discovered when none is given. What it has
            loaded by name (`load_entry_points`, `register_module`) is watched in any case.
        code_roots: folders with further code that plugins import; see `SharedCode`. Those of
            `roots` are such ones by themselves.
        registry: a registry of the app, set up already or not; `context.registry` by default,
            else a new one. One that is set up is taken over as it runs, and is left running at
            the end: who set it up tears it down. One of `dagstack-plugin-system` will do, too; see
            `compat.registry`.
        context: what plugins are given; by default an empty configuration, and a logger that is
            called like one of structlog and logs as the app has configured structlog, or else the
            standard logger `dagstack_plugins`.
            Where neither it nor `registry` brings a registry, the server's own one offers the
            standard resources, and what the context lacks of event bus, progress sink and
            checkpoint store is put there.
        settings: see `Settings`.
        api: answers commands such as `dagstack-dev status`, on a local socket.

    Attributes:
        registry: of the plugins.
        roots: the folders that are watched for plugins, absolute; none before the start.
        code_roots: those that are watched for further code, likewise.

    Raises (on entering):
        FileNotFoundError: a root or code root does not exist or is no folder.
        ValueError: there is nothing to watch.
        ConfigInvalid: the configuration file cannot be used.
        HookspecsInvalid: a file of hookspecs cannot be used; HookspecMissing and
            KindVersionIncompatible: what `registry` has loaded does not comply with it.
    """

    def __init__(
        self,
        *roots: str | os.PathLike[str],
        code_roots: Iterable[str | os.PathLike[str]] = (),
        registry: PluginRegistry | Any = None,
        context: PluginContext | Any = None,
        settings: Settings | None = None,
        api: LocalApi | None = None,
    ) -> None:
        given = registry if registry is not None else getattr(context, "registry", None)
        original: Any = given if is_original(given) else None
        if original is not None:
            given = PluginRegistry(core_version=core_version_of(original))
        self.registry: PluginRegistry = given if given is not None else PluginRegistry()
        if context is None:
            logger = AppLogger("dagstack_plugins")
            context = PluginContext(config={}, logger=logger, registry=self.registry)
        elif context.registry is None:
            context = replace(context, registry=self.registry)
        self._driver = Driver(original, self.registry, context) if original is not None else None
        context = context_from(context)
        self._context = with_services(context) if given is None else context
        self._settings = settings or Settings()
        self._given_code_roots = tuple(code_roots)
        self._given_roots = roots or tuple(self.registry.roots)
        self.roots: tuple[str, ...] = ()
        self.code_roots: tuple[str, ...] = ()
        self._table = self.registry.table
        self._streams: list[EventStream] = []
        self._life = Lifetime(self._run)
        self._api = api
        self._teardown_errors: tuple[BaseException, ...] = ()
        self._ended = False

    # Entering and leaving

    async def __aenter__(self) -> Self:
        await self.start()
        self._life.enter_block()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._life.leave_block(exc)

    async def start(self) -> Self:
        """Bring the plugins up, and keep them up to date until `stop`; once.

        For apps without a block around their life: in hooks, fixtures and notebooks. `start`,
        `stop` and all requests may come from any tasks of one event loop.

        Returns:
            This server.

        Raises:
            As on entering.
        """
        await self._life.start()
        return self

    async def stop(self) -> None:
        """Tear the plugins down and end, as the end of the block does.

        Called again, or while the server ends for another reason, it waits for the end. Whatever
        cancels it meanwhile is raised after that.

        Raises:
            RuntimeError: the server has been started in another event loop, which still runs.
            BaseExceptionGroup: the server had failed by then, and no `stop` has raised that yet.
        """
        await self._life.stop()

    def end_soon(self) -> None:
        """Have the server stop, without waiting for it."""
        spawn(self.stop, "dagstack-dev stop")

    async def _run(self, steps: AsyncExitStack, is_up: Callable[[], None]) -> None:
        try:
            began = perf_counter()
            self._build()
            last = await steps.enter_async_context(AsyncExitStack())
            self._take_hold(steps)
            async with anyio.create_task_group() as self._group:
                watch_all = self._table.watchdog.watch_all
                self._group.start_soon(watch_all, name="dagstack-dev watchdog")
                with ExitStack() as block:
                    if self._api is not None:
                        self._serve(self._api, block, last)
                    await self._start(began)
                    is_up()
                    await anyio.sleep_forever()
        finally:
            self._ending_since = perf_counter()

    def _serve(self, api: LocalApi, block: ExitStack, last: AsyncExitStack) -> None:
        """Answer on a socket from now on; without one, the plugins run all the same."""
        publication = self._loop.publication(api.board)
        roots = (*self.roots, *self.code_roots)
        try:
            served = api.served(self, publication, roots, self._selection(), last)
            others = block.enter_context(served)
        except OSError as error:
            self._loop.report_problem("", f"commands cannot reach this server: {error}")
            return
        for root in self.roots:
            for pid in (str(each.pid) for each in others if each.shares(root)):
                words = f"another server, pid {pid}, watches it too; both reload what is saved"
                self._loop.report_problem(root, f"{words}, and commands ask this one, the newest")

    def _selection(self) -> dict[str, Any]:
        """Return what is looked at, see `api.socket.Server`."""
        settings = self._settings
        return {
            "paths": self.roots,
            "watch-code": self.code_roots,
            "config": settings.config_file and _absolute(settings.config_file),
            "hookspecs": [*map(_absolute, settings.hookspec_files)],
            "entry-points": settings.entry_points == DEFAULT_GROUP,
            "ignore": settings.ignore,
            "gitignore": settings.gitignore,
            "core-version": self.registry.core_version,
        }

    def _build(self) -> None:
        """Make the parts; what raises here has touched nothing."""
        settings = self._settings
        installed = Installed()
        installed.add(self.registry.installed)
        if settings.entry_points is not None:
            installed.add(installed_plugins(settings.entry_points))
        self._not_installed = installed.errors
        given = (root_folder(path) for path in self._given_roots)
        self.roots = tuple(dict.fromkeys((*given, *installed.folders)))
        if not self.roots and not installed.modules and settings.entry_points is None:
            msg = "nothing to watch; name at least one folder with plugins"
            raise ValueError(msg)
        given = (root_folder(path, holds="code") for path in self._given_code_roots)
        self.code_roots = tuple(dict.fromkeys((*given, *installed.code_roots)))
        self._owns_plugins = not self.registry.is_set_up
        if not self._owns_plugins and self.registry.runner.context is not None:
            self._context = self.registry.runner.context
        config = _absolute(settings.config_file) if settings.config_file else None
        hookspecs = [*map(_absolute, settings.hookspec_files)]
        self._single = [config, *hookspecs] if config is not None else hookspecs
        self._rules = rules = IgnoreRules(settings.ignore, gitignore=settings.gitignore)
        self._modules = installed.modules
        code = self.registry.in_process.shared
        self._snapshot = Snapshot(
            self.roots,
            rules,
            code_roots=self.code_roots,
            modules=self._modules,
            files=self._single,
            code=code,
        )
        if config is not None:
            document = read_config(config, self._snapshot.file(config))
            self._context = replace(self._context, config=document)
        self._hookspecs = HookspecFiles(self.registry, hookspecs, self._snapshot.file)
        roots = (*self.roots, *self.code_roots)
        self._shared = SharedFiles(code, self._snapshot, roots, rules)
        self._loop = ReloadLoop(
            self.registry,
            snapshot=self._snapshot,
            shared=self._shared,
            config=config,
            hookspecs=self._hookspecs,
            settings=settings,
            later=self._call_later,
        )

    def _take_hold(self, steps: AsyncExitStack) -> None:
        """Have the registry run by our settings; `steps` end that, the last one first."""
        steps.callback(self._loop.end)
        publish = [] if self._api is None else [self._api.board.reloads.publish]
        steps.callback(self._table.observe(Recorder(*publish, export)))
        steps.callback(self._end_streams)
        steps.enter_context(self._directing())
        steps.callback(self._hookspecs.end)
        steps.enter_context(writes_noted())
        steps.callback(self._shared.close)
        steps.callback(self._report_stopped)
        self.registry.runner.context = self._context
        if self._driver is not None:
            steps.push_async_callback(self._give_back, self._driver)
        if self._owns_plugins:
            self.registry.take_over(self._context)
            steps.push_async_callback(self._tear_down)
        steps.push_async_callback(self._loop.leaks.finish)

    @contextmanager
    def _directing(self) -> Iterator[None]:
        """Have the registry, which may be the app's, run by our settings inside the block."""
        runner, watchdog, rules = self.registry.runner, self._table.watchdog, self._table.rules
        before = runner.on_crash, runner.drain_seconds, watchdog.is_outdated, rules.patience
        runner.on_crash, runner.drain_seconds = self._loop.note_crash, self._settings.drain_seconds
        watchdog.is_outdated = self._loop.preemption.is_outdated
        rules.patience = self._settings.call_patience
        try:
            yield
        finally:
            runner.on_crash, runner.drain_seconds, watchdog.is_outdated, rules.patience = before

    async def _start(self, began: float) -> None:
        """Watch first, then look: what is written in between is in an event."""
        if self._driver is not None:
            of_modules = filter(None, (module.read() for module in self._modules))
            await self._driver.take((*plugin_sources(self.roots, self._rules), *of_modules))
        warn_of_reloading_parent((*self.roots, *self.code_roots))
        reason = None if self._settings.polling else reason_to_poll()
        polling = self._settings.polling or reason is not None
        sweep = Sweep(
            self._snapshot,
            seconds=self._settings.sweep_seconds,
            on_paths=self._loop.inbox.put_paths,
        )
        await self._group.start(self._watcher(sweep, polling=polling).run)
        with rare_collections(adds_only=True):
            self._group.start_soon(self._loop.run, name="dagstack-dev reload loop")
            self._group.start_soon(self._sweep_from_the_first_look, sweep)
            await self._loop.start(owns_plugins=self._owns_plugins)
        places = {entry.revision.folder or entry.ref for entry in self._table.present()}
        self._table.publish(
            WatchStarted(
                roots=self.roots,
                plugins=len(places | self._snapshot.folders.sources.keys()),
                ready=len(self._table.setup_order),
                duration_ms=ms_since(began),
                polling=polling,
                code_roots=self.code_roots,
            )
        )
        if reason is not None:
            self._loop.report_problem(
                next(iter((*self.roots, *self.code_roots)), ""),
                f"looking at intervals, for {reason}",
            )
        self._loop.configuration.report_misspelt({*self._single})
        for place, error in self._not_installed.items():
            reason = str(error).removeprefix(f"{place}: ")
            self._loop.report_problem(place, f"is left out: {reason}")
        self._group.start_soon(self._loop.health.run, name="dagstack-dev health")
        tasks = UnattendedTasks(self._table)
        self._group.start_soon(tasks.run, name="dagstack-dev unattended tasks")

    async def _sweep_from_the_first_look(self, sweep: Sweep) -> None:
        await self._loop.has_started.wait()
        self._group.start_soon(sweep.run, name="dagstack-dev sweep")
        self._group.start_soon(sweep.run_links, name="dagstack-dev links")

    def _watcher(self, sweep: Sweep, *, polling: bool) -> Watcher:
        further = (each for each in self.code_roots if not lies_in(each, list(self.roots)))
        return Watcher(
            folders=(*self.roots, *further),
            single=self._single,
            step_ms=self._settings.settle_ms,
            polling=polling,
            sweep=sweep,
            on_paths=self._loop.inbox.put_paths,
            on_problem=self._loop.report_problem,
            on_recovered=self._loop.report_recovery,
        )

    def _call_later(self, seconds: float, func: Callable[[], None]) -> None:
        async def wait() -> None:
            await anyio.sleep(seconds)
            func()

        self._group.start_soon(wait)

    async def _tear_down(self) -> None:
        try:
            await self.registry.teardown_all()
        except TeardownErrors as error:
            self._teardown_errors = tuple(map(recorded, error.errors))

    async def _give_back(self, driver: Driver) -> None:
        await driver.give_back(set_up=not self._life.was_cut_short)

    def _report_stopped(self) -> None:
        duration = ms_since(self._ending_since)
        self._table.publish(WatchStopped(duration_ms=duration, errors=self._teardown_errors))

    def _end_streams(self) -> None:
        self._ended = True
        for stream in self._streams:
            stream.close()

    # What an app asks

    def statuses(self) -> dict[PluginRef, PluginStatus]:
        """Return how every plugin is doing, by ref."""
        return self.registry.statuses()

    def events(self, *, limit: int = EVENTS_LIMIT) -> EventStream:
        """Collect every fact from now on, for `async for`, which ends when the server stops.

        Args:
            limit: how many facts may wait for their reader. One that lags further behind misses
                the oldest, and reads an `EventsMissed` in their place.
        """
        stream = EventStream(self.registry.observe, limit)
        if self._ended:
            stream.close()
        self._streams = [each for each in self._streams if not each.ended]
        self._streams.append(stream)
        return stream

    async def reload(self, *refs: PluginRef | tuple[str, str]) -> None:
        """Reload plugins although nothing changed; all of them when none is named.

        Returns when the reload has ended, or the server has; see `statuses` and `events` for what
        came of it.

        Args:
            refs: the plugins, each as a ref or as its kind and name.

        Raises:
            KindUnknown: a plugin is not registered.
        """
        known = {entry.ref for entry in self._table.present()}
        wanted = {PluginRef(*ref) for ref in refs} or known
        for ref in sorted(wanted - known):
            raise KindUnknown(ref.kind, ref.name, known=sorted(known))
        await self._request(wanted)

    def pause(self, *, paused: bool = True) -> None:
        """Let edits wait, or have those that have waited dealt with.

        What is asked for, and what happens to plugins by itself, is dealt with all the same.
        """
        if self._life.is_running:  # Else nothing is watched.
            self._loop.inbox.pause(paused=paused)

    @property
    def is_paused(self) -> bool:
        """Whether edits wait. Of any thread, as `is_busy`."""
        return self._loop.inbox.held is not None

    @property
    def has_edits_waiting(self) -> bool:
        """Whether something differs by what was saved since the pause. Of any thread."""
        return bool(self._loop.held)

    @property
    def plugins_with_edits_waiting(self) -> frozenset[PluginRef]:
        """The plugins of which something differs since the pause, or of their shared code."""
        return self._loop.refs_held()

    @property
    def is_busy(self) -> bool:
        """Whether something that was saved or asked for is being dealt with; not what waits."""
        return not self._loop.is_idle

    def is_reloading(self, ref: PluginRef) -> bool:
        """Return whether something of a plugin is being built, or may yet be rolled back."""
        return self._loop.is_building(ref)

    async def wait_idle(self) -> None:
        """Wait until everything that is on disk now has been dealt with.

        Does not rely on file events: what was written before the call is seen, reported or not.
        While it is paused, edits go on waiting, and only what is under way is waited for. A server
        that stops is waited for no longer than it takes to end.
        """
        if not (self._life.is_running and self.is_paused):
            await self._request(None)
        if self._life.is_running:
            await self._loop.come_to_rest()
            self._life.check()

    async def _request(self, refs: set[PluginRef] | None) -> None:
        if self._life.is_running:  # Else there is no answer any more.
            await self._loop.inbox.request(refs).wait()
        self._life.check()


def _absolute(path: str | os.PathLike[str]) -> str:
    return str(Path(path).expanduser().absolute())
