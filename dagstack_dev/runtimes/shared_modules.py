"""Which shared modules are there, and which file each of them runs."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import suppress
from importlib.machinery import NamespaceLoader
from typing import TYPE_CHECKING, Any, NamedTuple

from dagstack_dev.runtimes.registries import Registered
from dagstack_dev.runtimes.static_imports import with_parents

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from types import ModuleType

    from dagstack_dev.runtimes.imports import Imports


class SetAside(NamedTuple):
    """A module that imports find no more, the file that it runs, and what was known of it.

    Attributes:
        module: None if it could not be loaded.
        path: the file.
        imports: what it has imported.
        registered: what the standard library has noted of it.
    """

    module: ModuleType | None
    path: str
    imports: Imports
    registered: Registered = Registered()


class SharedModules:
    """Shared modules by name, by file and by the package they are in."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._at: defaultdict[str, set[str]] = defaultdict(set)
        self._inside: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, name: str, path: str) -> None:
        """`name` runs the file at `path`."""
        self.remove(name)
        self._paths[name] = path
        self._at[path].add(name)
        for package in list(with_parents(name))[1:]:
            self._inside[package].add(name)

    def remove(self, name: str) -> str | None:
        """The answer is the file that `name` ran, None if it is no shared module."""
        path = self._paths.pop(name, None)
        if path is not None:
            self._at[path].discard(name)
            for package in list(with_parents(name))[1:]:
                self._inside[package].discard(name)
        return path

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def paths(self) -> Collection[str]:
        """The files that run, and the `__init__.py` that a package without one would have."""
        return self._paths.values()

    def paths_of(self, names: Iterable[str]) -> list[str]:
        """Those of the modules `names`, without what is no shared module."""
        return [self._paths[name] for name in names if name in self._paths]

    def at(self, path: str) -> frozenset[str]:
        """The modules that run the file at `path`."""
        return frozenset(self._at.get(path, ()))

    def inside(self, package: str) -> frozenset[str]:
        """The modules in a shared package, at any depth: they are bound to that very package."""
        return frozenset(self._inside.get(package, ())) if package in self else frozenset()


def namespace_of(module: object) -> dict[str, Any]:
    """The attributes of what `sys.modules` holds, without loading a module that is lazy.

    Empty for an object in a module's place that keeps no such dict.
    """
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def is_namespace_package(module: object) -> bool:
    """Whether what `sys.modules` holds is a package without a file of its own."""
    return isinstance(namespace_of(module).get("__loader__"), NamespaceLoader)


def origin_of(module: object) -> str | None:
    """The file of what `sys.modules` holds; of a package without one, where it would be."""
    origin = namespace_of(module).get("__file__")
    if is_namespace_package(module):
        origin = next((f"{each}/__init__.py" for each in namespace_of(module)["__path__"]), None)
    return origin if isinstance(origin, str) else None


def bind(name: str, module: ModuleType) -> None:
    """Make `module` an attribute of the package it is in, as importing it does."""
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        with suppress(AttributeError):  # Some object in the package's place does not take it.
            setattr(sys.modules[parent], child, module)


def unbind(name: str, module: ModuleType) -> None:
    """The reverse of `bind`; whatever else has the name stays."""
    parent, _, child = name.rpartition(".")
    if namespace_of(sys.modules.get(parent)).get(child) is module:
        with suppress(AttributeError):
            delattr(sys.modules[parent], child)
