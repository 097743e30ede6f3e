"""`dagstack-dev docs`."""

from __future__ import annotations

import click

from dagstack_dev.cli.output import printable
from dagstack_dev.manual import NoSuchPage, pages, read, search


def show_page(address: str) -> int:
    """Print a page or a section, at a terminal in a pager; return the exit code.

    Raises:
        click.UsageError: there is none.
    """
    try:
        text = read(address)
    except NoSuchPage as error:
        raise click.UsageError(f"{error} (`dagstack-dev docs` lists the pages)") from error
    click.echo_via_pager(text)
    return 0


def list_pages() -> int:
    """Print the name and title of each page; return the exit code."""
    known = pages()
    width = max(len(each.name) for each in known)
    for each in known:
        click.echo(f"{each.name:<{width}}  {each.title}")
    return 0


def find(words: str) -> int:
    """Print which sections are about some words; return the exit code, 1 if none is."""
    hits = search(words)
    for each in hits:
        click.echo(printable(f"{each.section.address}\n  {each.excerpt}"))
    if not hits:
        click.echo(printable(f"dagstack-dev: no page says {words!r}"), err=True)
    return 0 if hits else 1
