"""Markup inside a line: code, emphasis, links and shortcodes."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import urlsplit

from .shortcodes import SHORTCODES

_MARKUP = re.compile(
    r"""
      `(?P<code>[^`]+)`
    | \*\*(?P<strong>.+?)\*\*
    | \*(?P<emphasis>[^*]+)\*
    | \[(?P<label>[^\]]+)\]\((?P<link>[^)\s]+)\)
    | :(?P<shortcode>[a-z_]+):
    """,
    re.VERBOSE | re.DOTALL,
)
_SAFE_SCHEMES = {"", "http", "https", "mailto"}


def render_inline(text: str) -> str:
    """Render markup and escape everything else."""
    pieces: list[str] = []
    position = 0
    for markup in _MARKUP.finditer(text):
        pieces += escape(text[position : markup.start()]), _render_markup(markup)
        position = markup.end()
    pieces.append(escape(text[position:]))
    return "".join(pieces)


def _render_markup(markup: re.Match[str]) -> str:
    match markup.lastgroup:
        case "code":
            return f"<code>{escape(markup['code'])}</code>"
        case "strong":
            return f"<strong>{render_inline(markup['strong'])}</strong>"
        case "emphasis":
            return f"<em>{render_inline(markup['emphasis'])}</em>"
        case "link" if _is_safe(markup["link"]):
            return f'<a href="{escape(markup["link"])}">{render_inline(markup["label"])}</a>'
        case "shortcode" if markup["shortcode"] in SHORTCODES:
            return escape(SHORTCODES[markup["shortcode"]])
        case _:
            return escape(markup[0])


def _is_safe(target: str) -> bool:
    try:
        return urlsplit(target).scheme in _SAFE_SCHEMES
    except ValueError:
        return False
