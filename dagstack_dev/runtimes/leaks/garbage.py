"""Whether objects are garbage that has not been collected yet, without a collection.

A full collection visits every object of the process and stops the loop for as long. What a reload
leaves is small: everything that can be reached *from* it is listed, and its references are
counted. An object with more references than the list accounts for is held from outside. What no
such object leads to is garbage, whenever the collector comes to it.

An object that is left out of the list makes the ones it refers to look held: the result may be
wrong in that direction only.
"""

from __future__ import annotations

import gc
import sys
from asyncio import AbstractEventLoop, Future
from collections import deque
from types import ModuleType
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.frames import suspended

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

EXPANDED_LIMIT: Final = 2_000
"""Objects whose references are followed: a few milliseconds."""

_MODULE: Final = type.__dict__["__module__"]
_QUALNAME: Final = type.__dict__["__qualname__"]
"""They ask a class itself: its metaclass may have an idea of its own, or raise."""

_SHARED: Final = (
    "dagstack_dev.app.",
    "dagstack_dev.runtimes.in_process.loaders",
    "dagstack_dev.runtimes.in_process.plugin_finder",
)
"""Where the classes are from that lead from one plugin to every other."""


class Reachable:
    """What can be reached from some objects.

    Args:
        objects: where to begin; the list is extended, and must hold the only references that the
            caller has to its items.
        modules: names of the modules whose classes belong to it.

    Attributes:
        objects: everything that was reached, the nearest first.
    """

    def __init__(self, objects: list[object], modules: Collection[str]) -> None:
        self.objects = objects
        self._starts = len(objects)
        self._edges = _expand(objects, modules)
        self._outside = _held_from_outside(objects, self._edges)

    @property
    def is_garbage(self) -> bool:
        """Whether nothing outside leads to any of the objects that it began with."""
        return next(self.paths_from_outside(), None) is None

    def paths_from_outside(self) -> Iterator[list[int]]:
        """Yield what is held from outside and leads to the beginning, the nearest first.

        Each as positions, from what is held from outside to one of the objects that all began
        with. What leads there only through another one of these is left out.
        """
        into: dict[int, list[int]] = {}
        for position, targets in enumerate(self._edges):
            for target in targets:
                into.setdefault(target, []).append(position)
        seen = set(range(self._starts))
        todo = deque([position] for position in range(self._starts))
        while todo:
            path = todo.popleft()
            if path[0] in self._outside:
                yield path
                continue
            fresh = [each for each in into.get(path[0], ()) if each not in seen]
            seen.update(fresh)
            todo.extend([each, *path] for each in fresh)


def _expand(objects: list[object], modules: Collection[str]) -> list[list[int]]:
    """Append what `objects` refer to, directly or not; return who refers to whom."""
    positions = {id(each): position for position, each in enumerate(objects)}
    edges: list[list[int]] = []
    while len(edges) < min(len(objects), EXPANDED_LIMIT):
        targets = []
        for found in gc.get_referents(objects[len(edges)]):
            position = positions.get(id(found))
            if position is None:
                if not gc.is_tracked(found) or _is_beyond(found, modules):
                    continue
                position = positions[id(found)] = len(objects)
                objects.append(found)
            targets.append(position)
        edges.append(targets)
    return edges


def _is_beyond(found: object, modules: Collection[str]) -> bool:
    """Return whether `found` leads to the rest of the process.

    Asks types only, for instances may have their own idea of their class.
    """
    kind = type(found)
    if kind is dict:
        return "__spec__" in found and "__name__" in found  # type: ignore[operator]
    if issubclass(kind, type):
        return module_of(found) not in modules  # type: ignore[arg-type]
    if issubclass(kind, Future):
        return not Future.done(found)  # type: ignore[arg-type]
    step = suspended(found)
    if step is not None and step.frame is not None:
        return step.frame.f_globals.get("__name__") not in modules
    return issubclass(kind, ModuleType | AbstractEventLoop) or (module_of(kind).startswith(_SHARED))


def module_of(cls: type) -> str:
    """Return the name of the module that `cls` says it is from; "" when it says none.

    A class that is made by `type(...)` in globals without a name has none.
    """
    try:
        found = _MODULE.__get__(cls)
    except AttributeError:
        return ""
    return found if type(found) is str else ""


def name_of(cls: type) -> str:
    """Return the qualified name of `cls`."""
    return str(_QUALNAME.__get__(cls))


def _held_from_outside(objects: list[object], edges: list[list[int]]) -> set[int]:
    inside = [0] * len(objects)
    for targets in edges:
        for target in targets:
            inside[target] += 1
    objects.append(object())  # Has the references that counting itself takes, and no other.
    counts = [sys.getrefcount(each) for each in objects]
    objects.pop()
    own = counts.pop()
    return {
        position
        for position, (count, known) in enumerate(zip(counts, inside, strict=True))
        if count - own > known
    }
