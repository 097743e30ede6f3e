"""Texts in TOML and JSON as values. Whatever is wrong with a text is one kind of error."""

from __future__ import annotations

import json
from typing import Any

import tomli


class DocumentInvalid(ValueError):
    """A text that cannot be used.

    Attributes:
        reason: what is wrong, as what follows the name of a file in a sentence.
        line: where, counted from 1; None when no line can be named.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason, line)
        self.reason = reason
        self.line = line

    def __str__(self) -> str:
        return f"line {self.line} {self.reason}" if self.line else self.reason


def decoded(data: bytes) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        DocumentInvalid: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentInvalid(f"is not UTF-8 text (byte {error.start})", line) from error


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        DocumentInvalid: it is none, or holds what Python refuses to read.
    """
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise DocumentInvalid(f"is not valid TOML: {error.msg}", error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise _refused(error) from error


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        DocumentInvalid: it is none, or holds what Python refuses to read.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DocumentInvalid(f"is not valid JSON: {error.msg}", error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise _refused(error) from error


def _refused(error: RecursionError | ValueError) -> DocumentInvalid:
    """Valid perhaps, but nested without end, or a number with thousands of digits."""
    if isinstance(error, RecursionError):
        return DocumentInvalid("is nested too deeply")
    return DocumentInvalid(f"cannot be parsed: {str(error).partition(';')[0]}")
