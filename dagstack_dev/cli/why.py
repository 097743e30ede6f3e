"""`dagstack-dev why`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text
from rich.tree import Tree

from dagstack_dev.cli.project import project_of
from dagstack_dev.cli.screen import Screen
from dagstack_dev.cli.wording import short
from dagstack_dev.static.why import Link, why

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(file: Path, paths: Sequence[Path], **selection: Any) -> int:
    """Print what a change of `file` would reload; return the exit code.

    Args:
        file: the file.
        paths: folders with plugins.
        selection: what of them counts, and which code beside them; see `project_of`.

    Raises:
        click.UsageError: a folder does not exist, or none is given, or `file` is one.
    """
    if file.expanduser().is_dir():
        msg = f"{file}: is a folder; name a file in it"
        raise click.UsageError(msg)
    project = project_of("why FILE", paths, **selection)
    found = why(os.path.normpath(file.expanduser().absolute()), project)
    screen = Screen(soft_wrap=True)
    missing = "" if os.path.lexists(found.path) else "there is no such file"
    if found.reason is not None:
        words = "; ".join(filter(None, (missing, f"a change reloads nothing: {found.reason}")))
        screen.print(f"{short(found.path)}: {words}")
        return 0
    beside = ", ".join(filter(None, (missing, *found.modules)))
    tree = Tree(Text.assemble(short(found.path), (f"  {beside}" if beside else "", "dim")))
    _add(tree, found.links)
    screen.print(tree)
    return 0


def _add(tree: Tree, links: Sequence[Link]) -> None:
    for link in links:
        place = f"  {short(link.place)}" if link.place else ""
        _add(
            tree.add(Text.assemble((link.name, "bold"), f" {link.how}", (place, "dim"))), link.links
        )
