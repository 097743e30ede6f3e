"""What is known of the plugins of a registry, to be read."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.calls import PluginNotSetUp
from dagstack_dev.core.frames import callers
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.lifecycle import PluginStatus, State
from dagstack_dev.core.manifest.parsing import place_of_dependencies
from dagstack_dev.core.plan import World

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from dagstack_dev.core.ports import Generation, Runtime
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry

_UP: Final = frozenset({State.READY, State.TEARING_DOWN})
"""The states in which a plugin may call any other: its setup has ended."""


class PluginView:
    """The plugins of a registry by ref, and how they hang together.

    Args:
        runtimes: those that serve the plugins, by name.

    Attributes:
        entries: all plugins that ever were, in the order of registration.
        states: where each is in its life.
        graph: the dependencies in force.
        setup_order: the plugins that are set up, each with its place in the order of setups.
        draining: since when plugins wait for their calls to end, in running time.
        pending: those of which something newer is not in force.
        priorities: those of the manifests in force.
    """

    def __init__(self, runtimes: Mapping[str, Runtime]) -> None:
        self.entries: dict[PluginRef, Entry] = {}
        self.states: dict[PluginRef, State] = {}
        self.graph = DependencyGraph()
        self.setup_order: dict[PluginRef, int] = {}
        self.draining: dict[PluginRef, float] = {}
        self.pending: set[PluginRef] = set()
        self.priorities: dict[PluginRef, int] = {}
        self._runtimes = runtimes
        self._by_folder: defaultdict[str | None, dict[PluginRef, None]] = defaultdict(dict)

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
            path=entry.offer.folder,
            error=entry.error if entry.error is not None else entry.degraded_by,
            pending=entry.pending,
            degraded=entry.degraded_by is not None,
            requires_restart=entry.requires_restart,
            stage=entry.stage,
            blocked_by=entry.blocked_by,
        )

    # Where their code lies

    def plugin_at(self, path: str) -> PluginRef | None:
        """Return the plugin that a source file belongs to, as quickly for many plugins as few."""
        folder, inner = os.path.dirname(path), path  # noqa: PTH120 - for each line that is logged
        while folder not in self._by_folder and folder != inner:
            folder, inner = os.path.dirname(folder), folder  # noqa: PTH120 - (the same)
        return next(iter(self.owners(folder)), None)

    def owners(self, folder: str) -> list[PluginRef]:
        """Return the plugins that were loaded from `folder`: the one that runs, then the latest."""
        latest = reversed(self._by_folder.get(folder, ()))
        return sorted(latest, key=lambda ref: ref not in self.setup_order)

    # How they hang together

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:
        """Return the plugins that have imported code of `ref`, whatever they depend on."""
        return frozenset().union(*(each.importers(ref) for each in self._runtimes.values()))

    def undone(self, generations: Mapping[PluginRef, Generation | None]) -> set[PluginRef]:
        """Return what has to be imported anew though its code has not changed.

        That is code whose teardown has taken out of other modules what only the import puts there,
        and code that has imported it.

        Args:
            generations: those that are about to be set up again, by plugin.
        """
        found = {ref for ref, each in generations.items() if each is not None and each.is_undone}
        frontier = [*found]
        while frontier:
            importers = (self.importers(frontier.pop()) & generations.keys()) - found
            found |= importers
            frontier += importers
        return found

    def reached_by(self, refs: Iterable[PluginRef]) -> set[PluginRef]:
        """Return `refs`, and the plugins that depend on them or have imported their code."""
        reached: set[PluginRef] = set()
        frontier = {*refs}
        while frontier:
            reached |= frontier
            frontier = self.graph.downstream(frontier).union(*map(self.importers, frontier))
            frontier -= reached
        return reached

    def world(
        self,
        version: Callable[[PluginRef], Hashable],
        problem: Callable[[PluginRef], BaseException | None],
        content: Callable[[str], Hashable],
    ) -> World:
        """Return what runs, for the planner. Views, not copies: plan before anything changes.

        Args:
            version: see `World`.
            problem: likewise.
            content: likewise.
        """
        graph = self.graph
        return World(
            graph=graph,
            states=self.states,
            setup_order=self.setup_order,
            priorities=self.priorities,
            importers=cache(lambda ref: self.importers(ref) & graph.refs),  # Not what just leaves.
            version=version,
            problem=problem,
            content=content,
        )

    def too_early(
        self,
        ref: PluginRef,
        callers: Sequence[PluginRef],
        *,
        can_wait: bool,
    ) -> PluginNotSetUp | None:
        """Return why a call must not wait until `ref`, whose gate is closed, has been set up.

        It comes from the import or setup of a plugin that does not depend on `ref`: in another
        order, or with `ref` waiting for that setup in turn, there would be no instance to answer.
        Where the setup of `ref` is under way, it can be waited for.

        Args:
            ref: the plugin that is called.
            callers: those that the call comes from, the innermost first; none for the app.
            can_wait: whether the call may wait at all.
        """
        states = self.states
        if states[ref] in _UP or (can_wait and states[ref] is State.SETTING_UP):
            return None
        known = [each for each in callers or self._on_stack() if each in states]
        if all(states[each] in _UP for each in known):
            return None
        path, line = place_of_dependencies(self.entries[known[0]].offer.source)
        below = next((each for each in known if ref in self.graph.downstream([each])), None)
        return PluginNotSetUp(
            ref, below or known[0], path=path, line=line, is_downstream=below is not None
        )

    def _on_stack(self) -> Iterator[PluginRef]:
        """Yield the plugins whose code is on the stack, the innermost first."""
        for frame in callers(sys._getframe(1)):  # noqa: SLF001 - there is no other way
            ref = self.plugin_at(frame.f_code.co_filename)
            if ref is not None:
                yield ref
