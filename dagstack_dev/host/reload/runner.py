"""Carries single plugins through their life: load, set up, tear down."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import anyio

from dagstack_dev.core.blame import root_error
from dagstack_dev.core.defaults import DRAIN_SECONDS
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.life import (
    BlockedOutdated,
    EventLoopClosed,
    PluginCrashed,
    PluginLoadError,
    SetupPreempted,
)
from dagstack_dev.core.events import DrainTimedOut, PluginDrained, TeardownFailed
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded
from dagstack_dev.core.timeline import Call
from dagstack_dev.core.tracebacks import trim
from dagstack_dev.host.calls.current import become_plugin, current_reload
from dagstack_dev.host.calls.drain import Drain
from dagstack_dev.host.life.instance import PluginInstance
from dagstack_dev.host.loop.limits import ms_since, running_time
from dagstack_dev.host.loop.stacks import calls_through
from dagstack_dev.host.loop.tasks import is_closed, is_interruption
from dagstack_dev.host.plugins.sections import section_of
from dagstack_dev.host.reload.load_queue import LoadQueue
from dagstack_dev.host.reload.shared_lock import SharedLock
from dagstack_dev.host.services.context import PluginContext, derive_context_for_plugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from anyio.lowlevel import EventLoopToken

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry
    from dagstack_dev.host.plugins.table import PluginTable
    from dagstack_dev.host.services.resources import ResourceRegistry


class LifecycleRunner:
    """The steps of one plugin's life, each with its state transitions.

    Attributes:
        queue: what loads plugins in order.
        context: what plugins are given; set before the first setup.
        lock: held by what changes what runs: exclusively by `setup_all` and `teardown_all`, shared
            by reloads, of which several may be under way at once, each with plugins of its own.
        drain_seconds: how long calls in flight are waited for.
        on_crash: called when a ready plugin's own task has died, with what it raised.
        crashes: what plugins have died of, until they are set up again or torn down.
        home: the event loop of the last setup.
        ended_with_loop: the plugins of which something ended with their event loop, and which are
            still to be torn down; each with its place in the order of setups.
    """

    def __init__(self, table: PluginTable, resources: ResourceRegistry) -> None:
        self.table = table
        self.resources = resources
        self.context: PluginContext | None = None
        self.queue = LoadQueue(table)
        self.lock = SharedLock()
        self.drain_seconds = DRAIN_SECONDS
        self.on_crash: Callable[[PluginRef, BaseException | None], None] = lambda *_: None
        self.crashes: dict[PluginRef, BaseException] = {}
        self._early_crashes: dict[PluginRef, BaseException | None] = {}
        self.home: EventLoopToken | None = None
        self.ended_with_loop: dict[PluginRef, int] = {}

    def load(self, entry: Entry, how: Load, reason: str, *, is_open: bool = False) -> None:
        """Give `entry` a new instance, of newly imported code or of the class it has.

        A plugin object that was registered by hand stays the one it is.

        Args:
            entry: the plugin.
            how: which of the two.
            reason: why.
            is_open: let calls pass before its setup.

        Raises:
            PluginLoadError: the import or the constructor raised. The state is left alone.
            KeyboardInterrupt: Ctrl-C came meanwhile.
        """
        seconds = entry.manifest.startup_timeout_sec
        what = "import" if how is Load.IMPORT else "constructor"
        watched = self.table.watchdog.calling(entry.ref, what, entry.revision.folder, seconds)
        try:
            with watched:
                # Context variables that an import sets are not to reach other plugins.
                instance = copy_context().run(_load_code, self.table, entry, how)
        except PluginLoadError as error:
            cause = error.__cause__
            if isinstance(cause, KeyboardInterrupt) and is_interruption(cause):
                raise cause from None
            if isinstance(cause, BlockedOutdated):
                raise SetupPreempted(entry.ref) from error
            raise
        milliseconds = 1000 * watched.seconds
        self.table.loaded(entry, instance, reason, duration_ms=milliseconds, is_open=is_open)
        self.queue.report_imports()

    def load_failed(
        self,
        entry: Entry,
        error: BaseException,
        stage: Stage,
        reason: str,
        *,
        comes_back: bool = False,
        duration_ms: float | None = None,
    ) -> None:
        """Note that the plugin could not be prepared, imported or instantiated.

        Args:
            entry: the plugin.
            error: why, as a record.
            stage: the step that failed.
            reason: why, in short.
            comes_back: whether an earlier generation is to run again; then calls go on waiting.
            duration_ms: how long that took, in milliseconds; None where nothing was run.
        """
        refusal = None if comes_back else f"it failed to load: {error}"
        self.table.failed(entry, error, stage, reason, refusal=refusal, duration_ms=duration_ms)

    def begin_setup(self, entry: Entry, reason: str) -> Awaitable[None] | None:
        """Start `setup`; None when it has ended already.

        Args:
            entry: the plugin, with its context.
            reason: why.

        Raises:
            Exception: whatever the plugin raised, or `PluginUnavailable` for a resource that the
                host does not offer or cannot make.
        """
        table = self.table
        self._early_crashes.pop(entry.ref, None)
        self.crashes.pop(entry.ref, None)
        assert entry.context is not None, "no context"  # noqa: S101 - set by every caller
        running = PluginInstance(
            entry.gate,
            manifest=entry.manifest,
            folder=entry.revision.folder,
            watchdog=table.watchdog,
            carry=entry.carry,
            on_dying=partial(table.hold, entry),
            on_crash=partial(self._crashed, entry),
            on_loop_end=partial(self._loop_ended, entry),
        )
        self.home = running.token
        table.setting_up(entry, running, reason)
        try:
            context = derive_context_for_plugin(
                entry.context, entry.manifest, self.resources, owner=running
            )
            context.config = section_of(entry, entry.context)
        except Exception as error:  # noqa: BLE001 - services are the host's and may raise anything
            return running.refuse(error)
        return running.set_up(context)

    def setup_succeeded(self, entry: Entry, reason: str, duration_ms: float | None) -> None:
        """Note that the setup ended well: the plugin is ready and its gate opens.

        Args:
            entry: the plugin.
            reason: why it was set up.
            duration_ms: how long that took, in milliseconds.
        """
        self.table.ready(entry, reason, duration_ms)
        self.queue.report_imports()
        if entry.ref in self._early_crashes:
            self._die(entry, self._early_crashes.pop(entry.ref))

    async def take_down(
        self, steps: Sequence[tuple[Entry, str]], *, down: Iterable[Entry] = ()
    ) -> list[tuple[PluginRef, BaseException]]:
        """Tear plugins down one after the other, when the calls of all of them have ended.

        All instances are still there while the calls end, so that those among these plugins can be
        answered. What is in flight after that, a task of one of the plugins may hold; it is waited
        for again when that plugin is down. No cancellation leaves a plugin half-way.

        Args:
            steps: the plugins in this order, each with the reason.
            down: others, down already; where calls wait for one of them to come back, those
                that come from the plugins are refused, since it cannot before they have ended.

        Returns:
            What went wrong in the teardowns, in order. It never stops anything else.
        """
        table, entries = self.table, [entry for entry, _ in steps]
        drain = Drain(entry.gate.calls for entry in entries)
        for entry in down:
            if entry.gate.is_held:
                table.hold(entry, drain, answers=False)
        for entry in entries:
            table.hold(entry, drain)
            table.draining[entry.ref] = running_time()
        failures = []
        with anyio.CancelScope(shield=True):
            await drain.wait_for_all(self.drain_seconds)
            for entry in entries:
                table.draining.pop(entry.ref, None)
            # Nothing that is torn down before can hold the first one.
            late = [entry for entry in entries[:1] if await self._drain(entry)]
            drain.finish()
            for entry, reason in steps:
                is_quiet = entry not in late and not await self._drain(entry)
                table.hold(entry)
                if is_quiet:  # Threads may have called in between.
                    await self._drain(entry)
                self._report_drained(entry.ref, drain)
                failures += [(entry.ref, each) for each in await self._tear_down(entry, reason)]
        return failures

    async def _drain(self, entry: Entry) -> int:
        """Let calls in flight end, and return how many have not."""
        calls = entry.gate.calls
        if not calls.in_flight:
            return 0
        self.table.draining.setdefault(entry.ref, running_time())
        drain = calls.drain or Drain([calls])
        left = await drain.wait_for(calls, self.drain_seconds)
        self.table.draining.pop(entry.ref, None)
        if left:
            late = calls_through(entry.gate, entry.revision.folder)
            first = next((Call(each.what, None, each.path, each.line) for each in late), None)
            drain.note_end(entry.ref, first)
            places = dict.fromkeys(f"{each.path}:{each.line}" for each in late if each.path)
            self.table.publish(
                DrainTimedOut(
                    ref=entry.ref,
                    calls=left,
                    seconds=self.drain_seconds,
                    places=(*places,),
                    reload_id=current_reload.get(),
                )
            )
        return left

    def _report_drained(self, ref: PluginRef, drain: Drain) -> None:
        """Publish how long the calls of a plugin took, if any were in flight."""
        end = drain.ended.get(ref)
        if end is not None:
            self.table.publish(
                PluginDrained(
                    ref=ref,
                    reload_id=current_reload.get(),
                    duration_ms=1000 * (end.at - drain.began),
                    held_by=end.call,
                    ended=end.at,
                )
            )

    async def _tear_down(self, entry: Entry, reason: str) -> list[BaseException]:
        """Run `teardown`, unless the plugin has died meanwhile, and return what went wrong."""
        table, running = self.table, entry.running
        is_ready = table.states[entry.ref] is State.READY
        if not is_ready and self.ended_with_loop.pop(entry.ref, None) is None:
            died_of = self.crashes.pop(entry.ref, None)
            return [] if died_of is None else [died_of]
        if is_ready:
            table.tearing_down(entry, reason)
        began = perf_counter()
        with entry.tearing_down():
            errors = await running.tear_down() if running is not None else []
        table.stopped(entry, reason, ms_since(began))
        self._torn_down(entry, running, errors)
        if errors:
            entry.note_failure()
        return errors

    def _torn_down(
        self, entry: Entry, running: PluginInstance | None, errors: Iterable[BaseException]
    ) -> None:
        """Publish what a teardown has come to."""
        self.report_teardown(entry, errors)
        if running is not None and running.requires_restart:
            self.table.require_restart(entry)

    def report_teardown(self, entry: Entry, errors: Iterable[BaseException]) -> None:
        """Publish what went wrong in a teardown, or in undoing a setup that failed."""
        for error in errors:
            trim(error)
            self.table.publish(
                TeardownFailed(
                    ref=entry.ref,
                    generation=entry.number,
                    error=recorded(error),
                    reload_id=current_reload.get(),
                )
            )

    def _crashed(self, entry: Entry, running: PluginInstance, error: BaseException | None) -> None:
        """Note that a background task of a ready plugin raised, and took its scope along."""
        if entry.running is not running:
            return
        if error is not None:
            trim(error)
            error = recorded(error)
        entry.note_failure()
        state = self.table.states[entry.ref]
        if state is State.READY:
            self._die(entry, error)
        elif state is State.SETTING_UP:  # The end of its setup has not been noted yet.
            self._early_crashes[entry.ref] = error

    def look_at_loop(self) -> None:
        """Notice what has ended because the event loop of the setups has been closed."""
        if not is_closed(self.home):
            return
        self.home = None
        for entry in map(self.table.entries.__getitem__, self.table.ready_refs()):
            running = entry.running
            if running is not None and (ended := running.ended_with_loop()) is not None:
                self._loop_ended(entry, running, ended)

    def _loop_ended(self, entry: Entry, running: PluginInstance, what: str) -> None:
        """Note that something of a ready plugin has ended with its event loop.

        No loop may be running; so its teardown, which may have to wait, is left to the next one.
        """
        table, ref = self.table, entry.ref
        if entry.running is not running or table.states[ref] is not State.READY:
            return
        self.ended_with_loop[ref] = table.setup_order[ref]
        self.crashes[ref] = error = EventLoopClosed(ref, what)
        reason = "its event loop has been closed"
        table.failed(entry, error, Stage.RUN, reason, refusal=str(error), running=running)

    def _die(self, entry: Entry, error: BaseException | None) -> None:
        reason = "a task of its own ended the plugin"
        if error is not None:
            self.crashes[entry.ref] = error
        running = entry.running
        undo_errors = running.undo_errors if running is not None else ()
        root = root_error(error) if error is not None else None
        refusal = f"{reason}: {in_words(root)}" if root else reason
        shown = error or PluginCrashed(entry.ref, "its own scope was cancelled")
        self.table.failed(entry, shown, Stage.RUN, reason, refusal=refusal)
        self._torn_down(entry, running, undo_errors)
        self.on_crash(entry.ref, error)


def _load_code(table: PluginTable, entry: Entry, how: Load) -> object:
    """Make the instance that `entry` is to have."""
    become_plugin(entry.ref)
    table.loading(entry)
    if how is Load.IMPORT and entry.revision.prepared is not None:
        table.imported(entry, entry.revision.prepared.load())
    return entry.instance if entry.generation is None else entry.generation.instantiate()
