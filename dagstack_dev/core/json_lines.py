"""In which line of a JSON text a key stands."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def line_of(text: str, key_path: Sequence[str]) -> int | None:
    """The line, counted from 1, of the last key that stands at `key_path`, as parsers take it.

    `text` is valid JSON.

    Returns:
        The line, or None when the key never appears.
    """
    wanted = tuple(key_path)
    found = None
    for start, path in _keys(text):
        if path == wanted:
            found = text.count("\n", 0, start) + 1
    return found


def _keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Where each key begins, and the keys that lead to it; items of arrays have none."""
    above: list[str | None] = []
    key: str | None = None
    string, start = "", 0
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark[0] == '"':
            string, start = mark, token.start()
        elif mark == ":":
            key = json.loads(string)
            if None not in above[1:]:
                yield start, tuple(each for each in (*above[1:], key) if each is not None)
        elif mark in "{[":
            above.append(key)
            key = None
        elif mark in "}]":
            above.pop()
            key = None
        else:
            key = None
