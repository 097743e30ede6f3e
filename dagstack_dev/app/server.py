"""The dev server: watches plugin folders and keeps what runs like what is on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import anyio

from dagstack_dev.app.bulk import rare_collections
from dagstack_dev.app.config import ConfigFile, read_config
from dagstack_dev.app.entry_points import installed_plugins
from dagstack_dev.app.events import WAITING, EventStream
from dagstack_dev.app.hookspec_files import HookspecFiles
from dagstack_dev.app.installed import Installed
from dagstack_dev.app.original import OriginalRegistry, context_from, is_original, sources_in
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.app.reload_loop import ReloadLoop
from dagstack_dev.app.services import with_services
from dagstack_dev.app.setting_files import SettingFiles
from dagstack_dev.app.settings import Settings
from dagstack_dev.app.shared import SharedCatalog
from dagstack_dev.core.errors import KindUnknown, TeardownErrors
from dagstack_dev.core.events import WatchStarted, WatchStopped
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.modules import ModuleView
from dagstack_dev.disk.paths import lies_in, root_folder
from dagstack_dev.disk.polling import reason_to_poll
from dagstack_dev.disk.snapshot import DiskView
from dagstack_dev.disk.sweep import Sweep
from dagstack_dev.disk.watcher import Watcher
from dagstack_dev.host.context import PluginContext
from dagstack_dev.host.elapsed import ms_since
from dagstack_dev.host.loggers import AppLogger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from dagstack_dev.core.lifecycle import PluginStatus
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
        roots: folders to watch; those that `registry` discovered when none is given. What it has
            loaded by name (`load_entry_points`, `register_module`) is watched in any case.
        code_roots: folders with further code that plugins import; see `SharedCode`. Those of
            `roots` are such ones by themselves.
        registry: a registry of the app, set up already or not; `context.registry` by default,
            else a new one. One that is set up is taken over as it runs, and is left running at
            the end: who set it up tears it down. One of `dagstack-plugin-system` will do, too; see
            `app.original`.
        context: what plugins are given; by default an empty configuration, and a logger that is
            called like one of structlog and logs as the app has configured structlog, or else the
            standard logger `dagstack_plugins`.
            Where neither it nor `registry` brings a registry, the server's own one offers the
            standard resources, and what the context lacks of event bus, progress sink and
            checkpoint store is put there.
        settings: see `Settings`.

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
        registry: Registry | Any = None,
        context: PluginContext | Any = None,
        settings: Settings | None = None,
    ) -> None:
        given = registry if registry is not None else getattr(context, "registry", None)
        if is_original(given):
            given = OriginalRegistry(given)
        self.registry: Registry = given if given is not None else PluginRegistry()
        if context is None:
            logger = AppLogger("dagstack_plugins")
            context = PluginContext(config={}, logger=logger, registry=self.registry)
        elif context.registry is None:
            context = replace(context, registry=self.registry)
        self._context_of_app = context
        context = context_from(context)
        self._context = with_services(context) if given is None else context
        self._settings = settings or Settings()
        self._given_code_roots = tuple(code_roots)
        self._given_roots = roots or tuple(getattr(self.registry, "roots", ()))
        self._table = self.registry.table
        self._streams: list[EventStream] = []
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
        self._build()
        self._take_hold()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        try:
            await self._start(began)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    def _build(self) -> None:
        """Make the parts; what raises here has touched nothing."""
        settings = self._settings
        installed = self._installed()
        given = (root_folder(path) for path in self._given_roots)
        self.roots = tuple(dict.fromkeys((*given, *installed.folders)))
        if not self.roots and not installed.modules and settings.entry_points is None:
            msg = "nothing to watch; name at least one folder with plugins"
            raise ValueError(msg)
        code = (root_folder(path, holds="code") for path in self._given_code_roots)
        self.code_roots = tuple(dict.fromkeys((*code, *installed.code_roots)))
        self._owns_plugins = not self.registry.is_set_up
        if not self._owns_plugins and self.registry.conductor.context is not None:
            self._context = self.registry.conductor.context
        doubt = settings.doubt_ms / 1000
        config = ConfigFile(settings.config_file, doubt_seconds=doubt)
        if config.path is not None:
            self._context = replace(self._context, config=read_config(config.path))
        kinds = HookspecFiles(self.registry, settings.hookspec_files, doubt_seconds=doubt)
        self._files = SettingFiles(config, kinds)
        self._rules = rules = IgnoreRules(settings.ignore)
        self._disk = DiskView(self.roots, rules)
        self._modules = ModuleView(installed.modules)
        self._shared = SharedCatalog(self.registry, (*self.roots, *self.code_roots), rules)
        self._loop = ReloadLoop(
            self.registry,
            self._context,
            disk=self._disk,
            modules=self._modules,
            shared=self._shared,
            files=self._files,
            settings=settings,
            later=self._call_later,
        )

    def _installed(self) -> Installed:
        """The plugins that the registry has loaded by name, and those of the entry points."""
        installed = Installed()
        installed.add(getattr(self.registry, "installed", installed))
        if self._settings.entry_points is not None:
            found = installed_plugins(self._settings.entry_points)
            installed.add(found)
            installed.errors = found.errors
        self._not_installed = installed.errors
        return installed

    def _take_hold(self) -> None:
        """Have the registry run by our settings, until `_let_go`."""
        conductor = self.registry.conductor
        self._patience_before = conductor.drain_seconds, self._table.call_patience
        self._table.call_patience = self._settings.call_patience
        conductor.drain_seconds = self._settings.drain_seconds
        self._on_crash_before, conductor.on_crash = conductor.on_crash, self._loop.inbox.crash
        conductor.context = self._context
        self._table.watchdog.is_outdated = self._loop.is_outdated
        if self._owns_plugins:
            self.registry.take_over(self._context)

    def _let_go(self) -> None:
        self._shared.close()
        self._files.hookspecs.end()
        conductor = self.registry.conductor
        conductor.on_crash = self._on_crash_before
        del self._table.watchdog.is_outdated
        conductor.drain_seconds, self._table.call_patience = self._patience_before

    async def _start(self, began: float) -> None:
        """Watch first, then look: what is written in between is in an event."""
        if isinstance(self.registry, OriginalRegistry):
            await self.registry.take(sources_in(self.roots, self._modules, self._rules))
        reason = None if self._settings.polling else reason_to_poll()
        polling = self._settings.polling or reason is not None
        await self._group.start(self._watcher(polling=polling).run)
        with rare_collections():
            await self._loop.start(owns_plugins=self._owns_plugins)
        self._table.publish(
            WatchStarted(
                roots=self.roots,
                plugins=sum(1 for _ in self._table.present()),
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
        self._loop.tell_misspelt_sections()
        for place, error in self._not_installed.items():
            reason = str(error).removeprefix(f"{place}: ")
            self._loop.report_problem(place, f"is left out: {reason}")
        sweep = Sweep(
            self._disk,
            self._shared.view,
            seconds=self._settings.sweep_seconds,
            on_paths=self._loop.inbox.paths,
        )
        self._group.start_soon(sweep.run, name="dagstack-dev sweep")
        self._group.start_soon(self._loop.health.run, name="dagstack-dev health")
        self._group.start_soon(self._loop.run, name="dagstack-dev reload loop")

    def _watcher(self, *, polling: bool) -> Watcher:
        further = (each for each in self.code_roots if not lies_in(each, list(self.roots)))
        return Watcher(
            folders=(*self.roots, *further),
            single=self._files.paths,
            step_ms=self._settings.settle_ms,
            polling=polling,
            on_paths=self._loop.inbox.paths,
            on_problem=self._loop.report_problem,
        )

    def _call_later(self, seconds: float, func: Callable[[], None]) -> None:
        async def wait() -> None:
            await anyio.sleep(seconds)
            func()

        self._group.start_soon(wait)

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
                await self._loop.leaks.finish()
            errors = await self._tear_down() if self._owns_plugins else ()
            try:
                if isinstance(self.registry, OriginalRegistry):
                    stays = not isinstance(exc, anyio.get_cancelled_exc_class())
                    await self.registry.give_back(self._context_of_app, set_up=stays)
            finally:
                self._table.publish(WatchStopped(duration_ms=ms_since(began), errors=errors))
                self._end()

    def _end(self) -> None:
        self._ended = True
        self._let_go()
        for stream in self._streams:
            stream.end()
        self._loop.end()

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

    def events(self, *, limit: int = WAITING) -> EventStream:
        """Every fact from now on, to be read with `async for`; it ends when the server stops.

        Args:
            limit: how many facts may wait for their reader. One that lags further behind misses
                the oldest, and reads an `EventsMissed` in their place.
        """
        stream = EventStream(self.registry.observe, limit)
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
        if not self._stopping:
            await self._loop.come_to_rest()

    async def _request(
        self, *, everywhere: bool = False, forced: set[PluginRef] | None = None
    ) -> None:
        if not self._stopping:  # Nobody would answer any more.
            await self._loop.inbox.request(everywhere=everywhere, forced=forced).wait()
