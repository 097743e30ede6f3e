"""Markdown to HTML."""

from __future__ import annotations

from .blocks import Heading, parse
from .render import render


class Markdown:
    """A small, safe subset of Markdown. It holds no state, so it needs no setup or teardown."""

    def to_html(self, source: str) -> str:
        return render(parse(source))

    def title(self, source: str, default: str = "Untitled") -> str:
        """Return the text of the first heading."""
        headings = (block.text for block in parse(source) if isinstance(block, Heading))
        return next(headings, default)
