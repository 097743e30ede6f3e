"""What a running server knows at one moment: its plugins, and whether each runs what is on disk.

The event loop publishes these values, and the thread that answers for the server reads them:
nothing in them ever changes. Digests are computed when they are read, not when they are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from dagstack_dev.core.errors.files import AppFileInvalid
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import key_of
from dagstack_dev.core.refs import PluginRef

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.core.timeline import Edit


@dataclass(frozen=True)
class Inputs:
    """What one build of a plugin is made from, but for its dependencies.

    Attributes:
        source: its files; None for a plugin that the app has registered by hand.
        section: its section of the configuration, as text.
        shared: the fingerprints of the shared code that it imports, by path; None for what is
            not there.
        asked: how often a new instance was asked for without an edit.
    """

    source: PluginSource | None
    section: str = ""
    shared: Mapping[str, bytes | None] = field(default_factory=dict)
    asked: int = 0

    @cached_property
    def version(self) -> Hashable:
        """A digest of all this."""
        digest = blake2b(b"" if self.source is None else self.source.digest, digest_size=16)
        for path, fingerprint in sorted(self.shared.items()):
            digest.update(path.encode() + b"\0" + (fingerprint or b""))
        return digest.digest(), self.section, self.asked


class StateRecord(NamedTuple):
    """That a plugin came into a state.

    Attributes:
        state: the state.
        since: when, in seconds since the epoch.
        reason: why.
        error: what it failed of, a record (`core.recorded`).
    """

    state: State
    since: float
    reason: str = ""
    error: BaseException | None = None


class GenerationRecord(NamedTuple):
    """That a generation became ready.

    Attributes:
        number: the generation.
        since: when, in seconds since the epoch.
        edits: what differs from the files of the one before; None for the first that is known.
    """

    number: int
    since: float
    edits: Sequence[Edit] | None = None


@dataclass(frozen=True, slots=True, eq=False)  # It holds errors, which may not be comparable.
class PluginSnapshot:
    """One plugin at one moment.

    Attributes:
        status: its state, generation and error.
        history: the last states that it was in; this one comes last.
        running: what it runs from, or was last tried from.
        on_disk: what a restart would build it from; None where nothing is there any more.
        has_edit_waiting: whether an edit of it is held back, so that it is unknown what is on disk.
        pending_since: since when it is pending, in seconds since the epoch; None if it is not.
        setup_ms: how long its last setup took, in milliseconds; None before the first.
        generations: the last that became ready, as far as they were seen; one that a roll-back has
            brought back is there again.
        leaks: what was left of its last generations, a sentence each.
    """

    status: PluginStatus
    history: Sequence[StateRecord]
    running: Inputs
    on_disk: Inputs | None
    has_edit_waiting: bool = False
    pending_since: float | None = None
    setup_ms: float | None = None
    generations: Sequence[GenerationRecord] = ()
    leaks: Sequence[str] = ()

    @property
    def since(self) -> float:
        """When it came into its state, in seconds since the epoch."""
        return self.history[-1].since


@dataclass(frozen=True, slots=True)
class Receipt:
    """Whether what runs of a plugin is what is on disk.

    Attributes:
        is_current: whether it is ready, and so are the builds that it depends on, from what is on
            disk now.
        running: the key of what runs, None where nothing does: a digest of all that it was built
            from, the keys of its dependencies included.
        on_disk: the key of what a restart would run, None where nothing is on disk or an
            edit waits.
        behind: a dependency that is not current; None where it is current itself, or is not ready.
        chain: why it does not run, from the plugin to the root cause; empty where it does.
    """

    is_current: bool
    running: str | None
    on_disk: str | None
    behind: PluginRef | None = None
    chain: tuple[PluginRef | str, ...] = ()


@dataclass(frozen=True)
class ServerSnapshot:
    """All plugins at one moment.

    Attributes:
        number: counts the snapshots of one server.
        plugins: by ref, in the order of registration.
        graph: the dependencies in force.
        has_started: whether the first start has ended.
        refused: by path, why what is there is of no plugin, or is not in force: a folder whose
            manifest cannot be read, or whose name another one has; a broken configuration; a
            watched folder that is gone.
    """

    number: int
    plugins: Mapping[PluginRef, PluginSnapshot]
    graph: DependencyGraph
    has_started: bool = False
    refused: Mapping[str, BaseException] = field(default_factory=dict)
    _running: dict[PluginRef, bytes] = field(default_factory=dict, init=False, repr=False)
    _on_disk: dict[PluginRef, bytes] = field(default_factory=dict, init=False, repr=False)

    @property
    def total(self) -> int:
        """How many plugins there are, with those that have not even a name."""
        of_app = sum(isinstance(each, AppFileInvalid) for each in self.refused.values())
        return len(self.plugins) + len(self.refused) - of_app

    def updated(
        self,
        changed: Mapping[PluginRef, PluginSnapshot | None],
        graph: DependencyGraph,
        *,
        has_started: bool,
        refused: Mapping[str, BaseException],
    ) -> ServerSnapshot:
        """Return the next snapshot; it knows the keys of what depends on nothing that has changed.

        Args:
            changed: what differs from this one, None for what is gone.
            graph: the dependencies in force.
            has_started: whether the first start has ended.
            refused: by path, why what is there is not in force.
        """
        plugins = {ref: each for ref, each in {**self.plugins, **changed}.items() if each}
        after = ServerSnapshot(self.number + 1, plugins, graph, has_started, refused)
        if graph is self.graph:
            reached = graph.downstream(changed)
            for before, now in ((self._running, after._running), (self._on_disk, after._on_disk)):
                now.update(before)  # In one step: another thread may just add to it.
                for ref in reached:
                    now.pop(ref, None)
        return after

    def receipt(self, ref: PluginRef) -> Receipt:
        """Compare what runs of `ref` with what is on disk.

        Raises:
            KeyError: there is no such plugin.
        """
        is_live = self.plugins[ref].status.state is State.READY
        running, on_disk = self._keys(ref)
        is_current = self._is_current(ref)
        return Receipt(
            is_current=is_current,
            running=running.hex() if running is not None else None,
            on_disk=on_disk.hex() if on_disk is not None else None,
            behind=self._behind(ref) if is_live and not is_current else None,
            chain=() if is_live else self._chain(ref),
        )

    def _keys(self, ref: PluginRef) -> tuple[bytes | None, bytes | None]:
        """Return the key of what runs, and of what a restart would run."""
        plugin, running, on_disk = self.plugins[ref], None, None
        if plugin.status.state is State.READY:
            running = key_of(ref, self.graph, self._version_running, self._running)
        if plugin.on_disk is not None and not plugin.has_edit_waiting:
            on_disk = key_of(ref, self.graph, self._version_on_disk, self._on_disk)
        return running, on_disk

    def _is_current(self, ref: PluginRef) -> bool:
        running, on_disk = self._keys(ref)
        return running is not None and running == on_disk and not self.plugins[ref].status.pending

    def _behind(self, ref: PluginRef) -> PluginRef | None:
        known = filter(self.plugins.__contains__, self.graph.dependencies(ref))
        return next((each for each in known if not self._is_current(each)), None)

    def _version_running(self, ref: PluginRef) -> Hashable:
        plugin = self.plugins.get(ref)
        if plugin is None or plugin.status.state is not State.READY:
            return None
        return plugin.running.version

    def _version_on_disk(self, ref: PluginRef) -> Hashable:
        plugin = self.plugins.get(ref)
        if plugin is None or plugin.on_disk is None or plugin.has_edit_waiting:
            return None
        return plugin.on_disk.version

    def _chain(self, ref: PluginRef) -> tuple[PluginRef | str, ...]:
        """Follow what `ref` waits for down to what has failed, or is missing."""
        chain: dict[PluginRef | str, None] = {ref: None}
        while blockers := self.plugins[ref].status.blocked_by:
            blocker = PluginRef(*blockers[0].partition("/")[::2])
            if blocker not in self.plugins:
                return (*chain, blockers[0])
            if blocker in chain:
                break
            chain[ref := blocker] = None
        return tuple(chain)
