"""Places as `path:line`: links where a terminal knows them, and the editor that is to show them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from rich.style import Style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

_PLACE: Final = re.compile(r"([^\s'\"()\[\],;:]+):(\d+)\b")

_PROGRAMS: Final = {"iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "WarpTerminal", "rio"}
_TERMS: Final = {"xterm-kitty", "xterm-ghostty", "foot", "alacritty", "contour", "wezterm"}
_VARIABLES: Final = {"WT_SESSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "ALACRITTY_WINDOW_ID"}
_FIRST_VTE: Final = 5000
"""The version of VTE, the terminal of GNOME and others, from which on it knows links."""

_SCHEMES: Final = {
    "code": "vscode",
    "code-insiders": "vscode-insiders",
    "codium": "vscodium",
    "cursor": "cursor",
    "windsurf": "windsurf",
    "zed": "zed",
}
"""Editors that open `scheme://file/path:line`, by the name of their command."""


_EXAMPLE: Final = "code -g {path}:{line}"
"""A template, for those who have given none that can be used."""

_FAILS_WITHIN_SECONDS: Final = 1.0
"""How long a program is waited for that may fail to show something; it may also stay."""


class Editor:
    """Where places are opened.

    Args:
        template: a command or a URL with `{path}` and `{line}`; None for whatever opens files.

    Raises:
        ValueError: it has no `{path}`, or names something else.
    """

    def __init__(self, template: str | None = None) -> None:
        self._parts: list[str] = []
        host = quote(os.uname().nodename)
        self._url = f"file://{host}{{path}}"
        if template is None:
            return
        try:
            filled = template.format(path="/file", line=1)
            parts = shlex.split(template)
        except KeyError as error:
            raise ValueError(f"{template!r}: {{path}} and {{line}} are known") from error
        except (IndexError, ValueError) as error:
            raise ValueError(f"{template!r} cannot be filled in: {error}") from error
        if "/file" not in filled:
            raise ValueError(f"{template!r} has no {{path}}; write '{_EXAMPLE}'")
        if "://" in parts[0]:
            self._url = template
            return
        self._parts = parts
        scheme = _SCHEMES.get(os.path.basename(parts[0]))  # noqa: PTH119 - text
        if scheme is not None:
            self._url = f"{scheme}://file{{path}}:{{line}}"

    def url(self, path: str, line: int) -> str:
        """Return the link to a place; `path` is absolute."""
        return self._url.format(path=quote(path), line=line)

    def open(self, path: str, line: int) -> None:
        """Show a place; as `open_externally`, for a URL or without a template."""
        if self._parts:
            _start([part.format(path=path, line=line) for part in self._parts])
            return
        try:
            open_externally(self.url(path, line))
        except OSError as error:
            if not self._url.startswith("file:"):
                raise
            raise OSError(f"{error}; name an editor: --editor '{_EXAMPLE}'") from error

    def linked(self, text: Text, folder: str) -> Text:
        """Return `text` with links to its places; names of files are relative to `folder`."""
        linked = text
        for match in _PLACE.finditer(text.plain):
            path = os.path.join(folder, match[1])  # noqa: PTH118 - text
            if os.path.isfile(path):  # noqa: PTH113 - text
                linked = text.copy() if linked is text else linked
                linked.stylize(Style(link=self.url(path, int(match[2]))), *match.span())
        return linked


def open_externally(target: str) -> None:
    """Have the system show a file or a URL. Takes up to a second: to see whether that fails.

    Raises:
        OSError: nothing here shows it.
    """
    _start(["open" if sys.platform == "darwin" else "xdg-open", target])


def _start(command: list[str]) -> None:
    """Start a program and let it run.

    Raises:
        OSError: it cannot be started, or has failed at once.
    """
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
    except OSError as error:
        raise OSError(f"{command[0]} cannot be started: {error.strerror}") from error
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(_FAILS_WITHIN_SECONDS)
        if code:
            raise OSError(f"{command[0]} has failed, with exit code {code}")


def knows_links(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal of a process with these variables shows links (OSC 8)."""
    forced = environment.get("FORCE_HYPERLINK")
    if forced is not None:
        return forced != "0"
    vte = environment.get("VTE_VERSION", "")
    return (
        environment.get("TERM_PROGRAM") in _PROGRAMS
        or environment.get("TERM") in _TERMS
        or not _VARIABLES.isdisjoint(environment)
        or (vte.isdigit() and int(vte) >= _FIRST_VTE)
    )
