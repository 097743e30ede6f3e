"""Carries single plugins through their life: load, set up, tear down."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio

from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors import PluginCrashed, in_words
from dagstack_dev.core.events import DrainTimedOut, TeardownFailed
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.planning import Load
from dagstack_dev.host.context import PluginContext, as_plugin, derive_context_for_plugin
from dagstack_dev.host.instance import PluginInstance
from dagstack_dev.host.proxy import follow
from dagstack_dev.host.tasks import is_interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.resources import ResourceRegistry
    from dagstack_dev.host.table import Entry, PluginTable

DRAIN_SECONDS: Final = 5.0
"""How long calls in flight get before a teardown goes on without them."""


class Conductor:
    """The steps of one plugin's life, each with its state transitions.

    Attributes:
        context: what plugins are given; set before the first setup.
        turn: held by whoever changes what runs: `setup_all`, `teardown_all` or a reload.
        drain_seconds: how long calls in flight are waited for.
        on_crash: told when a ready plugin's own task died, with what it raised.
    """

    def __init__(self, table: PluginTable, resources: ResourceRegistry) -> None:
        self.table = table
        self.resources = resources
        self.context: PluginContext | None = None
        self.turn = anyio.Lock()
        self.drain_seconds = DRAIN_SECONDS
        self.on_crash: Callable[[PluginRef, BaseException | None], None] = lambda *_: None
        self.crashes: dict[PluginRef, BaseException | None] = {}
        self._early_crashes: dict[PluginRef, BaseException | None] = {}

    def load(self, entry: Entry, how: Load, reason: str) -> None:
        """Give `entry` a new instance, of newly imported code or of the class it has.

        A plugin object that was registered by hand stays the one it is.

        Raises:
            PluginLoadError: the import or the constructor raised. The state is left alone.
        """
        began = perf_counter()
        watched = self.table.watchdog.calling(entry.ref, "import", entry.offer.folder)
        with as_plugin(entry.ref), watched:
            if how is Load.IMPORT and entry.offer.prepared is not None:
                self.table.set_generation(entry, entry.offer.prepared.load())
                entry.imports += 1
                entry.number = entry.imports
            if entry.generation is not None:
                entry.put_in(entry.generation.instantiate())
        self.table.advance(entry, State.LOADED, reason, duration_ms=_ms_since(began))

    def load_failed(self, entry: Entry, error: BaseException, stage: Stage, reason: str) -> None:
        """The plugin could not be prepared, imported or instantiated."""
        self.table.advance(entry, State.FAILED, reason, error=error, stage=stage)
        entry.gate.give_up(f"it failed to load: {error}")

    def begin_setup(self, entry: Entry, reason: str) -> Awaitable[None] | None:
        """Close the gate and start `setup`; None when it has ended already.

        Raises:
            Exception: whatever the plugin raised, or `PluginUnavailable` for a resource that the
                host does not offer.
        """
        table = self.table
        entry.gate.close()
        self._early_crashes.pop(entry.ref, None)
        table.advance(entry, State.SETTING_UP, reason)
        assert entry.context is not None, "no context"  # noqa: S101 - set by every caller
        context = derive_context_for_plugin(entry.context, entry.manifest, self.resources)
        running = PluginInstance(
            entry.instance,
            manifest=entry.manifest,
            folder=entry.offer.folder,
            watchdog=table.watchdog,
            on_crash=lambda error: self._crashed(entry, running, error),
        )
        entry.running = running
        if running.needs_task:
            return running.set_up(context)
        return running.set_up_at_once(context)

    def setup_succeeded(self, entry: Entry, reason: str, duration_ms: float | None) -> None:
        """The setup ended well: the plugin is ready and its gate opens."""
        self.table.advance(entry, State.READY, reason, duration_ms=duration_ms)
        if entry.proxy is not None:
            follow(entry.proxy)
        entry.gate.open()
        if entry.ref in self._early_crashes:
            self._die(entry, self._early_crashes.pop(entry.ref))

    async def tear_down(self, entry: Entry, reason: str) -> BaseException | None:
        """Close the gate, let calls in flight end, run `teardown`.

        Returns:
            What the teardown raised, or None. It never stops anything else.
        """
        table = self.table
        entry.gate.close()
        with anyio.CancelScope(shield=True):
            left = await entry.gate.drain(self.drain_seconds)
            if left:
                table.publish(
                    DrainTimedOut(
                        ref=entry.ref,
                        calls=left,
                        seconds=self.drain_seconds,
                        reload_id=table.reload_id,
                    )
                )
            if table.states[entry.ref] is not State.READY:
                return self.crashes.pop(entry.ref, None)  # It died while it was drained.
            table.advance(entry, State.TEARING_DOWN, reason)
            began = perf_counter()
            error: BaseException | None = None
            if entry.running is not None:
                try:
                    await entry.running.tear_down()
                except BaseException as raised:
                    if is_interruption(raised):
                        raise
                    error = raised
        table.advance(entry, State.STOPPED, reason, duration_ms=_ms_since(began))
        entry.running = None
        if error is not None:
            self.report_teardown(entry, error)
        return error

    def report_teardown(self, entry: Entry, error: BaseException) -> None:
        """Tell the observers that a teardown went wrong."""
        self.table.publish(
            TeardownFailed(
                ref=entry.ref,
                generation=entry.number,
                error=error,
                reload_id=self.table.reload_id,
            )
        )

    def _crashed(self, entry: Entry, running: PluginInstance, error: BaseException | None) -> None:
        """A background task of a ready plugin raised, and took the plugin's scope with it."""
        if entry.running is not running:
            return
        state = self.table.states[entry.ref]
        if state is State.READY:
            self._die(entry, error)
        elif state is State.SETTING_UP:  # The end of its setup has not been noted yet.
            self._early_crashes[entry.ref] = error

    def _die(self, entry: Entry, error: BaseException | None) -> None:
        reason = "a task of its own ended the plugin"
        self.crashes[entry.ref] = error
        entry.running = None
        root = root_error(error) if error is not None else None
        entry.gate.give_up(f"{reason}: {in_words(root)}" if root else reason)
        self.table.advance(entry, State.TEARING_DOWN, reason)
        shown = error
        if shown is None:
            shown = PluginCrashed(entry.ref, "its own scope was cancelled")
        self.table.advance(entry, State.FAILED, reason, error=shown, stage=Stage.RUN)
        self.on_crash(entry.ref, error)


class SetupRun:
    """The `Steps` of one schedule: setups with their reasons, times and transitions.

    Args:
        reasons: why each plugin is set up.
        give_up: what a failure takes with it.
    """

    def __init__(
        self,
        conductor: Conductor,
        reasons: Callable[[PluginRef], str],
        give_up: Callable[[PluginRef], Iterable[PluginRef]],
    ) -> None:
        self._conductor = conductor
        self._reasons = reasons
        self._give_up = give_up
        self._began: dict[PluginRef, float] = {}

    def begin(self, ref: PluginRef) -> Awaitable[None] | None:
        """Start one setup."""
        self._began[ref] = perf_counter()
        entry = self._conductor.table.entries[ref]
        return self._conductor.begin_setup(entry, self._reasons(ref))

    def succeeded(self, ref: PluginRef) -> None:
        """One setup ended well."""
        entry = self._conductor.table.entries[ref]
        duration = _ms_since(self._began[ref])
        self._conductor.setup_succeeded(entry, self._reasons(ref), duration)

    def failed(self, ref: PluginRef, error: BaseException) -> set[PluginRef]:
        """One setup raised."""
        table = self._conductor.table
        entry = table.entries[ref]
        entry.running = None
        table.advance(
            entry,
            State.FAILED,
            f"setup raised {type(error).__name__}",
            duration_ms=_ms_since(self._began[ref]),
            error=error,
            stage=Stage.SETUP,
        )
        entry.gate.give_up(f"its setup failed: {in_words(error)}")
        return set(self._give_up(ref))

    def abandoned(self, ref: PluginRef) -> None:
        """One setup was cancelled half-way."""
        table = self._conductor.table
        entry = table.entries[ref]
        entry.running = None
        table.advance(
            entry,
            State.STOPPED,
            "setup cancelled",
            duration_ms=_ms_since(self._began[ref]),
        )


def _ms_since(began: float) -> float:
    return (perf_counter() - began) * 1000
