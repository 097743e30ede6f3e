"""Every plugin of a registry, and the only place where what runs of it changes."""

from __future__ import annotations

from collections.abc import Mapping
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.events import (
    Fact,
    PluginDegraded,
    PluginRecovered,
    PluginRequiresRestart,
    Transition,
)
from dagstack_dev.core.graph import DependencyGraph, reach
from dagstack_dev.core.hookspecs.kinds import NO_KINDS, DispatchClass, Kinds
from dagstack_dev.core.lifecycle import PluginStatus, Stage, State, check_transition
from dagstack_dev.core.manifest.fields import ExecutionModel
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.calls.current import current_reload
from dagstack_dev.host.calls.gate import Gate, GateRules
from dagstack_dev.host.calls.proxy import PluginProxy, follow, make_proxy, refit
from dagstack_dev.host.loop.watchdog import Watchdog
from dagstack_dev.host.plugins.code_map import CodeMap
from dagstack_dev.host.plugins.early_calls import EarlyCalls
from dagstack_dev.host.plugins.entry import Entry
from dagstack_dev.host.plugins.members import Members
from dagstack_dev.host.services.guarding import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.core.ports import Generation, Observer, Runtime
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.calls.drain import Drain
    from dagstack_dev.host.life.instance import PluginInstance
    from dagstack_dev.host.plugins.entry import Revision, Saved
    from dagstack_dev.host.services.context import PluginContext


TEARDOWN_FALSE: Final = "its teardown returned False, so something of it has stayed"

_NOTHING: Final[Mapping[str, DispatchClass]] = MappingProxyType({})

_DOWN: Final = frozenset({State.FAILED, State.BLOCKED, State.REMOVED})
"""Where nothing runs that could differ from what is on disk, nor comes back."""


class PluginTable:
    """The plugins of one registry by ref.

    What happens to a plugin is a method here. It changes the state, the gate and all that belongs
    to them together, and calls the observers last: whatever they look at, or call, agrees. Nothing
    else opens or closes a gate, or writes into an `Entry`.

    Args:
        runtimes: those that serve the plugins, by name.
        owner: kept alive by every proxy.

    Attributes:
        entries: all plugins that ever were, in the order of registration.
        states: where each is in its life.
        graph: the dependencies in force.
        setup_order: the plugins that are set up, each with its place in the order of setups.
        draining: since when plugins wait for their calls to end, in running time.
        pending: those of which something newer is not in force.
        priorities: those of the manifests in force.
        code: whose code lies where, and who has imported it.
        rules: what holds for all gates, such as how long a call waits at one.
        members: who can be dispatched to.
        watchdog: watches the loop's thread while plugins are loaded, set up or torn down.
    """

    def __init__(self, runtimes: Mapping[str, Runtime], *, owner: object = None) -> None:
        self.entries: dict[PluginRef, Entry] = {}
        self.states: dict[PluginRef, State] = {}
        self.graph = DependencyGraph()
        self.setup_order: dict[PluginRef, int] = {}
        self.draining: dict[PluginRef, float] = {}
        self.pending: set[PluginRef] = set()
        self.priorities: dict[PluginRef, int] = {}
        self.code = CodeMap(runtimes, self.setup_order)
        too_early = EarlyCalls(self.entries, self.states, self.code, lambda: self.graph)
        self.rules = GateRules(too_early, owner=owner)
        self.members = Members()
        self._kinds = NO_KINDS
        self.watchdog = Watchdog(self.publish, self.code.plugin_at)
        self._observers: dict[Guard, Observer] = {}
        self._setups = 0
        self._making_proxy = RLock()  # It looks at the plugin, which may run code of its own.

    # What is known of them

    def present_entry(self, ref: PluginRef) -> Entry | None:
        """Return the entry of `ref`, unless that is unknown or removed."""
        return None if self.states.get(ref, State.REMOVED) is State.REMOVED else self.entries[ref]

    def present(self) -> Iterable[Entry]:
        """Return every entry that is not removed, in the order of registration."""
        return (
            entry for ref, entry in self.entries.items() if self.states[ref] is not State.REMOVED
        )

    def ready_refs(self) -> list[PluginRef]:
        """Return the ready plugins in the order in which their setups ended."""
        return sorted(self.setup_order, key=self.setup_order.__getitem__)

    def status(self, entry: Entry) -> PluginStatus:
        """Return what is known of `entry` now."""
        return PluginStatus(
            ref=entry.ref,
            state=self.states[entry.ref],
            generation=entry.number if entry.generation is not None else 0,
            path=entry.revision.folder,
            error=entry.error if entry.error is not None else entry.degraded_by,
            pending=entry.pending,
            degraded=entry.degraded_by is not None,
            requires_restart=entry.requires_restart,
            stage=entry.stage,
            blocked_by=entry.blocked_by,
        )

    def reached_by(self, refs: Iterable[PluginRef]) -> set[PluginRef]:
        """Return `refs`, and the plugins that depend on them or have imported their code."""
        return reach(refs, lambda ref: self.graph.dependents(ref) | self.code.importers(ref))

    def observe(self, observer: Observer) -> Callable[[], object]:
        """Call `observer` with every fact from now on; what is returned ends that."""
        name = getattr(observer, "__qualname__", type(observer).__qualname__)
        guard = Guard(f"the observer {name}")
        self._observers[guard] = observer
        return lambda: self._observers.pop(guard, None)

    def publish(self, fact: Fact) -> None:
        """Call every observer with `fact`, whatever one of them raises."""
        for guard, observer in tuple(self._observers.items()):
            guard.call(observer, fact)

    # Coming, and what is next

    def add(self, revision: Revision, reason: str) -> Entry:
        """Add a plugin that was not there before."""
        entry = Entry(revision, Gate(revision.ref, self.rules))
        known = self.entries.get(revision.ref)
        if known is not None:  # It was removed and is back: its proxy must be the same object.
            entry.gate, entry.proxy, entry.imports = known.gate, known.proxy, known.imports
            entry.requires_restart = known.requires_restart
        entry.gate.close()
        self.entries[revision.ref] = entry
        self.code.add(revision.ref, revision.folder)
        self.priorities[revision.ref] = revision.manifest.priority
        self._advance(entry, State.DISCOVERED, reason)
        return entry

    def revise(self, entry: Entry, revision: Revision) -> None:
        """Let `revision` be what `entry` is loaded from next."""
        before, entry.revision = entry.revision, revision
        if before.folder != revision.folder:
            self.code.remove(entry.ref, before.folder)
            self.code.add(entry.ref, revision.folder)
        self.priorities[entry.ref] = revision.manifest.priority

    def provide(self, entry: Entry, context: PluginContext | None) -> None:
        """Let `context` be what `entry` is set up with next."""
        entry.context = context

    # Loading. Whatever changes a state raises `InvalidTransition` where the way there is not
    # allowed; a plugin object that was registered by hand stays the one it is.

    def loading(self, entry: Entry) -> None:
        """Drop the instance, for another one is about to take its place at once."""
        if not entry.revision.by_hand:
            entry.gate.instance = None

    def imported(self, entry: Entry, generation: Generation) -> None:
        """Put newly imported code in force, under a number of its own."""
        entry.generation = generation
        entry.imports += 1
        entry.number = entry.imports

    def loaded(
        self,
        entry: Entry,
        instance: object,
        reason: str,
        *,
        duration_ms: float | None = None,
        is_open: bool = False,
    ) -> None:
        """Make `instance` the one that calls go to, as soon as it has been set up.

        Args:
            entry: the plugin.
            instance: it may be the one that is there already.
            reason: why, as in all of these methods.
            duration_ms: how long that took, likewise.
            is_open: let calls pass before its setup, too.
        """
        self._put_in(entry, instance)
        if is_open:
            entry.gate.open()
        self._advance(entry, State.LOADED, reason, duration_ms=duration_ms)

    def unload(self, entry: Entry) -> None:
        """Drop code and instance, and all that the proxy has learnt of its class."""
        entry.generation = None
        if not entry.revision.by_hand:
            self._put_in(entry, None)
            entry.running = None

    def _put_in(self, entry: Entry, instance: object) -> None:
        model = entry.manifest.execution_model
        entry.gate.instance = instance
        entry.gate.in_threads = model is ExecutionModel.THREAD_CPU_BOUND
        if entry.proxy is not None:
            follow(entry.proxy)

    def restored(self, entry: Entry, saved: Saved) -> None:
        """Put back in force what ran before; calls wait until it has been set up again."""
        self.revise(entry, saved.revision)
        entry.generation, entry.number = saved.generation, saved.number
        entry.context = saved.context
        self.note_pending(entry, saved.pending_error)
        entry.gate.close()

    # From setup to teardown

    def setting_up(self, entry: Entry, running: PluginInstance, reason: str) -> None:
        """Begin the setup of `running`; calls wait for its end."""
        entry.running = running
        entry.gate.close()
        self._advance(entry, State.SETTING_UP, reason)

    def ready(self, entry: Entry, reason: str, duration_ms: float | None) -> None:
        """End the setup well: calls pass, unless the plugin has crashed meanwhile."""
        if entry.proxy is not None:
            follow(entry.proxy)
        if entry.running is None or not entry.running.is_dying:
            entry.gate.open()
        self._setups += 1
        self.setup_order[entry.ref] = self._setups
        self._advance(entry, State.READY, reason, duration_ms=duration_ms)

    def hold(self, entry: Entry, drain: Drain | None = None, *, answers: bool = True) -> None:
        """Hold calls back, for a setup or teardown is about to begin; as `Gate.close` does it."""
        entry.gate.close(drain, answers=answers)

    def release(self, entry: Entry) -> None:
        """Let calls pass, for no setup is about to begin after all."""
        entry.gate.open()

    def tearing_down(self, entry: Entry, reason: str) -> None:
        """Begin the teardown."""
        entry.gate.close()
        self._advance(entry, State.TEARING_DOWN, reason)

    def stopped(self, entry: Entry, reason: str, duration_ms: float) -> None:
        """End the teardown, or a setup that was cancelled; what had failed stays so."""
        entry.running = None
        if self.states[entry.ref] is not State.FAILED:
            self._advance(entry, State.STOPPED, reason, duration_ms=duration_ms)

    # What does not run

    def failed(
        self,
        entry: Entry,
        error: BaseException,
        stage: Stage,
        reason: str,
        *,
        refusal: str | None,
        duration_ms: float | None = None,
        running: PluginInstance | None = None,
    ) -> None:
        """Fail a plugin that did not load or set up, was not healthy, or has ended by itself.

        Args:
            entry: the plugin.
            error: why.
            stage: in which step.
            reason: why, in short.
            refusal: what calls are refused with; None where an earlier generation comes back, for
                which they wait.
            duration_ms: how long the step took.
            running: what is still to be torn down, where it has ended by itself.
        """
        entry.running = running
        if refusal is not None:
            entry.gate.refuse(refusal)
        if self.states[entry.ref] is State.READY:
            self._advance(entry, State.TEARING_DOWN, reason)
        self._advance(
            entry,
            State.FAILED,
            reason,
            duration_ms=duration_ms,
            failure=recorded(error),
            stage=stage,
        )
        if refusal is None:
            entry.gate.calls.look_again()  # A setup that waits here would wait for its own end.

    def blocked(
        self, entry: Entry, blocked_by: tuple[str, ...], reason: str, *, refusal: str | None = None
    ) -> None:
        """Let nothing of the plugin run, for it waits for others.

        Args:
            entry: the plugin.
            blocked_by: these.
            reason: why.
            refusal: what calls are refused with; by default, what it waits for.
        """
        self.unload(entry)
        entry.gate.refuse(refusal or f"it waits for {', '.join(blocked_by)}")
        known = self.states[entry.ref] is State.BLOCKED and entry.blocked_by == blocked_by
        if not known:
            self._advance(entry, State.BLOCKED, reason, blocked_by=blocked_by)

    def removed(self, entry: Entry, reason: str, *, refusal: str) -> None:
        """Remove a plugin; calls are refused with `refusal`."""
        self.unload(entry)
        entry.carry.clear()
        self.code.remove(entry.ref, entry.revision.folder)
        entry.gate.refuse(refusal)
        self._advance(entry, State.REMOVED, reason)

    def ended(self, entry: Entry, refusal: str) -> None:
        """Refuse calls that would wait with `refusal`, for all that runs has been torn down."""
        entry.carry = {}  # Not emptied: a plugin's process has yet to send it to its app.
        if self.states[entry.ref] is State.STOPPED or entry.gate.is_held:
            entry.gate.refuse(refusal)

    def _advance(
        self,
        entry: Entry,
        to_state: State,
        reason: str,
        *,
        duration_ms: float | None = None,
        failure: BaseException | None = None,
        stage: Stage | None = None,
        blocked_by: tuple[str, ...] = (),
    ) -> None:
        """Bring `entry` into `to_state`, with what there is to know of it, and publish that."""
        ref = entry.ref
        before = self.states.get(ref)
        if before is not None:
            check_transition(ref, before, to_state)
        self.states[ref] = to_state
        entry.failure, entry.stage, entry.blocked_by = failure, stage, blocked_by
        entry.degraded_by = None
        if to_state in _DOWN:
            self.note_pending(entry, None)
        if before is State.TEARING_DOWN:
            self.setup_order.pop(ref, None)
        self.members.note(entry, to_state)
        if self._observers:
            self.publish(
                Transition(
                    ref=ref,
                    from_state=before,
                    to_state=to_state,
                    generation=entry.number,
                    reason=reason,
                    reload_id=current_reload.get(),
                    duration_ms=duration_ms,
                    error=failure,
                    stage=stage,
                    blocked_by=blocked_by,
                )
            )

    # What is known of a plugin that runs

    def note_pending(self, entry: Entry, error: BaseException | None) -> None:
        """Note why what runs is not what is on disk; None where it is."""
        if error is None:
            entry.pending_error = None
            self.pending.discard(entry.ref)
        else:
            entry.pending_error = recorded(error)
            self.pending.add(entry.ref)

    def degrade(self, entry: Entry, error: BaseException) -> None:
        """Note that a ready plugin is not well: it goes on, but `error` is known of it.

        It ends with `recover`, or with its next step into another state.
        """
        was_well, entry.degraded_by = entry.degraded_by is None, recorded(error)
        if was_well:
            self.publish(
                PluginDegraded(ref=entry.ref, generation=entry.number, error=entry.degraded_by)
            )

    def recover(self, entry: Entry) -> None:
        """Note that a plugin is well, degraded before or not."""
        if entry.degraded_by is not None:
            entry.degraded_by = None
            self.publish(PluginRecovered(ref=entry.ref, generation=entry.number))

    def require_restart(self, entry: Entry, reason: str = TEARDOWN_FALSE) -> None:
        """Note that only a new process is rid of all that a plugin was."""
        if not entry.requires_restart:
            entry.requires_restart = True
            self.publish(
                PluginRequiresRestart(
                    ref=entry.ref,
                    generation=entry.number,
                    reason=reason,
                    reload_id=current_reload.get(),
                )
            )

    def proxy(self, entry: Entry) -> PluginProxy:
        """Return the one proxy of `entry`, made when it is first asked for, by whichever thread."""
        if entry.proxy is None:
            with self._making_proxy:
                if entry.proxy is None:
                    entry.proxy = make_proxy(entry.gate, self.reserved(entry.ref.kind))
        return entry.proxy

    @property
    def kinds(self) -> Kinds:
        """What the app has declared; set for all proxies at once, where it makes a difference."""
        return self._kinds

    @kinds.setter
    def kinds(self, kinds: Kinds) -> None:
        self._kinds = kinds
        for entry in self.entries.values():
            reserved = self.reserved(entry.ref.kind)
            if entry.proxy is not None and reserved != type(entry.proxy).__dagstack_reserved__:
                refit(entry.proxy, reserved)

    def reserved(self, kind: str) -> Mapping[str, DispatchClass]:
        """Return the hooks of a kind that only dispatchers may call."""
        spec = self._kinds.specs.get(kind)
        return _NOTHING if spec is None else spec.reserved
