"""What the standard library notes of modules by their names: it goes and comes back with them."""

from __future__ import annotations

import copyreg
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def forget(modules: Collection[str]) -> Callable[[], None]:
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
