"""Modules that plugins miss, looked for until they are installed."""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.blame import related
from dagstack_dev.core.errors import INSTALL_MCP, said

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether a module has come; a look takes some 50 µs for each."""

_NO_MODULE: Final = re.compile(r"No module named '([\w.]+)'")


class MissingModules:
    """Tells which plugins are to be tried again, for a module is there that their failure names.

    Only modules that are found on `sys.path` count, and nothing is imported to find them. Those in
    code that is watched are noticed as edits are.
    """

    def __init__(self) -> None:
        self._in_vain: set[tuple[str, str]] = set()

    def come(self, missing: Mapping[str, set[str]]) -> set[str]:
        """Look for what is `missing`, by the folders of the plugins, and return those to try.

        What was there before and did not help is looked for in vain: once is enough.
        """
        PathFinder.invalidate_caches()
        there = {name for names in missing.values() for name in names if _is_there(name)}
        found = {(folder, name) for folder, names in missing.items() for name in names & there}
        news = {folder for folder, _ in found - self._in_vain}
        self._in_vain = found
        return news


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
