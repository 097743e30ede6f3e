"""Modules that plugins miss: which, and whether they are installed by now."""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder
from typing import Final

from dagstack_dev.core.blame import related
from dagstack_dev.core.errors.base import said
from dagstack_dev.core.errors.registry import INSTALL_MCP

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether a module has come; a look takes some 50 µs for each."""

_NO_MODULE: Final = re.compile(r"No module named '([\w.]+)'")


def missing_in(error: BaseException | None) -> set[str]:
    """The modules that were not found, as `error` and what led to it tell."""
    texts = [said(each) for each in related(error)]
    names = {name for text in texts for name in _NO_MODULE.findall(text)}
    return names | ({"mcp", "httpx2"} if any(INSTALL_MCP in text for text in texts) else set())


def is_installed(name: str) -> bool:
    """Whether a module is found on `sys.path`; nothing is imported to find it."""
    package = name.rpartition(".")[0]
    path = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and path is None:
        return False
    return PathFinder.find_spec(name, path) is not None
