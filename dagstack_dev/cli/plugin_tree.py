"""The plugins of a registry as a tree of what depends on what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text
from rich.tree import Tree

from dagstack_dev.cli.wording import short, spaced
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.static.tree import tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry.registry import Registry

_STYLES: Final = {
    State.READY: "green",
    State.FAILED: "bold red",
    State.BLOCKED: "yellow",
}


def plugin_tree(
    title: Text, statuses: Mapping[PluginRef, PluginStatus], registry: Registry
) -> Tree:
    """Draw some plugins, each below the one of its dependencies that was set up last before it."""
    graph, order = registry.table.graph, registry.table.setup_order
    branches: dict[PluginRef | None, Tree] = {None: Tree(title, guide_style="dim")}
    drawn = sorted(statuses, key=lambda ref: (order.get(ref, len(order) + 1), ref))
    for branch in tree(drawn, graph.dependencies):
        text = label(statuses[branch.key], registry)
        if branch.others:
            text.append(f"  + {', '.join(map(str, branch.others))}", "dim")
        branches[branch.key] = branches[branch.parent].add(text)
    return branches[None]


def label(status: PluginStatus, registry: Registry) -> Text:
    """Return the line of one plugin: its state, and what it waits for."""
    text = Text.assemble(
        (str(status.ref), "bold"), "  ", (spaced(status.state), _STYLES.get(status.state, "dim"))
    )
    for flag, name in (
        (status.pending, "not what is on disk"),
        (status.degraded, "degraded"),
        (status.requires_restart, "needs a restart"),
    ):
        if flag:
            text.append(f", {name}", "yellow")
    if status.blocked_by:
        text.append(f" by {blockers(status.ref, status.blocked_by, registry)}", "yellow")
    return text


def blockers(ref: PluginRef, blocked_by: Iterable[str], registry: Registry) -> str:
    """Name what `ref` waits for; where no plugin has the name, with its line and close matches."""
    known = {entry.ref.name for entry in registry.table.present()}
    return ", ".join(
        name
        if name in known or name.rpartition("/")[2] in known
        else f"{name}, which does not exist{did_you_mean(name, known)}{_place(ref, name, registry)}"
        for name in blocked_by
    )


def _place(ref: PluginRef, name: str, registry: Registry) -> str:
    entry = registry.table.entries.get(ref)
    source = entry.revision.source if entry is not None else None
    line = line_in(source, "depends_on", name) if source is not None else None
    return f" ({short(source.manifest_path)}:{line})" if source is not None and line else ""
