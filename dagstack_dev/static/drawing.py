"""Plugins and what each depends on, as text that other programs draw, and as a picture."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.layout import BOX_HEIGHT, GAP, Topology, layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagstack_dev.core.layout import Box


@dataclass(frozen=True, slots=True)
class Node:
    """One plugin of a picture.

    Attributes:
        name: `kind/name`, or the folder where the manifest cannot be read.
        path: its folder.
        runtimes: what its manifest says.
        depends_on: names of other nodes.
        error: why it cannot be set up by its own fault; empty where it can.
        waits_for: what it would wait for in vain.
        load: how a reload would get its next instance, `import` or `renew`; empty without one.
    """

    name: str
    path: str
    runtimes: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    error: str = ""
    waits_for: tuple[str, ...] = ()
    load: str = ""

    @property
    def look(self) -> str:
        """How it is drawn: `failed`, `blocked`, `import`, `renew` or nothing of that."""
        return "failed" if self.error else "blocked" if self.waits_for else self.load


def mermaid(nodes: Sequence[Node]) -> str:
    """Return a flow chart for Mermaid, with an arrow from each plugin to what it depends on."""
    number = {each.name: f"p{at}" for at, each in enumerate(nodes)}
    lines = ["flowchart RL"]
    for each in nodes:
        look = f":::{each.look}" if each.look else ""
        lines.append(f'    {number[each.name]}["{html.escape(each.name)}"]{look}')
    lines += [f"    {number[one]} --> {number[other]}" for one, other in _edges(nodes)]
    lines += [
        f"    classDef {look} fill:{_FILL[look]},stroke:{_STROKE[look]},color:#000"
        for look in dict.fromkeys(each.look for each in nodes if each.look)
    ]
    return "\n".join(lines)


def dot(nodes: Sequence[Node]) -> str:
    """Return a graph for Graphviz, with an arrow from each plugin to what it depends on."""
    lines = ["digraph plugins {", "    rankdir=RL;", "    node [shape=box, style=filled];"]
    for each in nodes:
        looks = f'fillcolor="{_FILL[each.look]}", color="{_STROKE[each.look]}"'
        lines.append(f"    {_quoted(each.name)} [{looks}];")
    lines += [f"    {_quoted(one)} -> {_quoted(other)};" for one, other in _edges(nodes)]
    return "\n".join([*lines, "}"])


def svg(nodes: Sequence[Node]) -> str:
    """Return a picture: each plugin to the right of all that it depends on."""
    topology = Topology.of({each.name: each.depends_on for each in nodes})
    found = layout(topology)
    boxes = dict(zip(topology.names, found.boxes, strict=True))
    return _SVG.format(
        width=found.width,
        height=found.height,
        lines="\n".join(_line(boxes[one], boxes[other]) for one, other in _edges(nodes)),
        boxes="\n".join(_box(each, boxes[each.name]) for each in nodes),
    )


_SVG: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" \
font-family="monospace" font-size="13" text-anchor="middle">
<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="#789"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
<g fill="none" stroke="#789" marker-end="url(#arrow)">
{lines}
</g>
{boxes}
</svg>"""
_FILL: Final = {
    "": "#f4f6f8",
    "failed": "#ffd7d5",
    "blocked": "#fff0b8",
    "import": "#cfe8ff",
    "renew": "#e3f1e0",
}
_STROKE: Final = {
    "": "#57606a",
    "failed": "#b42318",
    "blocked": "#9a6700",
    "import": "#0b62c4",
    "renew": "#2f7d32",
}


def _line(one: Box, other: Box) -> str:
    """Return the arrow from a plugin to what it depends on."""
    x, y, to_x, to_y = (
        one.x,
        one.y + BOX_HEIGHT / 2,
        other.x + other.width,
        other.y + BOX_HEIGHT / 2,
    )
    bend = max((x - to_x) / 2, GAP)
    return f'<path d="M{x:g} {y:g}C{x - bend:g} {y:g} {to_x + bend:g} {to_y:g} {to_x:g} {to_y:g}"/>'


def _box(node: Node, box: Box) -> str:
    why = node.error or (f"waits for {', '.join(node.waits_for)}" if node.waits_for else node.load)
    title = f"<title>{html.escape(why)}</title>" if why else ""
    x, y, width, _ = box
    return (
        f'<g>{title}<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX_HEIGHT}" rx="4" '
        f'fill="{_FILL[node.look]}" stroke="{_STROKE[node.look]}"/>'
        f'<text x="{x + width / 2:g}" y="{y + 17:g}">{html.escape(node.name)}</text></g>'
    )


def _edges(nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    drawn = {each.name for each in nodes}
    return ((each.name, other) for each in nodes for other in each.depends_on if other in drawn)


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
