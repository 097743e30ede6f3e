"""Who depends on whom, as an immutable value."""

from __future__ import annotations

from collections import defaultdict
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.registry import AmbiguousPlugin, DependencyCycle, DependencyMissing
from dagstack_dev.core.refs import PluginRef

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.manifest.fields import PluginManifest

Key = TypeVar("Key")


class _Resolution(NamedTuple):
    edges: tuple[PluginRef, ...]
    missing: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()


_NOTHING: frozenset[PluginRef] = frozenset()


class DependencyGraph:
    """The dependencies of a set of plugins, resolved to refs.

    A bare name in `depends_on` means the only plugin of that name, whatever its kind; a
    `PluginRef` means itself. What resolves to nothing or to several plugins is no edge but a
    problem of the plugin (`problem`). The graph may hold cycles; `order` and `find_cycle` find
    them.
    """

    __slots__ = ("_by_name", "_dependents", "_mentions", "_resolved", "_wants")

    def __init__(self, wants: Mapping[PluginRef, Sequence[str | PluginRef]] | None = None) -> None:
        self._wants: dict[PluginRef, tuple[str | PluginRef, ...]] = {}
        self._resolved: dict[PluginRef, _Resolution] = {}
        self._dependents: dict[PluginRef, frozenset[PluginRef]] = {}
        self._by_name: dict[str, frozenset[PluginRef]] = {}
        self._mentions: dict[str, frozenset[PluginRef]] = {}
        if wants:
            self._apply({ref: tuple(names) for ref, names in wants.items()}, ())

    def __contains__(self, ref: object) -> bool:
        return ref in self._wants

    def __len__(self) -> int:
        return len(self._wants)

    @property
    def refs(self) -> AbstractSet[PluginRef]:
        """Every plugin of the graph."""
        return self._wants.keys()

    def dependencies(self, ref: PluginRef) -> tuple[PluginRef, ...]:
        """Return what `ref` depends on directly, as far as it resolves, in the order written."""
        resolution = self._resolved.get(ref)
        return resolution.edges if resolution else ()

    def wants(self, ref: PluginRef) -> tuple[str | PluginRef, ...]:
        """Return what `ref` depends on, as written in its manifest."""
        return self._wants[ref]

    def dependents(self, ref: PluginRef) -> AbstractSet[PluginRef]:
        """Return what depends on `ref` directly."""
        return self._dependents.get(ref, _NOTHING)

    def problem(self, ref: PluginRef) -> PluginRegistryError | None:
        """Return why the dependencies of `ref` do not resolve: missing or ambiguous, or None."""
        resolution = self._resolved[ref]
        if resolution.ambiguous:
            name = resolution.ambiguous[0]
            return AmbiguousPlugin.dependency(ref, name, sorted(self._by_name[name]))
        if resolution.missing:
            return DependencyMissing(ref, resolution.missing, known=self._by_name)
        return None

    def blockers(self, ref: PluginRef, is_up: Callable[[PluginRef], bool]) -> tuple[str, ...]:
        """Return what `ref` waits for: names that do not exist, and dependencies that are not up.

        Nothing where a name is ambiguous, for that is a failure.
        """
        resolution = self._resolved[ref]
        if resolution.ambiguous:
            return ()
        return (*resolution.missing, *(str(each) for each in resolution.edges if not is_up(each)))

    def updated(
        self,
        put: Mapping[PluginRef, Sequence[str | PluginRef]],
        drop: Iterable[PluginRef] = (),
    ) -> tuple[DependencyGraph, frozenset[PluginRef]]:
        """Return a new graph with `put` added or replaced and `drop` gone, except what is in `put`.

        Returns:
            The graph, and the plugins outside `put` whose dependencies now resolve differently.
            Apart from copying the tables, the cost grows with the change, not with the graph.
        """
        wanted = {ref: tuple(wants) for ref, wants in put.items()}
        changed = {ref: wants for ref, wants in wanted.items() if self._wants.get(ref) != wants}
        leaving = tuple(ref for ref in drop if ref in self._wants and ref not in wanted)
        if not changed and not leaving:
            return self, _NOTHING
        graph = DependencyGraph()
        graph._wants = self._wants.copy()
        graph._resolved = self._resolved.copy()
        graph._dependents = self._dependents.copy()
        graph._by_name = self._by_name.copy()
        graph._mentions = self._mentions.copy()
        return graph, graph._apply(changed, leaving) - wanted.keys()

    def _apply(
        self, put: dict[PluginRef, tuple[str | PluginRef, ...]], drop: tuple[PluginRef, ...]
    ) -> frozenset[PluginRef]:
        names = _Edits(self._by_name)
        mentions = _Edits(self._mentions)
        dependents = _Edits(self._dependents)

        for ref in drop:
            names.remove(ref.name, ref)
            for name in _mentioned(self._wants.pop(ref)):
                mentions.remove(name, ref)
            for target in self._resolved.pop(ref).edges:
                dependents.remove(target, ref)
        for ref, wants in put.items():
            if ref in self._wants:
                for name in _mentioned(self._wants[ref]):
                    mentions.remove(name, ref)
            else:
                names.add(ref.name, ref)
            self._wants[ref] = wants
            for name in _mentioned(wants):
                mentions.add(name, ref)
        renamed = names.commit()
        mentions.commit()

        touched = {
            ref for name in renamed for ref in self._mentions.get(name, _NOTHING)
        } | put.keys()
        rewired = set()
        for ref in touched:
            before = self._resolved.get(ref)
            after = self._resolve(self._wants[ref])
            if before == after:
                continue
            if ref not in put:
                rewired.add(ref)
            self._resolved[ref] = after
            for target in before.edges if before else ():
                dependents.remove(target, ref)
            for target in after.edges:
                dependents.add(target, ref)
        dependents.commit()
        return frozenset(rewired)

    def _resolve(self, wants: tuple[str | PluginRef, ...]) -> _Resolution:
        if not wants:
            return _Resolution(())
        edges: dict[PluginRef, None] = {}
        missing: list[str] = []
        ambiguous: list[str] = []
        for want in wants:
            if isinstance(want, PluginRef):
                if want in self._wants:
                    edges[want] = None
                else:
                    missing.append(str(want))
                continue
            found = self._by_name.get(want, _NOTHING)
            if len(found) == 1:
                edges[next(iter(found))] = None
            else:
                (ambiguous if found else missing).append(want)
        return _Resolution(tuple(edges), tuple(missing), tuple(ambiguous))

    def downstream(self, refs: Iterable[PluginRef]) -> set[PluginRef]:
        """`refs` and everything that depends on them, transitively."""
        return reach(refs, self.dependents)

    def around(self, refs: Collection[PluginRef], steps: float = inf) -> set[PluginRef]:
        """Return `refs`, what they depend on and what depends on them, in so many `steps`."""
        return reach(refs, self.dependencies, steps) | reach(refs, self.dependents, steps)

    def find_cycle(
        self, among: AbstractSet[PluginRef] | None = None
    ) -> tuple[PluginRef, ...] | None:
        """One cycle as the path that closes it, each plugin once, or None.

        The path begins with its smallest ref, so that the same cycle always reads the same.
        """
        pool = self._wants.keys() if among is None else among
        done: set[PluginRef] = set()
        for start in sorted(pool):
            if start in done:
                continue
            path: dict[PluginRef, None] = {start: None}
            stack = [iter(self.dependencies(start))]
            while stack:
                step = next(stack[-1], None)
                if step is None:
                    stack.pop()
                    done.add(path.popitem()[0])
                elif step in path:
                    refs = list(path)
                    cycle = refs[refs.index(step) :]
                    smallest = cycle.index(min(cycle))
                    return tuple(cycle[smallest:] + cycle[:smallest])
                elif step in pool and step not in done:
                    path[step] = None
                    stack.append(iter(self.dependencies(step)))
        return None

    def order(
        self, refs: Iterable[PluginRef], priority: Callable[[PluginRef], int]
    ) -> list[PluginRef]:
        """`refs` so that each comes after the ones it depends on; others are not looked at.

        Among plugins that may come next, the highest priority wins, then name, then kind
        (ADR-2).

        Raises:
            DependencyCycle: when there is no such order.
        """
        pool = set(refs)
        waiting: dict[PluginRef, int] = {}
        unlocks: defaultdict[PluginRef, list[PluginRef]] = defaultdict(list)
        startable: list[tuple[int, str, PluginRef]] = []
        for ref in pool:
            inside = [other for other in self.dependencies(ref) if other in pool]
            if inside:
                waiting[ref] = len(inside)
                for other in inside:
                    unlocks[other].append(ref)
            else:
                startable.append((-priority(ref), ref.name, ref))
        heapify(startable)
        ordered: list[PluginRef] = []
        while startable:
            ref = heappop(startable)[2]
            ordered.append(ref)
            for other in unlocks[ref]:
                waiting[other] -= 1
                if not waiting[other]:
                    heappush(startable, (-priority(other), other.name, other))
        if len(ordered) < len(pool):
            stuck = pool.difference(ordered)
            raise DependencyCycle(self.find_cycle(stuck) or sorted(stuck))
        return ordered


def reach(
    start: Iterable[Key], neighbours: Callable[[Key], Iterable[Key]], steps: float = inf
) -> set[Key]:
    """Return `start` and everything that is reached from it through `neighbours` in `steps`."""
    reached = set(start)
    frontier = reached
    while frontier and steps > 0:
        frontier = {other for each in frontier for other in neighbours(each)} - reached
        reached |= frontier
        steps -= 1
    return reached


class _Edits(Generic[Key]):
    """Additions to and removals from a table of frozen sets, applied once per key."""

    def __init__(self, table: dict[Key, frozenset[PluginRef]]) -> None:
        self._table = table
        self._edited: dict[Key, set[PluginRef]] = {}

    def _open(self, key: Key) -> set[PluginRef]:
        if key not in self._edited:
            self._edited[key] = set(self._table.get(key, _NOTHING))
        return self._edited[key]

    def add(self, key: Key, ref: PluginRef) -> None:
        self._open(key).add(ref)

    def remove(self, key: Key, ref: PluginRef) -> None:
        self._open(key).discard(ref)

    def commit(self) -> list[Key]:
        """Write the edited sets back; return the keys whose set differs."""
        changed = []
        for key, refs in self._edited.items():
            if refs == self._table.get(key, _NOTHING):
                continue
            changed.append(key)
            if refs:
                self._table[key] = frozenset(refs)
            else:
                del self._table[key]
        return changed


def _mentioned(wants: tuple[str | PluginRef, ...]) -> set[str]:
    return {want.name if isinstance(want, PluginRef) else want for want in wants}


def topo_sort(manifests: Iterable[PluginManifest]) -> list[PluginManifest]:
    """`manifests` in the order in which `setup_all` starts them.

    Dependencies that are not among `manifests` are ignored, as in the dagstack plugin system.

    Raises:
        DependencyCycle: when the dependencies close a cycle.
        AmbiguousPlugin: when two manifests share kind and name, or a bare dependency name
            exists in two kinds.
    """
    by_ref: dict[PluginRef, PluginManifest] = {}
    for manifest in manifests:
        if manifest.ref in by_ref:
            raise AmbiguousPlugin.duplicate(manifest.ref, ("one manifest", "another"))
        by_ref[manifest.ref] = manifest
    graph = DependencyGraph({ref: manifest.depends_on for ref, manifest in by_ref.items()})
    for ref in by_ref:
        problem = graph.problem(ref)
        if isinstance(problem, AmbiguousPlugin):
            raise problem
    return [by_ref[ref] for ref in graph.order(by_ref, lambda ref: by_ref[ref].priority)]
