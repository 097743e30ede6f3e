"""What an import puts into code that is not the plugin's own: registries, lists of handlers.

A module is asked how much it holds: the entries of the containers among its variables, of those
in its objects and its classes. Counting is quick, keeps nothing alive and runs no code of others.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dagstack_dev.runtimes.shared.imports import namespace_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dagstack_dev.runtimes.shared.imports import ImportGraph

_CONTAINERS: Final = (dict, list, set, deque)

_PASSED_OVER: Final = frozenset(
    {str, int, float, bool, bytes, tuple, type(None), FunctionType, ModuleType}
)

_MOST_NESTED: Final = 100
"""Entries of a dict up to which the containers that are its values are counted too."""


Holders: TypeAlias = "dict[str, tuple[str, ...]]"
"""Modules, each with those of its variables that hold something or may come to."""


class Registrations:
    """Which modules of others hold more since a plugin has imported them.

    Args:
        imports: who imports whom.
    """

    def __init__(self, imports: ImportGraph) -> None:
        self._imports = imports
        self._known: dict[str, Holders] = {}  # By shared module, until some imports another.
        self._known_at = 0
        self._held: dict[str, tuple[tuple[str, ...], int]] | None = None
        self._found: dict[str, frozenset[str]] = {}

    @contextmanager
    def importing(self, package: str) -> Iterator[None]:
        """In the block `package` is imported."""
        outer, self._held = self._held, {}
        try:
            yield
            held = self._held.items()
            more = {each for each, (names, count) in held if _held(each, names) != count}
            if more:
                self._found[package] = self.of(package) | more
        finally:
            self._held = outer

    def of(self, package: str) -> frozenset[str]:
        """Return the modules of others that imports of `package` have put something into.

        Those of earlier imports too: what takes the place of something makes them hold no more.
        """
        return self._found.get(package, frozenset())

    def note(self, modules: Iterable[str]) -> None:
        """These have just been imported, and nothing has been put into them yet."""
        if self._held is None:
            return
        if self._known_at != self._imports.rewired:
            self._known_at, self._known = self._imports.rewired, {}
        for module in modules:
            holders = self._known.get(module)
            if holders is None:
                reached = self._imports.reached_from(module)
                holders = {each: names for each in reached if (names := _holding(each))}
                if not self._imports.is_plugins(module):  # That may be another one the next time.
                    self._known[module] = holders
            for name, names in holders.items():
                if name not in self._held:
                    self._held[name] = names, _held(name, names)


def held_by(module: str) -> int:
    """Return how many entries the containers at the top of `module` have together."""
    return _held(module, _holding(module))


def _holding(module: str) -> tuple[str, ...]:
    found = namespace_of(sys.modules.get(module)).copy().items()
    return tuple(name for name, value in found if name[:2] != "__" and _may_hold(value, module))


def _may_hold(value: object, module: str) -> bool:
    kind = type(value)
    if kind in _PASSED_OVER:
        return False
    return not issubclass(kind, type) or bool(_containers_in(value, module))


def _held(module: str, names: Iterable[str]) -> int:
    held = 0
    namespace = namespace_of(sys.modules.get(module))
    for name in names:
        value = namespace.get(name)
        if issubclass(type(value), _CONTAINERS):
            held += _size(value)
        else:
            held += sum(map(_size, _containers_in(value, module)))
    return held


def _containers_in(value: object, module: str) -> list[object]:
    """Return those among the attributes of an object, or of a class that `module` defines."""
    names: Mapping[str, object] = namespace_of(value)
    if issubclass(type(value), type):
        names = type.__getattribute__(value, "__dict__")
        if names.get("__module__") != module:
            return []
    return [each for each in [*names.values()] if issubclass(type(each), _CONTAINERS)]


def _size(container: Any) -> int:
    base = next(each for each in _CONTAINERS if issubclass(type(container), each))
    size: int = base.__len__(container)  # Not that of a class of a plugin's, which may do anything.
    if base is dict and 0 < size <= _MOST_NESTED:
        size += sum(len(each) for each in [*dict.values(container)] if type(each) in _CONTAINERS)
    return size
