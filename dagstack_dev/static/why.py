"""What would be reloaded for a file, and by which way; nothing is run to find out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.runtimes.in_process.plugin_finder import package_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.static.project import Project


@dataclass(slots=True)
class Link:
    """One link of a chain: what it is, how it hangs on the one before, and what hangs on it.

    Attributes:
        name: a module, or a plugin as `kind/name`.
        how: "imports it" or "depends on it"; "contains it" for the plugin that a file is part of.
        place: `path:line` of the import, or the path of the manifest.
        links: what would be reloaded in its turn.
    """

    name: str
    how: str
    place: str
    links: list[Link] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Why:
    """What a change of one file would reload.

    Attributes:
        path: the file.
        modules: the names under which it is imported.
        links: what would be reloaded; empty when nothing would.
        reason: why nothing would, in words.
    """

    path: str
    modules: tuple[str, ...] = ()
    links: Sequence[Link] = ()
    reason: str | None = None


def why(path: str, project: Project) -> Why:
    """Find what a change of the file at `path` would reload, as far as the text of the code shows.

    Imports inside functions count as if they had happened. Each plugin and module is named once,
    on a shortest way.

    Args:
        path: an absolute path; the file need not exist.
        project: the plugins, and where they may import from.
    """
    everywhere = (*project.roots, *project.code_roots)
    root = next((root for root in everywhere if lies_in(path, [root])), None)
    if root is None:
        return Why(path, reason="it is below none of the watched folders; see --watch-code")
    ref = project.owner(path)
    source = None if ref is None else project.plugins[ref][1]
    if source is not None and Path(path).is_file():
        is_ignored = path[len(source.folder) + 1 :] not in source.files
    else:
        is_ignored = project.rules.path(path[len(root) + 1 :])
    if is_ignored:
        return Why(path, reason="it is ignored")
    importers = project.modules.importers
    modules = sorted(set(project.modules.roots.names_of(path)))
    top = Link("", "", "")
    starts: list[tuple[PluginRef | str, Link]] = []
    if ref is not None and source is not None:
        top.links.append(Link(str(ref), "contains it", source.folder))
        starts += [(each, top.links[0]) for each in (package_name(ref), ref)]
    if path.endswith(".py"):
        starts += [(module, top) for module in modules]
    _follow(starts, importers, project.graph)
    links = _with_plugins(top.links, {str(ref) for ref in project.graph.refs})
    return Why(
        path,
        tuple(module for module in modules if module in importers),
        links,
        None if links else "no plugin imports it",
    )


def _follow(
    starts: Sequence[tuple[PluginRef | str, Link]],
    importers: Mapping[str, Mapping[PluginRef | str, str]],
    graph: DependencyGraph,
) -> None:
    """Hang on each of `starts` what imports or depends on it, level by level."""
    named: set[PluginRef | str] = {each for each, _ in starts if isinstance(each, PluginRef)}
    todo = deque(starts)
    while todo:
        above, link = todo.popleft()
        hanging: dict[PluginRef | str, str]
        if isinstance(above, PluginRef):
            how, hanging = "depends on it", dict.fromkeys(graph.dependents(above), "")
        else:
            how, hanging = "imports it", dict(importers.get(above, {}))
        for each in sorted(hanging.keys() - named, key=str):
            named.add(each)
            link.links.append(Link(str(each), how, hanging[each]))
            todo.append((each, link.links[-1]))


def _with_plugins(links: list[Link], plugins: set[str]) -> list[Link]:
    """Return `links` without the branches at whose end there is no plugin."""
    for link in links:
        link.links = _with_plugins(link.links, plugins)
    return [link for link in links if link.links or link.name in plugins]
