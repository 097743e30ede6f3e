"""Text of others made printable, at the one place where it leaves for a terminal or a pipe.

File names, source lines, log messages and what servers answer may hold characters that a terminal
obeys: they move its cursor, change its title, reverse the order of a line.
"""

from __future__ import annotations

import re
from typing import Final

ACTING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f"  # C0, without tab and newline, with which lines are laid out
    "\x7f-\x9f"  # DEL and C1
    "\u2028-\u202e\u2066-\u2069"  # ends of lines; what overrides the direction of text
    "\ud800-\udfff]"  # halves of characters, which no encoding can write
)
"""Characters that do something, or make what they stand in unreadable for others."""


def printable(text: str) -> str:
    r"""Return `text` with what a terminal would obey written as Python would, as in `\x1b`."""
    return ACTING.sub(_as_escape, text)


def printable_json(line: str) -> str:
    r"""Return the same for one line of JSON, which stays JSON and says the same.

    Only the half of a character becomes text, as in `\udc80`: many parsers refuse the whole line
    over one.
    """
    return ACTING.sub(_as_json_escape, line)


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - one byte


def _as_json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"  # noqa: PLR2004
