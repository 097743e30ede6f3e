"""What of a retired generation can still be reached, and who holds it, in words."""

from __future__ import annotations

import typing
from itertools import islice
from typing import TYPE_CHECKING, Final

from dagstack_dev.runtimes.leaks.garbage import Reachable
from dagstack_dev.runtimes.leaks.live_references import live_references
from dagstack_dev.runtimes.leaks.referrers import holders_of, in_words, running_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.runtimes.leaks.retired import RetiredGeneration

MOST_HELD: Final = 4
"""Objects whose holders are looked for in one generation; the rest hangs on them."""

_UNSEEN: Final = "something that the garbage collector does not see, as of an extension module"


def is_gone(retired: RetiredGeneration) -> bool:
    """Return whether nothing can be reached: it does not exist, or only waits to be collected.

    Takes microseconds where nothing exists, else some milliseconds. False may mean that garbage
    holds it, which only a collection can show.
    """
    if retired.stray_handlers():
        return False
    if retired.is_freed or _is_garbage(retired):
        return True
    for clear in getattr(typing, "_cleanups", ()):
        clear()  # `Optional[Part]` is cached, and would keep the module of `Part`.
    return _is_garbage(retired)


def _is_garbage(retired: RetiredGeneration) -> bool:
    objects = retired.existing()[1]
    return Reachable(objects, retired.modules).is_garbage


def leaks(retired: RetiredGeneration) -> tuple[str, ...]:
    """Return what can still be reached and who holds it; empty when nothing can.

    To be asked after a collection: what garbage holds is reported like any other.
    """
    standing = live_references(retired)
    explained = frozenset[int]().union(*(each.explains for each in standing))
    lines = [each.words for each in standing] + retired.stray_handlers()
    words, objects = retired.existing()
    if objects:
        reachable = Reachable(objects, retired.modules)
        if not reachable.is_garbage:
            lines += _held(reachable, words, explained)
            lines = lines or [f"{words[0]}, held by {_UNSEEN}"]
    return tuple(dict.fromkeys(lines))


def _held(reachable: Reachable, words: list[str], explained: frozenset[int]) -> Iterator[str]:
    """Yield what is held from outside, unless a live reference says so already."""
    paths = list(islice(reachable.paths_from_outside(), MOST_HELD))
    outermost = [reachable.objects[path[0]] for path in paths]
    chains = holders_of(outermost, reachable.objects)
    named: set[int] = set()
    for path, outer in zip(paths, chains, strict=True):
        chain = [*outer, *(reachable.objects[each] for each in path[1:])]
        if not explained.isdisjoint(map(id, chain)) or not named.isdisjoint(map(id, outer[:-1])):
            continue
        named.update(map(id, outer[:-1]))
        holders = in_words(chain) or running_with(chain[-1])
        if holders or not (explained or named):
            yield f"{words[path[-1]]}, held by {holders or _UNSEEN}"
