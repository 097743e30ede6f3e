"""A pause of the garbage collector while many objects are made that are there to stay."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOCATIONS: Final = 100_000
"""After how many new objects the garbage collector looks at them, in a start."""

YOUNG_COLLECTIONS: Final = 1000
"""After how many of these looks it also goes through what has outlived the ones before."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Have the garbage collector run seldom inside this block.

    A start only adds to what lives. By default the collector would go through all of it again
    and again, which takes a third of the time of 10,000 plugins.
    """
    before = gc.get_threshold()
    during = (max(before[0], ALLOCATIONS), max(before[1], YOUNG_COLLECTIONS), *before[2:])
    collections = _collections()
    if before[0]:  # 0 means that the app has switched it off.
        gc.set_threshold(*during)
    try:
        yield
    finally:
        if gc.get_threshold() == during:
            if _collections() > collections and not gc.get_freeze_count():
                # From now on it all counts as old; else it would be gone through at once.
                gc.freeze()
                gc.unfreeze()
            gc.set_threshold(*before)


def _collections() -> int:
    """How often the newest objects have been looked at so far."""
    return int(gc.get_stats()[0]["collections"])
