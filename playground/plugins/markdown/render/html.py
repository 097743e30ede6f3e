"""Blocks to HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ..blocks import Block, Code, Heading, ItemList, Paragraph, Quote
from .inline import render_inline

if TYPE_CHECKING:
    from collections.abc import Iterable


def render(blocks: Iterable[Block]) -> str:
    return "\n".join(map(_render_block, blocks))


def _render_block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{render_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{render_inline(text)}</p>"
        case Quote(text):
            return f"<blockquote>{render_inline(text)}</blockquote>"
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case ItemList(items, ordered):
            tag = "ol" if ordered else "ul"
            rows = "".join(f"<li>{render_inline(item)}</li>" for item in items)
            return f"<{tag}>{rows}</{tag}>"
