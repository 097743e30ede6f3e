"""Where shared code lies, and under which names it can be imported."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.blame import is_plugin_module
from dagstack_dev.core.manifest_forms import LARGEST_MANIFEST, MANIFEST_NAME, manifest_among

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NOT_SHARED: Final = ("__main__", "dagstack_dev")
"""Top-level modules that are never taken for shared code, besides those of plugins."""

_INSTALLED: Final = ("site-packages", "dist-packages")

_STANDARD: Final = sysconfig.get_path("stdlib") + "/"  # To ask takes as long as an import.


class _Root(NamedTuple):
    """A code root.

    Attributes:
        path: as it was given, and as paths below it are spelt.
        real: the same without links.
        base: what module names are relative to.
        package: the only top-level name that counts there, None for any.
        is_ignored: what of it does not count, by the path relative to `path`.
    """

    path: str
    real: str
    base: str
    package: str | None
    is_ignored: Callable[[str], bool]


class Found(NamedTuple):
    """A module that only a root makes importable: the root, the file, a package's folder."""

    root: str
    path: str
    search: list[str] | None


class CodeRoots:
    """Some folders, and the Python files below them that count as shared code."""

    def __init__(self) -> None:
        self._roots: list[_Root] = []
        self._homes: dict[str, str | None] = {}
        self._bases: tuple[object, list[str]] = ((), [])

    @property
    def paths(self) -> list[str]:
        """The folders, as they were given."""
        return [root.path for root in self._roots]

    def folders_for_children(self) -> list[str]:
        """Return what another process needs on its `sys.path` to import what counts here."""
        return [root.base for root in self._roots]

    def add(self, root: str, is_ignored: Callable[[str], bool]) -> bool:
        """Count what is below `root` from now on; return whether that is new."""
        if root in self.paths:
            return False
        base, package = root, None
        while os.path.isfile(f"{base}/__init__.py"):  # noqa: PTH113 - plain strings throughout
            base, _, package = base.rpartition("/")
        self._roots.append(_Root(root, os.path.realpath(root), base, package, is_ignored))
        self._homes.clear()
        return True

    def remove(self, root: str) -> None:
        """Reverse `add`."""
        self._roots = [each for each in self._roots if each.path != root]
        self._homes.clear()

    def home(self, path: str) -> str | None:
        """Return `path` as it is spelt below a root; None for what is not shared code."""
        if path not in self._homes:
            self._homes[path] = self._find_home(path)
        return self._homes[path]

    def _find_home(self, path: str) -> str | None:
        if not path.endswith(".py"):
            return None
        for root in self._roots:
            for start in (root.path, root.real):
                if path.startswith(start + "/"):
                    relative = path[len(start) + 1 :]
                    if not (_is_installed(path, relative) or root.is_ignored(relative)):
                        return f"{root.path}/{relative}"
        return None

    def names_of(self, path: str) -> Iterator[str]:
        """Yield the names under which a file at `path` could be imported."""
        for base in self.bases():
            if not path.startswith(base + "/") or not path.endswith(".py"):
                continue
            parts = path[len(base) + 1 : -len(".py")].split("/")
            if parts[-1] == "__init__":
                parts.pop()
            if parts and all(part.isidentifier() for part in parts):
                yield ".".join(parts)

    def places_of(self, module: str) -> Iterator[str]:
        """Yield where a file would have to be to be imported as `module`."""
        relative = module.replace(".", "/")
        for base in self.bases():
            for path in (f"{base}/{relative}.py", f"{base}/{relative}/__init__.py"):
                home = self.home(path)
                if home is not None:
                    yield home

    def bases(self) -> list[str]:
        """Return what module names below the roots may be relative to."""
        entries: list[object] = [*sys.path]
        path = [entry for entry in entries if isinstance(entry, str)]  # As imports take it.
        asked = self.paths, path, _current_folder()
        if self._bases[0] != asked:
            bases = dict.fromkeys(root.base for root in self._roots)
            for entry in path:
                folder = os.path.normpath(os.path.join(asked[2], entry))  # noqa: PTH118 - likewise
                if any(_are_nested(folder, start) for start in self._starts()):
                    bases[folder] = None
            self._bases = asked, list(bases)
        return self._bases[1]

    def _starts(self) -> Iterator[str]:
        return (start for root in self._roots for start in (root.path, root.real))

    def may_hold(self, module: str, search: Sequence[str] | None) -> bool:
        """Return whether `module` may be shared code, by a look at names; most are not.

        `search` are the folders of the package it is in, None for a top-level module.
        """
        if not may_be_shared(module):
            return False
        if search is None:
            places = (f"{base}/{module}" for base in self.bases())
            return any(os.path.exists(place) or os.path.exists(f"{place}.py") for place in places)  # noqa: PTH110 - likewise
        return any(_are_nested(folder, start) for folder in search for start in self._starts())

    def find(self, module: str) -> Found | None:
        """Return a top-level module, or package with an `__init__.py`, right at a root.

        A plugin's folder is neither.
        """
        for root, folder in self._places(module):
            path, search = f"{folder}.py", None
            if os.path.isfile(f"{folder}/__init__.py"):  # noqa: PTH113 - likewise
                path, search = f"{folder}/__init__.py", [folder]
            if os.path.isfile(path):  # noqa: PTH113 - likewise
                return Found(root, path, search)
        return None

    def without_init(self, module: str) -> Iterator[str]:
        """Yield in words which folder would be the package `module` if it had an `__init__.py`."""
        for _, folder in self._places(module):
            if not os.path.exists(f"{folder}/__init__.py") and any(Path(folder).glob("*.py")):  # noqa: PTH110 - likewise
                yield f"{folder} has no __init__.py; add one, so that plugins can import it"

    def _places(self, module: str) -> Iterator[tuple[str, str]]:
        """Yield the roots that may hold a top-level module, each with the path it would have."""
        for root in self._roots:
            if root.package in {None, module} and not _is_plugin(root.base):
                folder = f"{root.base}/{module}"
                if not _is_plugin(folder):
                    yield root.path, folder


@cache
def other_form(path: str) -> str:
    """Return the package's file for that of a module, and the other way round."""
    folder, _, name = path.rpartition("/")
    return f"{folder}.py" if name == "__init__.py" else f"{path[: -len('.py')]}/__init__.py"


def _is_plugin(folder: str) -> bool:
    if os.path.exists(f"{folder}/{MANIFEST_NAME}"):  # noqa: PTH110 - likewise
        return True
    return manifest_among(lambda name: _start_of(f"{folder}/{name}")) is not None


def _start_of(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - likewise
            return file.read(LARGEST_MANIFEST + 1)
    except OSError:
        return None


def may_be_shared(module: str) -> bool:
    """Return whether `module` can be shared code at all, wherever it lies."""
    return module.partition(".")[0] not in _NOT_SHARED and not is_plugin_module(module)


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - likewise
    except FileNotFoundError:  # It has been deleted, and relative entries lead nowhere.
        return "/"


def _are_nested(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _is_installed(path: str, relative: str) -> bool:
    """Return whether the file is of something installed below a root, as in a `.venv`."""
    if not set(_INSTALLED).isdisjoint(Path(relative).parts):
        return True
    return path.startswith(_STANDARD)
