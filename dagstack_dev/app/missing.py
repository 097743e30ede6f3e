"""Modules that plugins miss, looked for until they are installed."""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors import INSTALL_MCP, said
from dagstack_dev.core.passing import related

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether a module has come; a look takes some 50 µs for each."""

_NO_MODULE: Final = re.compile(r"No module named '([\w.]+)'")


class MissingModules:
    """Has plugins tried again when a module is there that their failure names.

    Only modules that are found on `sys.path` count, and nothing is imported to find them. Those in
    code that is watched are noticed as edits are.

    Args:
        failures: returns the folders of plugins that have failed or are pending, each with why.
        later: called with seconds and a function, to have the function called then.
        on_found: called with the folders of plugins whose module has come.
    """

    def __init__(
        self,
        failures: Callable[[], Iterable[tuple[str, BaseException | None]]],
        *,
        later: Callable[[float, Callable[[], None]], None],
        on_found: Callable[[set[str]], None],
    ) -> None:
        self._failures = failures
        self._later = later
        self._on_found = on_found
        self._missing: dict[str, set[str]] = {}
        self._in_vain: set[tuple[str, str]] = set()
        self._is_looking = False

    def arrange(self) -> None:
        """Look from now on for what is missing by now."""
        self._missing = {
            folder: names for folder, error in self._failures() if (names := missing_in(error))
        }
        if self._missing and not self._is_looking:
            self._is_looking = True
            self._later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._is_looking = False
        PathFinder.invalidate_caches()
        there = {name for names in self._missing.values() for name in names if _is_there(name)}
        found = {
            (folder, name) for folder, names in self._missing.items() for name in names & there
        }
        news = {folder for folder, _ in found - self._in_vain}
        self._in_vain = found  # It was there and did not help: once is enough.
        if news:
            self._on_found(news)
        self.arrange()


def missing_in(error: BaseException | None) -> set[str]:
    """The modules that were not found, as `error` and what led to it tell."""
    texts = [said(each) for each in related(error)]
    names = {name for text in texts for name in _NO_MODULE.findall(text)}
    return names | ({"mcp", "httpx2"} if any(INSTALL_MCP in text for text in texts) else set())


def _is_there(name: str) -> bool:
    package = name.rpartition(".")[0]
    path = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and path is None:
        return False
    return PathFinder.find_spec(name, path) is not None
