"""In which line of a TOML text a key stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tomli

if TYPE_CHECKING:
    from collections.abc import Sequence


def line_of(text: str, key_path: Sequence[str]) -> int | None:
    """The line, counted from 1, of the statement that first gives `key_path` a value.

    The TOML parser itself is the judge, whatever the notation (dotted, inline, multi-line): the
    text is cut after each line, and the first cut that parses and has the key ends with its
    statement, which began after the last cut that parsed. Errors are rare and manifests short,
    so parsing the text once per line is cheap enough.

    Returns:
        The line, or None when the key never appears.
    """
    lines = [line + "\n" for line in text.split("\n")]
    statement_start = 1
    for count in range(1, len(lines) + 1):
        try:
            value: object = tomli.loads("".join(lines[:count]))
        except tomli.TOMLDecodeError:
            continue
        if _has(value, key_path):
            return statement_start
        statement_start = count + 1
    return None


def _has(value: object, key_path: Sequence[str]) -> bool:
    for key in key_path:
        if isinstance(value, list):
            value = value[-1] if value else None
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
