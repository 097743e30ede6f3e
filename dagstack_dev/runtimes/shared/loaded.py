"""What `sys.modules` holds, as far as it can be told without running any of it."""

from __future__ import annotations

from importlib.machinery import NamespaceLoader
from typing import Any


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
