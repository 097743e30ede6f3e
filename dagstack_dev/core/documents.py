"""TOML and JSON texts as values that know their lines; what is wrong with one is one error."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import tomli

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST_STATEMENT: Final = 200
"""Lines of one TOML statement after which nothing that follows is searched."""

_BARE_WORD: Final = re.compile(r"([A-Za-z][\w.-]*)[ \t]*(?:#.*)?$")
_WORDS: Final = {"true", "false", "yes", "no", "on", "off", "null", "none", "nil", "inf", "nan"}
"""What may be meant as something else than text."""

_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


class DocumentInvalid(ValueError):
    """A text that cannot be used.

    Attributes:
        reason: what is wrong, as what follows the name of a file in a sentence.
        line: where, counted from 1; None when no line can be named.
        column: where in that line, likewise.
    """

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(reason, line, column)
        self.reason = reason
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"line {self.line} {self.reason}" if self.line else self.reason


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its values.

    Attributes:
        values: the tables of TOML; any value of JSON.
        text: what they were read from.
        is_json: whether that is JSON, else TOML.
    """

    values: Any
    text: str
    is_json: bool = False

    def line_of(self, keys: Sequence[str]) -> int | None:
        """Find the line, counted from 1, in which the value at `keys` gets its value.

        In TOML that is the first statement that says something of it; in JSON the last key of
        that name, as parsers take it. None when there is no such key.
        """
        return (_line_in_json if self.is_json else _line_in_toml)(self.text, keys)


def decoded(data: bytes) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        DocumentInvalid: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentInvalid(f"is not UTF-8 text (byte {error.start})", line) from error


def read_document(data: bytes, *, is_json: bool = False) -> Document:
    """Read the bytes of a file that holds TOML or JSON.

    Args:
        data: the bytes.
        is_json: whether they are JSON, else TOML.

    Raises:
        DocumentInvalid: it does not, or holds what Python refuses to read.
    """
    text = decoded(data)
    try:
        return Document(json.loads(text) if is_json else tomli.loads(text), text, is_json)
    except (tomli.TOMLDecodeError, json.JSONDecodeError) as error:
        language = "JSON" if is_json else "TOML"
        last = len(text.splitlines()) or 1
        place = (last,) if error.lineno > last else (error.lineno, error.colno)  # Not behind it.
        meant = "" if is_json else _quoted(text, error)
        raise DocumentInvalid(f"is not valid {language}: {error.msg}{meant}", *place) from error
    except RecursionError as error:
        raise DocumentInvalid("is nested too deeply") from error
    except ValueError as error:  # A number with thousands of digits.
        raise DocumentInvalid(f"cannot be parsed: {str(error).partition(';')[0]}") from error


def _quoted(text: str, error: tomli.TOMLDecodeError | json.JSONDecodeError) -> str:
    """Return how to write a value that is a bare word, as in `kind = tool`; nothing for others."""
    line = text.splitlines()[error.lineno - 1 :][:1]
    found = _BARE_WORD.match(line[0], error.colno - 1) if line else None
    is_text = found is not None and found[1].lower() not in _WORDS
    return f'; text needs quotes: "{found[1]}"' if found is not None and is_text else ""


def _line_in_json(text: str, keys: Sequence[str]) -> int | None:
    wanted = tuple(keys)
    starts = [start for start, path in _json_keys(text) if path == wanted]
    return text.count("\n", 0, starts[-1]) + 1 if starts else None


def _json_keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield where each key begins, and the keys that lead to it; items of arrays have none."""
    above: list[str | None] = []
    key: str | None = None
    string, start = "", 0
    for token in _JSON_TOKEN.finditer(text):
        mark = token.group()
        if mark[0] == '"':
            string, start = mark, token.start()
        elif mark == ":":
            key = json.loads(string)
            if None not in above[1:]:
                yield start, tuple(each for each in (*above[1:], key) if each is not None)
        else:
            if mark in "{[":
                above.append(key)
            elif mark in "}]":
                above.pop()
            key = None


def _line_in_toml(text: str, keys: Sequence[str]) -> int | None:
    return next((line for line, value in _statements(text) if _has(value, keys)), None)


@lru_cache(maxsize=1)
def _statements(text: str) -> tuple[tuple[int, dict[str, Any]], ...]:
    """Return each statement's first line, and what it alone says.

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
    """Return the keys of a header: `a` and `b` of `[a.b]` or `[[a.b]]`."""
    keys: list[str] = []
    value: Any = table
    while value:
        if isinstance(value, list):
            value = value[0]
        else:
            keys += value
            value = value[keys[-1]]
    return keys


def _has(value: object, keys: Sequence[str]) -> bool:
    for key in keys:
        if isinstance(value, list):
            value = value[-1] if value else None
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
