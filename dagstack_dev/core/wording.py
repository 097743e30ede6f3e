"""Numbers and lists as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 plugin` and `2 plugins`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(words: Iterable[object], most: int = 10) -> str:
    """Return some words with commas between, and how many more there are."""
    texts = [*map(str, words)]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
