"""What a start would do with some plugins, and what a save of a file; nothing is run to find out.

The planner decides, as it does in the running server. For a save, all runs that can be set up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import said
from dagstack_dev.core.errors.registry import AmbiguousPlugin
from dagstack_dev.core.graph import DependencyGraph, reach
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Candidate, SharedNews, World
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.runtimes.in_process.plugin_finder import package_name
from dagstack_dev.static.drawing import Node
from dagstack_dev.static.why import why

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.plan import ReloadPlan
    from dagstack_dev.static.project import Project

_NOTHING = World(DependencyGraph(), {}, {})


@dataclass(frozen=True)
class Start:
    """What a start would do with the plugins of `project`."""

    project: Project

    @cached_property
    def plan(self) -> ReloadPlan:
        """The whole of it."""
        return plan_reload(_NOTHING, map(self.candidate, self.project.plugins))

    @cached_property
    def order(self) -> Sequence[PluginRef]:
        """The plugins that would be set up, in that order, whatever part they are in."""
        manifests = self.project.plugins
        ready = (each.ref for part in self.plan.transactions for each in part.set_up)
        return self.project.graph.order(ready, lambda ref: manifests[ref][0].priority)

    @cached_property
    def nodes(self) -> Sequence[Node]:
        """All plugins: in the order of their setup, then what waits, then what fails."""
        plugins, parts = self.project.plugins, self.plan.transactions
        down = {each.ref: each for part in parts for each in (*part.block, *part.fail)}
        nodes = []
        for ref in (*self.order, *down):
            manifest, source = plugins[ref]
            nodes.append(
                Node(
                    str(ref),
                    source.folder,
                    manifest.runtime,
                    tuple(map(str, self.project.graph.dependencies(ref))),
                    error=_in_words(ref, down[ref].error) if ref in down else "",
                    waits_for=down[ref].blocked_by if ref in down else (),
                )
            )
        unread = self.unread.items()
        return [*nodes, *(Node(folder, folder, error=said(error)) for folder, error in unread)]

    @cached_property
    def unread(self) -> Mapping[str, PluginRegistryError]:
        """The folders whose manifest cannot be read, and why."""
        return {
            folder: error
            for folder, error in self.project.errors.items()
            if folder in self.project.sources and self._owner(folder, error) is None
        }

    @cached_property
    def world(self) -> World:
        """What would run after it."""
        plugins = self.project.plugins
        order = {ref: number for number, ref in enumerate(self.order)}
        return World(
            self.project.graph,
            {ref: State.READY if ref in order else State.FAILED for ref in plugins},
            order,
            {ref: manifest.priority for ref, (manifest, _) in plugins.items()},
            importers=lambda ref: _importers(self.project, package_name(ref)) - {ref},
            problem=self._errors.get,
        )

    def candidate(self, ref: PluginRef) -> Candidate:
        """Return what there is of `ref`, for the planner."""
        manifest, source = self.project.plugins[ref]
        wants, priority = manifest.depends_on, manifest.priority
        return Candidate(ref, source.folder, wants, priority, error=self._errors.get(ref))

    @cached_property
    def _errors(self) -> dict[PluginRef, PluginRegistryError]:
        """Why plugins cannot be built; a name that two folders claim is the fault of both."""
        errors = self.project.errors.items()
        return {
            ref: error
            for folder, error in errors
            if (ref := self._owner(folder, error)) is not None
        }

    def _owner(self, folder: str, error: PluginRegistryError) -> PluginRef | None:
        return error.ref if isinstance(error, AmbiguousPlugin) else self._folders.get(folder)

    @cached_property
    def _folders(self) -> dict[str, PluginRef]:
        return {source.folder: ref for ref, (_, source) in self.project.plugins.items()}


def save(start: Start, path: str) -> ReloadPlan | str:
    """Return what a save of the file at `path` would do after `start`, or why it would do nothing.

    The file is taken to hold no mistake then.

    Args:
        start: what runs.
        path: an absolute path; the file need not exist.
    """
    project = start.project
    if lies_in(path, [*start.unread]):
        return "it belongs to a plugin whose manifest cannot be read"
    found = why(path, project)
    if found.reason is not None:
        return found.reason
    changes = []
    if users := frozenset(filter(start.world.is_live, _importers(project, *found.modules))):
        changes.append(SharedNews(path, users, reason=f"it imports {path}, which changed"))
    candidates, ref = [], project.owner(path)
    if ref is not None:
        candidate = start.candidate(ref)
        error = candidate.error
        reason = f"{path[len(candidate.place) + 1 :]} changed"
        is_mended = error is not None and error.path == path
        candidates.append(replace(candidate, reason=reason, error=None if is_mended else error))
    return plan_reload(start.world, candidates, shared=changes)


def _in_words(ref: PluginRef, error: BaseException | None) -> str:
    return "" if error is None else said(error).removeprefix(f"{ref}: ")


def _importers(project: Project, *modules: str) -> set[PluginRef]:
    """Return the plugins that import any of `modules`, directly or through shared code."""
    importers = project.modules.importers
    names: Iterable[PluginRef | str] = modules
    found = reach(
        names, lambda each: () if isinstance(each, PluginRef) else importers.get(each, ())
    )
    return {each for each in found if isinstance(each, PluginRef)}
