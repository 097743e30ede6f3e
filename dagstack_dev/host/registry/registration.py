"""What it takes to register plugins: free names, an order to load them in, a way to undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.errors.registry import (
    AmbiguousPlugin,
    DependencyCycle,
    HookspecMissing,
    KindVersionIncompatible,
)
from dagstack_dev.core.hookspecs.classes import spec_of
from dagstack_dev.core.hookspecs.kinds import KindSpec, problem_of
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.fields import ExecutionModel
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import copy_of
from dagstack_dev.host.plugins.preparation import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.hookspecs.kinds import Kinds
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry, Revision
    from dagstack_dev.host.plugins.table import PluginTable
    from dagstack_dev.host.reload.runner import LifecycleRunner


def refuse_taken(table: PluginTable, revisions: Iterable[Revision]) -> None:
    """Pass silently if every kind and name of `revisions` is new, and there only once.

    Raises:
        AmbiguousPlugin: one is not; the first, others attached.
    """
    seen: dict[PluginRef, list[str]] = {}
    errors = []
    for revision in revisions:
        known = table.entries.get(revision.ref)
        if known is not None and table.states[revision.ref] is not State.REMOVED:
            seen.setdefault(revision.ref, [_place(known.revision)])
        places = seen.setdefault(revision.ref, [])
        places.append(_place(revision))
        if len(places) > 1:
            errors.append(AmbiguousPlugin.duplicate(revision.ref, places))
    if errors:
        raise errors[0].with_others(errors[1:])


def refuse_second_fallback(table: PluginTable, revisions: Iterable[Revision]) -> None:
    """Pass silently if no kind has two plugins with `fallback = true` (ADR-2).

    Raises:
        AmbiguousPlugin: one has; the first, others attached.
    """
    new = [revision for revision in revisions if revision.manifest.fallback]
    if not new:
        return
    known = {entry.ref.kind: entry.revision for entry in table.present() if entry.manifest.fallback}
    errors = []
    for revision in new:
        first = known.setdefault(revision.ref.kind, revision)
        if first is not revision:
            errors.append(AmbiguousPlugin.fallback([first.ref, revision.ref], _place(revision)))
    if errors:
        raise errors[0].with_others(errors[1:])


def refuse_undeclared(table: PluginTable, kinds: Kinds) -> None:
    """Pass silently if every plugin that is loaded may be of its kind.

    Raises:
        HookspecMissing, KindVersionIncompatible: one may not; the first, others attached.
    """
    errors: list[PluginRegistryError] = []
    for entry in table.present():
        if entry.instance is not None:
            try:
                kinds.check(entry.manifest, entry.revision.folder)
            except (HookspecMissing, KindVersionIncompatible) as error:
                errors.append(error)
    if errors:
        raise errors[0].with_others(errors[1:])


def _place(revision: Revision) -> str:
    return revision.folder or "the host's own registration"


def graph_of_present(table: PluginTable, revisions: Iterable[Revision] = ()) -> DependencyGraph:
    """Return the dependencies of everything that is registered now, and of `revisions`."""
    wants = {entry.ref: entry.manifest.depends_on for entry in table.present()}
    wants |= {revision.ref: revision.manifest.depends_on for revision in revisions}
    gone = table.graph.refs - wants.keys()
    graph, _ = table.graph.updated(wants, gone)
    return graph


def full_order(table: PluginTable) -> list[PluginRef]:
    """Return all plugins in the order in which they may be set up.

    Raises:
        DependencyCycle: they close a cycle.
        DependencyMissing, AmbiguousPlugin: a name in `depends_on` means no plugin, or several; the
            first, others attached.
    """
    refs = [entry.ref for entry in table.present()]
    problems = [problem for ref in refs if (problem := table.graph.problem(ref)) is not None]
    cycle = table.graph.find_cycle()
    if cycle is not None:
        problems = [DependencyCycle(cycle)]
    for problem in problems:
        if problem.ref is not None:
            locate(problem, table.entries[problem.ref].revision.source)
    if problems:
        raise problems[0].with_others(problems[1:])
    return table.graph.order(refs, lambda ref: table.priorities.get(ref, 0))


def load_order(refs: Sequence[PluginRef], graph: DependencyGraph) -> list[PluginRef]:
    """Return `refs` by dependency, as far as there is such an order, else as they are."""
    pool = set(refs)
    while (cycle := graph.find_cycle(pool)) is not None:
        members = set(cycle)
        outside = {
            ref: [other for other in graph.dependencies(ref) if other not in members]
            for ref in cycle
        }
        graph, _ = graph.updated(outside)
    places = {ref: place for place, ref in enumerate(refs)}
    return graph.order(refs, lambda ref: -places[ref])


def load_all(runner: LifecycleRunner, refs: Iterable[PluginRef], reason: str) -> None:
    """Load all of `refs`, in topological order; raise the first error, others attached."""
    errors: list[PluginRegistryError] = []

    def load(ref: PluginRef) -> None:
        entry = runner.table.entries[ref]
        try:
            if entry.revision.prepared is None:
                raise _why_not_loaded(entry)
            runner.load(entry, Load.IMPORT, reason, is_open=True)
        except PluginRegistryError as error:
            errors.append(error)

    runner.queue.run(refs, load)
    if errors:
        raise errors[0].with_others(errors[1:])


def _why_not_loaded(entry: Entry) -> PluginRegistryError:
    """Return the error of a plugin that cannot even be tried."""
    if isinstance(entry.error, PluginRegistryError):
        return copy_of(entry.error)
    return PluginUnavailable(entry.ref, entry.gate.refusal or "it has never been loaded")


def forget(table: PluginTable, entry: Entry) -> None:
    """Undo a registration that did not come to an end."""
    generation = entry.generation
    table.removed(
        entry, "another plugin could not be registered", refusal="its registration was undone"
    )
    if generation is not None:
        generation.retire()


def as_spec(spec: object) -> KindSpec:
    """Return the kind that a decorated class, or a value, declares.

    Raises:
        TypeError: it is neither.
        ValueError: no plugin can have one of its hooks.
    """
    if isinstance(spec, KindSpec):
        for hook in spec.hooks:
            if problem := problem_of("name", hook.name):
                raise ValueError(f"kind {spec.kind}: hook {problem}")
        return spec
    found = spec_of(spec) if isinstance(spec, type) else None
    if found is None:
        name = getattr(spec, "__qualname__", f"a {type(spec).__name__}")
        cure = "decorate it with @hookspecs(kind=...)"
        if isinstance(spec, tuple | list):
            cure = "pass what is in it: add_hookspecs(*specs)"
        raise TypeError(f"{name} is no hookspec; {cure}")
    return found


def refuse_process(manifest: PluginManifest) -> None:
    """Refuse a process of its own to a plugin object that the host has made in this one.

    Raises:
        ManifestInvalid: the manifest asks for one.
    """
    if manifest.execution_model is ExecutionModel.PROCESS_CPU_BOUND:
        message = (
            "'process_cpu_bound' is for plugins that are loaded from a folder; this object lives "
            "in this process already"
        )
        problem = ManifestProblem("execution_model", message)
        raise ManifestInvalid("<manifest>", [problem], ref=manifest.ref)
