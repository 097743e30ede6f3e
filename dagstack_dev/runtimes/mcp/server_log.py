"""What a server says besides its answers, in the log stream of the host."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

LONGEST_LINE: Final = 2000
"""Characters of a line that are logged."""

_LEVELS: Final = {"notice": "info", "alert": "critical", "emergency": "critical"}
"""The levels of MCP, which are those of syslog, that Python has not."""

_KNOWN: Final = frozenset({"debug", "info", "warning", "error", "critical"})


class ServerLog:
    """Logs on behalf of one server.

    Args:
        logger: bound with the plugin's ref. Any logger will do: it is called with text alone.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def message(self, level: str, name: str | None, data: object) -> None:
        """Log a notification."""
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        level = _LEVELS.get(level, level)
        self.say(f"{name}: {text}" if name else text, level if level in _KNOWN else "info")

    def say(self, text: str, level: str = "info") -> None:
        """Log something of the server's, or about it."""
        with suppress(Exception):  # A logger that fails is no reason to lose the server.
            getattr(self._logger, level)(shortened(text))


def shortened(line: str) -> str:
    """Return `line`, cut where it is too long to be read."""
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}... ({len(line)} characters)"
