"""Who holds an object: a short chain of referrers, in words."""

from __future__ import annotations

import gc
import sys
import threading
from asyncio import AbstractEventLoop, Task
from itertools import pairwise
from time import thread_time
from types import CellType, FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.frames import callers, suspended
from dagstack_dev.runtimes.leaks.garbage import module_of, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LINKS: Final = 6
"""Objects that a chain goes back to at most; each costs a walk through the whole heap."""

WIDTH: Final = 16
"""Objects whose referrers one walk looks for: it compares every reference with each of them."""

SECONDS: Final = 0.3
"""Processor seconds that a search may take; then it is content with what it has."""


def holders_of(starts: Sequence[object], known: list[object]) -> list[tuple[object, ...]]:
    """Go from objects to what refers to them, breadth first.

    Args:
        starts: where to begin.
        known: what is not to be reported as a holder.

    Returns:
        For each start, objects of which each refers to the next, the start being the last; as far
        out as could be found in time. A start alone: nothing is seen to hold it.
    """
    search = _Search([starts, known, *known, *callers(sys._getframe())])  # noqa: SLF001 - ours
    chains = [search.chain(start) for start in starts]
    done: set[int] = set()
    began = thread_time()
    frontier = list(enumerate(chains))
    for _ in range(LINKS):
        if not frontier or thread_time() - began > SECONDS:
            break
        found = search.extended(frontier[:WIDTH])
        for at, chain in reversed(found):  # The first one that was found counts,
            if at not in done:
                chains[at] = chain
        for at, chain in found:  # but for one that ends the search.
            if at not in done and search.is_root(chain[0]):
                chains[at] = chain
                done.add(at)
        frontier = [each for each in found if each[0] not in done]
    return chains


class _Search:
    """Finds what refers to the outermost objects of chains.

    Args:
        unwanted: what is no holder, beside what the search itself holds.
    """

    def __init__(self, unwanted: Iterable[object]) -> None:
        self._unwanted = {id(each) for each in unwanted}
        self._chains: list[tuple[object, ...]] = []
        self._seen: set[tuple[int, int]] = set()
        self._globals = {
            id(vars(module))
            for module in list(sys.modules.values())
            if issubclass(type(module), ModuleType)
        }

    def chain(self, *objects: object) -> tuple[object, ...]:
        """Return a chain that is no holder itself."""
        self._chains.append(objects)  # No other object gets its identity.
        self._unwanted.add(id(objects))
        return objects

    def extended(
        self, frontier: Sequence[tuple[int, tuple[object, ...]]]
    ) -> list[tuple[int, tuple[object, ...]]]:
        """Return each chain of `frontier` with each holder of it, and with the same number."""
        wanted: dict[int, list[tuple[int, tuple[object, ...]]]] = {}
        for at, chain in frontier:
            wanted.setdefault(id(chain[0]), []).append((at, chain))
        found = []
        asked = tuple(each[0][1][0] for each in wanted.values())
        for holder in gc.get_referrers(*asked):
            if holder is asked or id(holder) in self._unwanted:
                continue
            held_by_it = {id(referent) for referent in gc.get_referents(holder)} & wanted.keys()
            for at, chain in (each for key in held_by_it for each in wanted[key]):
                if (id(holder), at) not in self._seen:
                    self._seen.add((id(holder), at))
                    found.append((at, self.chain(holder, *chain)))
        return found

    def is_root(self, holder: object) -> bool:
        """Return whether a reader needs to know no more than this."""
        kinds = (FrameType, Task, threading.Thread, AbstractEventLoop, ModuleType)
        return id(holder) in self._globals or issubclass(type(holder), kinds)


def in_words(chain: Sequence[object]) -> str:
    """Return the holders in a chain, the outermost first; empty when there is none."""
    words = []
    owner = ""
    for holder, held in pairwise(chain):
        if type(holder) is CellType or type(held) is CellType:
            # How a function holds a variable of the function around it: function, tuple, cell.
            words += [] if type(holder) in (CellType, tuple) else [describe(holder, held)]
            continue
        if type(holder) is dict:
            words.append(_item(holder, held, owner))
            owner = ""
        elif type(held) is dict and _is_dict_of(held, holder):
            owner = _type_name(holder)
        else:
            words.append(describe(holder, held))
    return " -> ".join(words)


def describe(thing: object, held: object = None) -> str:
    """Return what an object is, and by which attribute it refers to `held`.

    Of one that raises when it is asked, the class alone is named.
    """
    try:
        return _described(thing, held)
    except BaseException:  # noqa: BLE001 - it may raise anything
        return _type_name(type(thing))


def _described(thing: object, held: object) -> str:
    kind = type(thing)
    step = suspended(thing)
    if type(thing) is FrameType:
        return running(thing)
    if step is not None:
        code = step.code
        line = step.frame.f_lineno if step.frame is not None else code.co_firstlineno
        return f"a suspended {code.co_qualname}() at {code.co_filename}:{line}"
    if type(thing) is FunctionType:
        return f"function {thing.__module__}.{thing.__qualname__}"
    if type(thing) is MethodType:
        return f"method {getattr(thing.__func__, '__qualname__', thing.__func__)}"
    if issubclass(kind, Task):
        return f"task {thing.get_name()!r}"  # type: ignore[attr-defined]
    if issubclass(kind, threading.Thread):
        return f"thread {thing.name!r}"  # type: ignore[attr-defined]
    if issubclass(kind, ModuleType):
        return f"module {thing.__name__}"  # type: ignore[attr-defined]
    if issubclass(kind, type):
        return f"class {_type_name(thing)}"
    attribute = _key(_dict_of(thing), held)
    return f"{_type_name(thing)}.{attribute}" if attribute else _type_name(thing)


def running(frame: FrameType) -> str:
    """Return a frame that runs right now."""
    code = frame.f_code
    return f"a running {code.co_qualname}() at {code.co_filename}:{frame.f_lineno}"


def running_with(target: object) -> str | None:
    """Return the function that some thread runs with `target` among its variables, if any.

    The garbage collector does not know the variables of what runs right now.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, innermost in frames_of_other_threads().items():
        for frame in callers(innermost):
            for value in frame.f_locals.values():
                if value is target:
                    return f"{running(frame)} in thread {names.get(ident, ident)!r}"
    return None


def frames_of_other_threads() -> dict[int, FrameType]:
    """Return what each thread but this one runs, by the thread's identifier."""
    frames = sys._current_frames()  # noqa: SLF001 - there is no other way
    del frames[threading.get_ident()]  # Our own frame among its own variables is a cycle.
    return frames


def _item(holder: dict[Any, Any], held: object, owner: str) -> str:
    key = _key(holder, held)
    if "__spec__" in holder and "__name__" in holder:
        owner = str(holder["__name__"])
    if owner:
        return f"{owner}.{key}" if key else owner
    return f"dict[{key!r}]" if key else "dict"


def _key(holder: dict[Any, Any], held: object) -> str | None:
    items: Iterable[tuple[Any, Any]] = list(holder.items())
    return next((key for key, value in items if value is held and type(key) is str), None)


def _dict_of(thing: object) -> dict[Any, Any]:
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def _is_dict_of(held: dict[Any, Any], holder: object) -> bool:
    return issubclass(type(holder), type) or _dict_of(holder) is held


def _type_name(thing: object) -> str:
    cls = thing if issubclass(type(thing), type) else type(thing)
    module, name = module_of(cls), name_of(cls)  # type: ignore[arg-type]
    return name if module in ("", "builtins") else f"{module}.{name}"
