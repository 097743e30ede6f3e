"""How many there are of something."""

from __future__ import annotations


def amount(number: int, noun: str) -> str:
    """Return for example `1 word` or `151 words`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
