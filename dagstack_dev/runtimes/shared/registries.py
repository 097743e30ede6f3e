"""What the standard library notes of modules by their names: it goes and comes back with them."""

from __future__ import annotations

import copyreg
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Registered(NamedTuple):
    """What was noted of some modules.

    Attributes:
        overloads: by module, what `typing.get_overloads` knows.
        extensions: by module and name, the codes that `copyreg.add_extension` has given.
    """

    overloads: Mapping[str, Any] = {}
    extensions: Mapping[tuple[str, str], int] = {}


def take_out(modules: Collection[str]) -> Registered:
    """Forget what is noted of `modules`, and return it."""
    noted: dict[str, Any] = getattr(typing, "_overload_registry", {})
    known: dict[tuple[str, str], int] = getattr(copyreg, "_extension_registry", {})
    overloads = {name: noted.pop(name) for name in modules if name in noted}
    extensions = {key: code for key, code in known.items() if key[0] in modules}
    for key, code in extensions.items():
        copyreg.remove_extension(*key, code)
    return Registered(overloads, extensions)


def put_back(registered: Registered) -> None:
    """The reverse of `take_out`."""
    getattr(typing, "_overload_registry", {}).update(registered.overloads)
    for key, code in registered.extensions.items():
        copyreg.add_extension(*key, code)
