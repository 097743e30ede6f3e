"""Modules that are installed or built in, and the names that can be imported from them."""

from __future__ import annotations

import sys
from functools import cached_property
from importlib import import_module
from importlib.machinery import PathFinder
from sysconfig import get_path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_STANDARD_PLACES: Final = ("built-in", "frozen", *map(get_path, ("stdlib", "platstdlib")))
"""How the origin of a module of the standard library begins; another may have its name."""

_NOT_TO_RUN: Final = frozenset({"antigravity", "this"})
"""Those of its modules whose import is noticed."""


class Elsewhere:
    """A module that no plugin and no shared code consists of; what it imports does not count.

    Of the standard library it is known what can be imported: the module itself is asked. Others
    may bind any name. Their text does not decide it: numpy, for one, sets names from C.

    Args:
        name: as it is imported.
        spec: where it lies; None where that is not certain.
    """

    def __init__(self, name: str, spec: ModuleSpec | None = None) -> None:
        self.name = name
        self.spec = spec

    def part(self, name: str) -> Elsewhere:
        """Return the module that is called `name` within it, which may not be there."""
        search = self.spec and self.spec.submodule_search_locations
        spec = PathFinder.find_spec(name, search) if search else None
        return Elsewhere(f"{self.name}.{name}", spec)

    def may_bind(self, name: str) -> bool:
        """Return whether `name` can be imported from it; False is certain."""
        module = self._standard
        return module is None or hasattr(module, name) or self.part(name).spec is not None

    @property
    def names(self) -> Collection[str]:
        """Names that it binds, as far as that is known."""
        return [] if self._standard is None else dir(self._standard)

    @cached_property
    def _standard(self) -> ModuleType | None:
        top, spec = self.name.partition(".")[0], self.spec
        is_standard = top in sys.stdlib_module_names and top not in _NOT_TO_RUN
        if spec is None or not is_standard or not (spec.origin or "").startswith(_STANDARD_PLACES):
            return None
        try:
            return import_module(self.name)
        except ImportError:
            return None
