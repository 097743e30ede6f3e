"""Commands that the docs show after a `$`, each with what it prints."""

from __future__ import annotations

import re
import shlex

_SHOWN = re.compile(r"^```(?:console)?\n(\$ .*?)^```", re.DOTALL | re.MULTILINE)
_DURATIONS = re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s|min)\b")
_CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\b")


def shown_commands(page: str) -> list[tuple[list[str], str]]:
    """Each command without its first word, and what it is shown to print."""
    sessions = "".join(f"{each}" for each in _SHOWN.findall(page))
    commands = [each.partition("\n") for each in re.split(r"^\$ ", sessions, flags=re.MULTILINE)]
    return [(shlex.split(command)[1:], output) for command, _, output in commands[1:]]


def timeless(output: str) -> str:
    """The same without moments, durations, and spaces at the ends of lines."""
    without = _DURATIONS.sub("N", _CLOCK.sub("T", output))
    return "\n".join(line.rstrip() for line in without.splitlines()).strip()
