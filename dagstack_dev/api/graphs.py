"""Pictures of what depends on what: each is laid out once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from os.path import commonpath
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.api.board import Breath
from dagstack_dev.api.models.plugins import Graph, GraphGroup, GraphNode
from dagstack_dev.api.problems import BAD_REQUEST, ProblemFound
from dagstack_dev.core.layout import BOX_HEIGHT, Topology, laying_out

if TYPE_CHECKING:
    from dagstack_dev.core.layout import Layout
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.snapshot import ServerSnapshot

MOST_KEPT: Final = 20

BY_HAND: Final = "by hand"
"""The group of plugins that lie in no folder: the app has registered them."""


class View(NamedTuple):
    """What a picture is to show.

    Attributes:
        around: the plugins that it is about, with what they depend on and what depends on them; all
            if there is none.
        steps: how far it goes from these, in dependencies.
        group_of: returns the group of a plugin; None where each plugin is shown by itself.
        opened: the groups of which each plugin is shown all the same.
    """

    around: Collection[PluginRef] = ()
    steps: float = 0
    group_of: Callable[[PluginRef], str] | None = None
    opened: Collection[str] = ()


def grouping(
    fold: str, snapshot: ServerSnapshot, roots: Sequence[str]
) -> Callable[[PluginRef], str] | None:
    """Return what returns the group of a plugin; None if none is asked for.

    Args:
        fold: "kind", "folder" or nothing.
        snapshot: all plugins.
        roots: the absolute folders that are watched.

    Raises:
        ProblemFound: it is something else.
    """
    if not fold:
        return None
    if fold == "kind":
        return lambda ref: ref.kind
    if fold != "folder":
        raise ProblemFound(BAD_REQUEST, f"fold is {fold!r}, and neither 'kind' nor 'folder'")
    top = commonpath(roots) if roots else "/"

    def folder_of(ref: PluginRef) -> str:
        path = snapshot.plugins[ref].status.path
        if path is None:
            return BY_HAND
        folder = PurePath(path).parent
        return str(folder.relative_to(top) if folder.is_relative_to(top) else folder)

    return folder_of


class Graphs:
    """Lays graphs out, and keeps the newest."""

    def __init__(self) -> None:
        self._kept: dict[str, Graph] = {}
        self._drawing = asyncio.Lock()

    async def graph(self, snapshot: ServerSnapshot, view: View) -> Graph:
        """Return plugins or their groups, what depends on what, and where each stands."""
        breath = Breath()
        picture = await _picture(snapshot, view, breath)
        await breath.draw()
        async with self._drawing:
            found = self._kept.pop(picture.key, None) or await picture.drawn(breath)
            self._kept[picture.key] = found  # As the newest.
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return found


@dataclass(frozen=True)
class _Picture:
    """What is in a picture.

    Attributes:
        topology: of plugins and groups.
        folded: the group that a node stands for, and its plugins, by the name of the node.
        sizes: how many plugins there are in each group, folded or not.
    """

    topology: Topology
    folded: Mapping[str, tuple[str, Sequence[str]]]
    sizes: Mapping[str, int]

    @cached_property
    def key(self) -> str:
        """A digest of all this."""
        return blake2b(repr(self).encode("utf-8", "replace"), digest_size=16).hexdigest()

    async def drawn(self, breath: Breath) -> Graph:
        """Return it with the places of its nodes."""
        names = self.topology.names
        sizes = {name: f" {len(plugins)}" for name, (_, plugins) in self.folded.items()}
        labels = tuple(f"{each}{sizes.get(each, '')}" for each in names)
        layout = await _laid_out(replace(self.topology, names=labels), breath)
        nodes = []
        async for name, box in breath.between(zip(names, layout.boxes, strict=True)):
            place: dict[str, Any] = {**box._asdict(), "height": BOX_HEIGHT}
            if name in self.folded:
                group, plugins = self.folded[name]
                nodes.append(GraphNode(group=group, plugins=list(plugins), **place))
            else:
                nodes.append(GraphNode(plugin=name, **place))
        return Graph(
            topology=self.key,
            width=layout.width,
            height=layout.height,
            nodes=nodes,
            edges=[(names[one], names[other]) for one, other in self.topology.edges],
            groups=[GraphGroup(name=name, size=size) for name, size in self.sizes.items()],
        )


async def _picture(snapshot: ServerSnapshot, view: View, breath: Breath) -> _Picture:
    graph = snapshot.graph
    shown = graph.around(view.around, view.steps) if view.around else snapshot.plugins
    names: dict[PluginRef, str] = {}
    groups: defaultdict[str, list[PluginRef]] = defaultdict(list)
    async for ref in breath.between(each for each in snapshot.plugins if each in shown):
        names[ref] = str(ref)
        if view.group_of is not None:
            groups[view.group_of(ref)].append(ref)
    folded: dict[str, tuple[str, list[str]]] = {}
    for group, members in groups.items():
        if len(members) > 1 and group not in view.opened:
            folded[f"{group}/*"] = group, sorted(names[each] for each in members)
            names |= dict.fromkeys(members, f"{group}/*")
    wants: defaultdict[str, set[str]] = defaultdict(set)
    async for ref, name in breath.between(names.items()):
        wants[name] |= {names[other] for other in graph.dependencies(ref) if other in names}
    for name in folded:
        wants[name].discard(name)
    sizes = {group: len(members) for group, members in sorted(groups.items())}
    return _Picture(Topology.of(wants), folded, sizes)


async def _laid_out(topology: Topology, breath: Breath) -> Layout:
    steps = laying_out(topology)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Layout = end.value
            return found
        await breath.draw()
