"""What a server says besides its answers, in the log stream of the host."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_LINE: Final = 2000
"""Characters of a line that are logged."""

_LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warning": "warning",
    "error": "error",
    "critical": "critical",
    "alert": "critical",
    "emergency": "critical",
}
"""The levels of MCP, which are those of syslog, as levels of Python's."""


class ServerLog:
    """Logs on behalf of one server.

    Args:
        logger: bound with the plugin's ref. Any logger will do: it is called with text alone.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def heard(self, line: str) -> None:
        """A line of the server's standard error."""
        self._say("info", shortened(line))

    def stray_output(self, line: str) -> None:
        """A line of its standard output that is no message."""
        hint = "standard output belongs to the protocol, print to standard error instead"
        text = f"not JSON-RPC on standard output: {shortened(line)} ({hint})"
        self._say("warning", text)

    def more_stray_output(self) -> None:
        """There has been a lot of that."""
        self._say("warning", "further lines that are not JSON-RPC are not logged")

    def message(self, level: str, name: str | None, data: object) -> None:
        """A log notification."""
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        said = shortened(f"{name}: {text}" if name else text)
        self._say(_LEVELS.get(level, "info"), said)

    def progress(
        self, tool: str, progress: float, total: float | None, message: str | None
    ) -> None:
        """A progress notification of a call that nobody else listens to."""
        of = "" if total is None else f" of {total:g}"
        said = f": {message}" if message else ""
        self._say("info", shortened(f"{tool}: {progress:g}{of}{said}"))

    def speaks_dialect(self, methods: Iterable[str]) -> None:
        """It has shaken hands as servers for dagstack-plugin-system do."""
        listed = ", ".join(methods)
        text = f"speaks the JSON-RPC of dagstack-plugin-system, not MCP; its methods are {listed}"
        self._say("info", text)

    def kept_tools(self, error: Exception) -> None:
        """It has told of new tools, which it then did not list."""
        text = f"keeps the tools that are known, for those that it tells of are not: {error}"
        self._say("warning", text)

    def left_out(self, kind: str, error: Exception) -> None:
        """It has listed something that is not what it should be."""
        self._say("warning", f"leaves out a malformed {kind}: {shortened(str(error))}")

    def endless_listing(self, key: str, pages: int) -> None:
        """A list of it does not come to an end."""
        text = f"listing {key}: given up after {pages} pages; the server's cursor comes to no end"
        self._say("warning", text)

    def unwatched(self, script: str) -> None:
        """What it runs lies where no change is noticed."""
        hint = "build into a folder of another name, such as out"
        text = f"changes of {script} are not noticed, for it is ignored; {hint}"
        self._say("warning", text)

    def runs_from_copy(self) -> None:
        """It was started with the files of an earlier moment."""
        text = "its folder holds something newer than this generation, which runs from a copy"
        self._say("info", text)

    def _say(self, level: str, text: str) -> None:
        with suppress(Exception):  # A logger that fails is no reason to lose the server.
            getattr(self._logger, level)(text)


def shortened(line: str) -> str:
    """`line`, less what nobody would read to its end."""
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}... ({len(line)} characters)"
