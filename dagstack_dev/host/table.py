"""Every plugin of a registry, and the one function that changes a plugin's state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.events import (
    Fact,
    PluginDegraded,
    PluginRecovered,
    PluginRequiresRestart,
    Transition,
)
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.hookspecs import NO_KINDS, DispatchClass, Kinds
from dagstack_dev.core.lifecycle import PluginStatus, Stage, State, check_transition
from dagstack_dev.core.manifest import PluginManifest
from dagstack_dev.core.plan import World
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.dispatch.members import Members
from dagstack_dev.host.execution import workers_for
from dagstack_dev.host.gate import Gate
from dagstack_dev.host.guarding import Guard
from dagstack_dev.host.proxy import PluginProxy, follow, make_proxy, refit
from dagstack_dev.host.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.core.ports import Generation, Observer, Prepared, Runtime
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.config_schema import SectionSchema
    from dagstack_dev.host.context import PluginContext
    from dagstack_dev.host.instance import PluginInstance


TEARDOWN_FALSE: Final = "its teardown returned False, so something of it has stayed"

_NOTHING: Final[Mapping[str, DispatchClass]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Offer:
    """A plugin's source as far as it could be prepared without running it.

    Attributes:
        manifest: validated.
        prepared: compiled code; None for a plugin object that was registered by hand.
        source: what it was read from; None likewise.
        section_schema: what the manifest asks of the plugin's section, if anything.
    """

    manifest: PluginManifest
    prepared: Prepared | None = None
    source: PluginSource | None = None
    section_schema: SectionSchema | None = None

    @classmethod
    def unprepared(cls, ref: PluginRef, source: PluginSource) -> Offer:
        """An offer for a source of which only kind and name can be told."""
        manifest = PluginManifest.model_construct(
            name=ref.name, kind=ref.kind, core_version="", runtime=()
        )
        return cls(manifest, None, source)

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return self.manifest.ref

    @property
    def by_hand(self) -> bool:
        """Whether the host registered the plugin object itself."""
        return self.source is None

    @property
    def folder(self) -> str | None:
        """The plugin's folder, None for a plugin registered by hand."""
        return self.source.folder if self.source else None


class Entry:
    """One plugin: what it offers, what of it runs, and how it is doing.

    `number` is that of the generation in force, `imports` the highest ever given out: the number
    of a generation that was rolled back is not used again. `error` is a record of what went wrong
    (`core.recorded`), which keeps nothing of the plugin. `context` is the host's context that
    the plugin was last set up with, `carry` what the plugin hands on from one setup to the next.
    `degraded_by` is why it is not well though it is ready; `PluginTable.degrade` sets it.
    """

    __slots__ = (
        "blocked_by",
        "carry",
        "context",
        "degraded_by",
        "error",
        "gate",
        "generation",
        "imports",
        "instance",
        "number",
        "offer",
        "pending",
        "proxy",
        "requires_restart",
        "running",
        "stage",
    )

    def __init__(self, offer: Offer, gate: Gate) -> None:
        self.offer = offer
        self.gate = gate
        self.generation: Generation | None = None
        self.carry: dict[str, Any] = {}
        self.context: PluginContext | None = None
        self.number = 0
        self.imports = 0
        self.instance: Any = None
        self.running: PluginInstance | None = None
        self.proxy: PluginProxy | None = None
        self.error: BaseException | None = None
        self.stage: Stage | None = None
        self.pending = False
        self.degraded_by: BaseException | None = None
        self.requires_restart = False
        self.blocked_by: tuple[str, ...] = ()

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return self.gate.ref

    @property
    def manifest(self) -> PluginManifest:
        """The manifest in force."""
        return self.offer.manifest

    def put_in(self, instance: object) -> None:
        """Make `instance` the one that the proxy forwards to."""
        self.instance = instance
        self.gate.instance = instance
        self.gate.workers = workers_for(self.manifest, self.gate)
        if self.proxy is not None:
            follow(self.proxy)

    def note_failure(self) -> None:
        """The instance has failed: nothing of it is to be left when plugin code runs next."""
        if self.generation is not None:
            self.generation.note_failure()

    def vacate(self) -> None:
        """Let go of the instance, for another one is about to take its place at once."""
        self.instance = self.gate.instance = None

    def take_out(self) -> None:
        """Let go of the instance, and of everything that the proxy has learnt of its class."""
        self.put_in(None)
        self.running = None


class PluginTable:
    """The plugins of one registry by ref.

    `advance` is the only place where a state changes; it tells the observers each time.

    Args:
        runtimes: those that serve the plugins, by name.
        call_patience: how long a call waits at a closed gate, in seconds.
        owner: kept alive by every proxy.
    """

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        *,
        call_patience: float = 30.0,
        owner: object = None,
    ) -> None:
        self._owner = owner
        self.entries: dict[PluginRef, Entry] = {}
        self.states: dict[PluginRef, State] = {}
        self._by_folder: dict[str | None, PluginRef] = {}
        self.setup_order: dict[PluginRef, int] = {}
        self.draining: dict[PluginRef, float] = {}  # Since when, in running time.
        self.priorities: dict[PluginRef, int] = {}
        self._runtimes = runtimes
        self.graph = DependencyGraph()
        self.members = Members()
        self._kinds = NO_KINDS
        self.watchdog = Watchdog(self.publish)
        self.reload_id: int | None = None
        self._observers: dict[Guard, Observer] = {}
        self._setups = 0
        self._making_proxy = RLock()  # It looks at the plugin, which may run code of its own.
        self._call_patience = call_patience

    @property
    def call_patience(self) -> float:
        """How long a call waits at a closed gate, in seconds; to be set for all gates at once."""
        return self._call_patience

    @call_patience.setter
    def call_patience(self, seconds: float) -> None:
        self._call_patience = seconds
        for entry in self.entries.values():
            entry.gate.patience = seconds

    def observe(self, observer: Observer) -> Callable[[], object]:
        """Tell `observer` every fact from now on; the answer ends that."""
        name = getattr(observer, "__qualname__", type(observer).__qualname__)
        guard = Guard(f"the observer {name}")
        self._observers[guard] = observer
        return lambda: self._observers.pop(guard, None)

    def publish(self, fact: Fact) -> None:
        """Tell every observer, whatever one of them raises."""
        for guard, observer in tuple(self._observers.items()):
            guard.call(observer, fact)

    def add(self, offer: Offer, reason: str) -> Entry:
        """A plugin that was not there before."""
        entry = Entry(offer, Gate(offer.ref, patience=self.call_patience, owner=self._owner))
        known = self.entries.get(offer.ref)
        if known is not None:  # It was removed and is back: its proxy must be the same object.
            entry.gate, entry.proxy, entry.imports = known.gate, known.proxy, known.imports
            entry.requires_restart = known.requires_restart
        self.entries[offer.ref] = entry
        self._by_folder[offer.folder] = offer.ref
        self.priorities[offer.ref] = offer.manifest.priority
        before = self.states.get(offer.ref)
        if before is not None:
            check_transition(offer.ref, before, State.DISCOVERED)
        self.states[offer.ref] = State.DISCOVERED
        self._tell(entry, before, State.DISCOVERED, reason, None)
        return entry

    def offer(self, entry: Entry, offer: Offer) -> None:
        """Let `offer` be what `entry` is loaded from next."""
        entry.offer = offer
        self._by_folder[offer.folder] = entry.ref
        self.priorities[entry.ref] = offer.manifest.priority

    def advance(
        self,
        entry: Entry,
        to_state: State,
        reason: str,
        *,
        duration_ms: float | None = None,
        error: BaseException | None = None,
        stage: Stage | None = None,
        blocked_by: tuple[str, ...] = (),
    ) -> None:
        """Bring `entry` into `to_state`, keep what belongs to it, and tell the observers.

        Raises:
            InvalidTransition: the transition table does not allow it.
        """
        ref = entry.ref
        before = self.states[ref]
        check_transition(ref, before, to_state)
        self.states[ref] = to_state
        entry.stage = stage if to_state is State.FAILED else None
        entry.blocked_by = blocked_by
        entry.degraded_by = None
        if to_state is State.READY:
            self._setups += 1
            self.setup_order[ref] = self._setups
        elif before is State.TEARING_DOWN:
            self.setup_order.pop(ref, None)
        if to_state is State.FAILED:
            entry.error = None if error is None else recorded(error)
        elif not entry.pending:
            entry.error = None
        self.members.note(entry, to_state)
        self._tell(entry, before, to_state, reason, duration_ms)

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
                    reload_id=self.reload_id,
                )
            )

    def _tell(
        self,
        entry: Entry,
        before: State | None,
        to_state: State,
        reason: str,
        duration_ms: float | None,
    ) -> None:
        if self._observers:
            fact = Transition(
                ref=entry.ref,
                from_state=before,
                to_state=to_state,
                generation=entry.number,
                reason=reason,
                reload_id=self.reload_id,
                duration_ms=duration_ms,
                error=entry.error if to_state is State.FAILED else None,
                stage=entry.stage,
                blocked_by=entry.blocked_by,
            )
            self.publish(fact)

    def proxy(self, entry: Entry) -> PluginProxy:
        """The one proxy of `entry`, made when it is first asked for, by whichever thread."""
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
        """The hooks of a kind that only dispatchers may call."""
        spec = self._kinds.specs.get(kind)
        return _NOTHING if spec is None else spec.reserved

    def plugin_at(self, path: str) -> PluginRef | None:
        """The plugin that a source file belongs to, at a cost that does not grow with plugins."""
        folder, inner = os.path.dirname(path), path  # noqa: PTH120 - for each line that is logged
        while folder not in self._by_folder and folder != inner:
            folder, inner = os.path.dirname(folder), folder  # noqa: PTH120 - (the same)
        ref = self._by_folder.get(folder)
        if ref is None or self.states[ref] is State.REMOVED:
            return None
        return ref if self.entries[ref].offer.folder == folder else None

    def present(self) -> Iterable[Entry]:
        """Every entry that is not removed, in the order of registration."""
        return (
            entry for ref, entry in self.entries.items() if self.states[ref] is not State.REMOVED
        )

    def ready_refs(self) -> list[PluginRef]:
        """The ready plugins in the order in which their setups ended."""
        return sorted(self.setup_order, key=self.setup_order.__getitem__)

    def status(self, entry: Entry) -> PluginStatus:
        """What is known of `entry` now."""
        return PluginStatus(
            ref=entry.ref,
            state=self.states[entry.ref],
            generation=entry.number if entry.generation is not None else 0,
            path=entry.offer.folder,
            error=entry.error if entry.error is not None else entry.degraded_by,
            pending=entry.pending,
            degraded=entry.degraded_by is not None,
            requires_restart=entry.requires_restart,
            stage=entry.stage,
            blocked_by=entry.blocked_by,
        )

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:
        """The plugins that have imported code of `ref`, whatever they depend on."""
        return frozenset().union(*(each.importers(ref) for each in self._runtimes.values()))

    def reached_by(self, refs: Iterable[PluginRef]) -> set[PluginRef]:
        """`refs`, and the plugins that depend on them or have imported their code."""
        reached: set[PluginRef] = set()
        frontier = {*refs}
        while frontier:
            reached |= frontier
            frontier = self.graph.downstream(frontier).union(*map(self.importers, frontier))
            frontier -= reached
        return reached

    def world(self) -> World:
        """What runs, for the planner. Views, not copies: plan before anything changes."""
        return World(
            graph=self.graph,
            states=self.states,
            setup_order=self.setup_order,
            priorities=self.priorities,
            importers=cache(self.importers),
        )
