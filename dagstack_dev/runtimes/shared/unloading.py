"""Modules that imports find no more, and that may come back as they were."""

from __future__ import annotations

import copyreg
import sys
import typing
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from dagstack_dev.runtimes.shared.imports import namespace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from types import ModuleType

    from dagstack_dev.runtimes.shared.imports import ImportGraph, Imports


class Unloaded(NamedTuple):
    """Modules that were taken out of `sys.modules`, and what was known of them.

    Attributes:
        modules: by name.
        bound: those that were attributes of packages which have stayed.
        imports: what each has imported.
        bring_back: notes again what the standard library had noted of them.
    """

    modules: Mapping[str, ModuleType] = {}
    bound: Collection[str] = ()
    imports: Mapping[str, Imports] = {}
    bring_back: Callable[[], None] = lambda: None


def unload(names: Iterable[str], owner: str, graph: ImportGraph) -> Unloaded:
    """Let imports find these modules no more, and follow no more what those of `owner` import."""
    found = {name: sys.modules.pop(name, None) for name in names}
    modules = {name: module for name, module in found.items() if module is not None}
    bound = [name for name, module in modules.items() if _unbind(name, module)]
    return Unloaded(modules, bound, graph.unfollow(owner), _forget_notes(modules))


def restore(unloaded: Unloaded, owner: str, graph: ImportGraph) -> None:
    """Reverse `unload`."""
    unloaded.bring_back()
    sys.modules.update(unloaded.modules)
    for name in unloaded.bound:
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            with suppress(AttributeError):  # Some object in the package's place does not take it.
                setattr(sys.modules[parent], child, unloaded.modules[name])
    graph.follow_again(owner, unloaded.imports)


def _unbind(name: str, module: ModuleType) -> bool:
    """Take `module` out of the package it is in; whatever else has the name there stays."""
    parent, _, child = name.rpartition(".")
    if namespace_of(sys.modules.get(parent)).get(child) is not module:
        return False
    with suppress(AttributeError):
        delattr(sys.modules[parent], child)
    return True


def _forget_notes(modules: Collection[str]) -> Callable[[], None]:
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
