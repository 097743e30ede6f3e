"""What `sys.modules` holds, without running any of it, and what is noted of modules elsewhere."""

from __future__ import annotations

import copyreg
import sys
import typing
from contextlib import suppress
from importlib.machinery import NamespaceLoader
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import ModuleType


def namespace_of(module: object) -> dict[str, Any]:
    """Return the attributes of what `sys.modules` holds, without loading a module that is lazy.

    Empty for an object in a module's place that keeps no such dict.
    """
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def is_namespace_package(module: object) -> bool:
    """Return whether what `sys.modules` holds is a package without a file of its own."""
    return isinstance(namespace_of(module).get("__loader__"), NamespaceLoader)


def origin_of(module: object) -> str | None:
    """Return the file of what `sys.modules` holds; of a package without one, where it would be."""
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


def forget_notes(modules: Collection[str]) -> Callable[[], None]:
    """Forget the overloads and `copyreg` extensions of `modules`; return what brings them back."""
    noted: dict[str, Any] = getattr(typing, "_overload_registry", {})
    known: dict[tuple[str, str], int] = getattr(copyreg, "_extension_registry", {})
    overloads = {name: noted.pop(name) for name in modules if name in noted}
    extensions = {key: code for key, code in known.items() if key[0] in modules}
    for key, code in extensions.items():
        copyreg.remove_extension(*key, code)

    def bring_back() -> None:
        noted.update(overloads)
        for key, code in extensions.items():
            copyreg.add_extension(*key, code)

    return bring_back if overloads or extensions else _nothing


def _nothing() -> None:
    """There is nothing to bring back; one for all, for nearly all modules."""
