"""`dagstack-dev why`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from rich.text import Text
from rich.tree import Tree

from dagstack_dev.app.why import Link, why
from dagstack_dev.cli.excerpts import short
from dagstack_dev.cli.screen import Screen
from dagstack_dev.disk.paths import root_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(file: Path, roots: Sequence[Path], code_roots: Sequence[Path]) -> int:
    """Print what a change of `file` would reload; return the exit code.

    Raises:
        click.UsageError: a folder does not exist, or none is given, or `file` is one.
    """
    if file.expanduser().is_dir():
        msg = f"{file}: is a folder; name a file in it"
        raise click.UsageError(msg)
    if not roots:
        msg = "name the folder with the plugins too: dagstack-dev why FILE plugins/"
        raise click.UsageError(msg)
    try:
        found = why(
            os.path.normpath(file.expanduser().absolute()),
            [root_folder(path) for path in roots],
            [root_folder(path, holds="code") for path in code_roots],
        )
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    screen = Screen(soft_wrap=True)
    if found.reason is not None:
        missing = "" if os.path.lexists(found.path) else "; there is no such file"
        screen.print(f"{short(found.path)}: a change reloads nothing: {found.reason}{missing}")
        return 0
    names = f"  {', '.join(found.modules)}" if found.modules else ""
    tree = Tree(Text.assemble(short(found.path), (names, "dim")))
    _add(tree, found.links)
    screen.print(tree)
    return 0


def _add(tree: Tree, links: Sequence[Link]) -> None:
    for link in links:
        place = f"  {short(link.place)}" if link.place else ""
        _add(
            tree.add(Text.assemble((link.name, "bold"), f" {link.how}", (place, "dim"))), link.links
        )
