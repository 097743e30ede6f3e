"""How a greeting reads; files of a plugin import each other with a dot: `from .wording import`."""

from __future__ import annotations


def greeting(word: str, name: str) -> str:
    """Return the sentence that greets `name`."""
    return f"{word}, {name.strip()}!"
