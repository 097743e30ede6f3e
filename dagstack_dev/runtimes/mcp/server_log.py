"""What a server says besides its answers, in the log stream of the host."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

LONGEST_LINE: Final = 2000
"""Characters of a line that are logged."""

_LEVELS: Final = {
    **{level: level for level in ("debug", "info", "warning", "error", "critical")},
    "notice": "info",
    "alert": "critical",
    "emergency": "critical",
}
"""The levels of MCP, which are those of syslog, and Python's for each."""


class ServerLog:
    """Logs on behalf of one server.

    Args:
        logger: bound with the plugin's ref. Any logger will do: it is called with text alone.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def message(self, level: object, name: object, data: object) -> None:
        """Log a notification, as far as it can be read.

        Args:
            level: one of MCP's; anything else counts as `info`.
            name: of the server's logger, if it has one.
            data: what is logged, JSON.
        """
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        known = _LEVELS.get(level, "info") if isinstance(level, str) else "info"
        self.say(f"{name}: {text}" if name and isinstance(name, str) else text, known)

    def say(self, text: str, level: str = "info") -> None:
        """Log something of the server's, or about it.

        Args:
            text: one line.
            level: one of Python's.
        """
        with suppress(Exception):  # A logger that fails is no reason to lose the server.
            getattr(self._logger, level)(shortened(text))


def shortened(line: str) -> str:
    """Return `line`, cut where it is too long to be read."""
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}... ({len(line)} characters)"
