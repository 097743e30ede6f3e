"""In which line of a TOML text a key stands."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import tomli

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_STATEMENT: Final = 200
"""Lines of one statement after which nothing that follows is searched."""


def line_of(text: str, key_path: Sequence[str]) -> int | None:
    """The line, counted from 1, of the statement that first gives `key_path` a value.

    `text` is valid TOML.

    Returns:
        The line, or None when the key never appears.
    """
    return next((line for line, value in _statements(text) if _has(value, key_path)), None)


@lru_cache(maxsize=1)
def _statements(text: str) -> tuple[tuple[int, dict[str, Any]], ...]:
    """Each statement's first line, and what it alone says.

    The TOML parser itself is the judge, whatever the notation (dotted, inline, multi-line): lines
    are added until they parse. A statement that stands below a table's header says it for that
    table.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    header: list[str] = []
    statement: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        statement.append(line + "\n")
        try:
            value = tomli.loads("".join(statement))
        except tomli.TOMLDecodeError:
            if len(statement) >= LONGEST_STATEMENT:
                break
            continue
        if statement[0].lstrip(" \t").startswith("["):
            header = _keys_down(value)
        elif value:
            for key in reversed(header):
                value = {key: value}
        if value:
            found.append((number - len(statement) + 1, value))
        statement = []
    return tuple(found)


def _keys_down(table: dict[str, Any]) -> list[str]:
    """The keys of a header: `a` and `b` of `[a.b]` or `[[a.b]]`."""
    keys: list[str] = []
    value: Any = table
    while value:
        if isinstance(value, list):
            value = value[0]
        else:
            keys += value
            value = value[keys[-1]]
    return keys


def _has(value: object, key_path: Sequence[str]) -> bool:
    for key in key_path:
        if isinstance(value, list):
            value = value[-1] if value else None
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
