"""Carries single plugins through their life: load, set up, tear down."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.life import (
    BlockedOutdated,
    EventLoopClosed,
    PluginCrashed,
    PluginLoadError,
    SetupPreempted,
)
from dagstack_dev.core.events import DrainTimedOut, TeardownFailed
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import recorded, trim
from dagstack_dev.host.context import PluginContext, derive_context_for_plugin
from dagstack_dev.host.current import become_plugin, current_reload
from dagstack_dev.host.drain import Drain
from dagstack_dev.host.elapsed import ms_since
from dagstack_dev.host.instance import PluginInstance
from dagstack_dev.host.load_queue import LoadQueue
from dagstack_dev.host.patience import running_time
from dagstack_dev.host.schedule import Progress, bring_up
from dagstack_dev.host.sections import section_of
from dagstack_dev.host.stacks import calls_through
from dagstack_dev.host.tasks import is_closed, is_interruption
from dagstack_dev.host.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from anyio.lowlevel import EventLoopToken

    from dagstack_dev.core.errors.life import PluginUnhealthy
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.entry import Entry
    from dagstack_dev.host.resources import ResourceRegistry
    from dagstack_dev.host.table import PluginTable

DRAIN_SECONDS: Final = 5.0
"""How long calls in flight get before a teardown goes on without them."""


class Conductor:
    """The steps of one plugin's life, each with its state transitions.

    Attributes:
        queue: what loads plugins in order.
        context: what plugins are given; set before the first setup.
        turn: held by whoever changes what runs: `setup_all`, `teardown_all` or reloads, of which
            several may be under way at the same time, each with plugins of its own.
        drain_seconds: how long calls in flight are waited for.
        on_crash: told when a ready plugin's own task died, with what it raised.
        home: the event loop of the last setup.
        ended_with_loop: the plugins of which something ended with their event loop, and which are
            still to be torn down; each with its place in the order of setups.
    """

    def __init__(self, table: PluginTable, resources: ResourceRegistry) -> None:
        self.table = table
        self.resources = resources
        self.context: PluginContext | None = None
        self.queue = LoadQueue(table)
        self.turn = Turn()
        self.drain_seconds = DRAIN_SECONDS
        self.on_crash: Callable[[PluginRef, BaseException | None], None] = lambda *_: None
        self.crashes: dict[PluginRef, BaseException | None] = {}
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
        began, ahead = perf_counter(), self.queue.seconds_ahead
        seconds = entry.manifest.startup_timeout_sec
        what = "import" if how is Load.IMPORT else "constructor"
        watched = self.table.watchdog.calling(entry.ref, what, entry.offer.folder, seconds)
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
        began += self.queue.seconds_ahead - ahead
        self.table.loaded(entry, instance, reason, duration_ms=ms_since(began), is_open=is_open)
        self.queue.tell()

    def load_failed(
        self,
        entry: Entry,
        error: BaseException,
        stage: Stage,
        reason: str,
        *,
        comes_back: bool = False,
    ) -> None:
        """The plugin could not be prepared, imported or instantiated.

        When an earlier generation of it `comes_back`, calls go on waiting.
        """
        refusal = None if comes_back else f"it failed to load: {error}"
        self.table.failed(entry, error, stage, reason, refusal=refusal)

    def became_ill(self, entry: Entry, error: PluginUnhealthy, reason: str) -> None:
        """The plugin has been torn down, for it was not well."""
        refusal = f"it was not healthy: {error.reason}"
        self.table.failed(entry, error, Stage.HEALTH, reason, refusal=refusal)

    async def bring_up(
        self, order: Sequence[PluginRef], steps: SetupRun, progress: Progress
    ) -> None:
        """As `schedule.bring_up`; until then the plugins of `order` hold calls back."""
        for ref in order:
            self.table.hold(self.table.entries[ref])
        await bring_up(order, self.table.graph.dependencies, steps, progress)

    def begin_setup(self, entry: Entry, reason: str) -> Awaitable[None] | None:
        """Start `setup`; None when it has ended already.

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
            folder=entry.offer.folder,
            watchdog=table.watchdog,
            carry=entry.carry,
            on_dying=partial(table.hold, entry),
            on_crash=partial(self._crashed, entry),
            on_loop_end=partial(self._loop_ended, entry),
        )
        self.home = anyio.lowlevel.current_token()
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
        """The setup ended well: the plugin is ready and its gate opens."""
        self.table.ready(entry, reason, duration_ms)
        self.queue.tell()
        if entry.ref in self._early_crashes:
            self._die(entry, self._early_crashes.pop(entry.ref))

    async def drain(
        self, entries: Iterable[Entry], *, down: Iterable[Entry] = ()
    ) -> set[PluginRef]:
        """Close the gates of plugins that are to be torn down, and let calls in flight end.

        All instances are still there meanwhile, so that calls among these plugins can be
        answered. What is in flight at the end, a task of one of the plugins may hold; `tear_down`
        waits for it when that plugin is down.

        Args:
            entries: the plugins, in the order of their teardowns.
            down: others, down already; where calls wait for one of them to come back, those
                that come from `entries` are refused, since it cannot before they have ended.

        Returns:
            The plugins whose calls did not end within `drain_seconds`.
        """
        entries = [*entries]
        drain = Drain(entry.gate for entry in entries)
        for entry in down:
            if entry.gate.is_held:
                self.table.hold(entry, drain, answers=False)
        for entry in entries:
            self.table.hold(entry, drain)
            self.table.draining[entry.ref] = running_time()
        with anyio.CancelScope(shield=True):
            await drain.settle(self.drain_seconds)
            for entry in entries:
                self.table.draining.pop(entry.ref, None)
            # Nothing that is torn down before can hold the first one.
            late = {entry.ref for entry in entries[:1] if await self._drain(entry)}
        drain.finish()
        return late

    async def _drain(self, entry: Entry) -> int:
        """Let calls in flight end; the answer is how many have not."""
        gate = entry.gate
        if not gate.in_flight:
            return 0
        self.table.draining.setdefault(entry.ref, running_time())
        left = await (gate.drain or Drain([gate])).end(gate, self.drain_seconds)
        self.table.draining.pop(entry.ref, None)
        if left:
            calls = calls_through(gate, entry.offer.folder)
            places = dict.fromkeys(f"{each.path}:{each.line}" for each in calls if each.path)
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

    async def tear_down(
        self, entry: Entry, reason: str, late: Collection[PluginRef]
    ) -> list[BaseException]:
        """Close the gate for good, let calls end that came since `drain`, run `teardown`.

        To be called inside a shielded scope, one for all plugins, so that none stays half-way.

        Args:
            entry: the plugin.
            reason: why.
            late: what `drain` answered: calls of these are waited for no longer.

        Returns:
            What went wrong in it, in order. It never stops anything else.
        """
        table = self.table
        in_time = entry.ref not in late and not await self._drain(entry)
        table.hold(entry)
        if in_time:  # Threads may have called in between.
            await self._drain(entry)
        is_ready = table.states[entry.ref] is State.READY
        if not is_ready and self.ended_with_loop.pop(entry.ref, None) is None:
            died_of = self.crashes.pop(entry.ref, None)  # It died while it was drained.
            return [] if died_of is None else [died_of]
        if is_ready:
            table.tearing_down(entry, reason)
        began = perf_counter()
        running = entry.running
        with entry.tearing_down():
            errors = await running.tear_down() if running is not None else []
        table.stopped(entry, reason, ms_since(began))
        self.report_teardown(entry, errors)
        if errors:
            entry.note_failure()
        if running is not None and running.requires_restart:
            table.require_restart(entry)
        return errors

    def report_teardown(self, entry: Entry, errors: Iterable[BaseException]) -> None:
        """Tell the observers what went wrong in a teardown, or in undoing a setup that failed."""
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
        """A background task of a ready plugin raised, and took the plugin's scope with it."""
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
        """Something of a ready plugin has ended with its event loop, and no loop may be running.

        So its teardown, which may have to wait, is left to whoever tears down next.
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
        self.crashes[entry.ref] = error
        running = entry.running
        undo_errors = running.undo_errors if running is not None else ()
        root = root_error(error) if error is not None else None
        refusal = f"{reason}: {in_words(root)}" if root else reason
        shown = error or PluginCrashed(entry.ref, "its own scope was cancelled")
        self.table.failed(entry, shown, Stage.RUN, reason, refusal=refusal)
        self.report_teardown(entry, undo_errors)
        if running is not None and running.requires_restart:
            self.table.require_restart(entry)
        self.on_crash(entry.ref, error)


class SetupRun:
    """The `Steps` of one schedule: setups with their reasons, times and transitions.

    Args:
        reasons: why each plugin is set up.
        give_up: what a failure takes with it; it is called before the plugin counts as failed.
        comes_back: whether an earlier generation of a plugin that failed is to run again, asked
            after `give_up`. Then calls go on waiting.
        ended: called with each plugin whose setup has ended, well or not.
    """

    def __init__(
        self,
        conductor: Conductor,
        reasons: Callable[[PluginRef], str],
        give_up: Callable[[PluginRef, BaseException], Iterable[PluginRef]],
        comes_back: Callable[[PluginRef], bool] = lambda _: False,
        ended: Callable[[PluginRef], None] = lambda _: None,
    ) -> None:
        self._conductor = conductor
        self._ended = ended
        self._reasons = reasons
        self._give_up = give_up
        self._comes_back = comes_back
        self._began: dict[PluginRef, float] = {}

    def begin(self, ref: PluginRef) -> Awaitable[None] | None:
        """Start one setup."""
        self._began[ref] = perf_counter()
        entry = self._conductor.table.entries[ref]
        return self._conductor.begin_setup(entry, self._reasons(ref))

    def succeeded(self, ref: PluginRef) -> None:
        """One setup ended well."""
        entry = self._conductor.table.entries[ref]
        duration = ms_since(self._began[ref])
        self._conductor.setup_succeeded(entry, self._reasons(ref), duration)
        self._ended(ref)

    def failed(self, ref: PluginRef, error: BaseException) -> set[PluginRef]:
        """One setup raised."""
        table = self._conductor.table
        entry = table.entries[ref]
        self._conclude(entry)
        entry.note_failure()
        record = recorded(error)
        given_up = set(self._give_up(ref, record))
        comes_back = self._comes_back(ref)
        table.failed(
            entry,
            record,
            Stage.SETUP,
            f"setup raised {type(error).__name__}",
            refusal=None if comes_back else f"its setup failed: {in_words(error)}",
            duration_ms=ms_since(self._began[ref]),
        )
        self._ended(ref)
        return given_up

    def abandoned(self, ref: PluginRef) -> None:
        """One setup was cancelled half-way."""
        table = self._conductor.table
        entry = table.entries[ref]
        self._conclude(entry)
        table.stopped(entry, "setup cancelled", ms_since(self._began[ref]))
        self._ended(ref)

    def _conclude(self, entry: Entry) -> None:
        """Report what went wrong in undoing a setup that has not succeeded."""
        if entry.running is not None:
            self._conductor.report_teardown(entry, entry.running.undo_errors)


def _load_code(table: PluginTable, entry: Entry, how: Load) -> object:
    """Make the instance that `entry` is to have."""
    become_plugin(entry.ref)
    table.loading(entry)
    if how is Load.IMPORT and entry.offer.prepared is not None:
        table.imported(entry, entry.offer.prepared.load())
    return entry.instance if entry.generation is None else entry.generation.instantiate()
