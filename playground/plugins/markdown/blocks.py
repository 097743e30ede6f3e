"""Splits Markdown source into blocks."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Quote:
    text: str


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class ItemList:
    items: tuple[str, ...]
    ordered: bool


Block: TypeAlias = Heading | Paragraph | Quote | Code | ItemList

_BLANK = re.compile(r"\s*$")
_FENCE = re.compile(r"```")
_HEADING = re.compile(r"(#{1,6}) +(.+)")
_QUOTE = re.compile(r"> ?(.*)")
_BULLET = re.compile(r"[-*] +(.+)")
_NUMBER = re.compile(r"\d+[.)] +(.+)")
_PARAGRAPH_ENDS = (_BLANK, _FENCE, _HEADING, _QUOTE, _BULLET, _NUMBER)


def parse(source: str) -> Iterator[Block]:
    """Yield the blocks of `source` in order."""
    lines = deque(source.splitlines())
    while lines:
        line = lines[0]
        if _BLANK.match(line):
            lines.popleft()
        elif _FENCE.match(line):
            yield Code(_take_fenced(lines))
        elif heading := _HEADING.match(line):
            lines.popleft()
            yield Heading(len(heading[1]), heading[2])
        elif _QUOTE.match(line):
            yield Quote("\n".join(_take_marked(lines, _QUOTE)))
        elif _BULLET.match(line):
            yield ItemList(tuple(_take_marked(lines, _BULLET)), ordered=False)
        elif _NUMBER.match(line):
            yield ItemList(tuple(_take_marked(lines, _NUMBER)), ordered=True)
        else:
            yield Paragraph("\n".join(_take_paragraph(lines)))


def _take_fenced(lines: deque[str]) -> str:
    lines.popleft()
    code = []
    while lines and not _FENCE.match(line := lines.popleft()):
        code.append(line)
    return "\n".join(code)


def _take_marked(lines: deque[str], mark: re.Pattern[str]) -> Iterator[str]:
    while lines and (marked := mark.match(lines[0])):
        lines.popleft()
        yield marked[1]


def _take_paragraph(lines: deque[str]) -> Iterator[str]:
    while lines and not any(end.match(lines[0]) for end in _PARAGRAPH_ENDS):
        yield lines.popleft()
