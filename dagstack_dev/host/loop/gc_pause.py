"""A pause of the garbage collector while many objects are made."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOCATIONS: Final = 100_000
"""After how many new objects the garbage collector looks at them, in a pause."""

YOUNG_COLLECTIONS: Final = 50
"""After how many of these looks it also goes through what has outlived the ones before."""

FROZEN_BY_PYTHON: Final = 1_000
"""How many frozen objects may be Python's own: 3.12 starts with a few hundred. An app that
freezes what it has loaded, so that forks share it, has far more, and they stay frozen."""


@contextmanager
def rare_collections(*, adds_only: bool = False) -> Iterator[None]:
    """Have the garbage collector run seldom inside this block.

    By default it would go through all that lives again and again, which takes a third of the
    time of 10,000 plugins that start, and of 1,000 among them that are reloaded at once.

    Args:
        adds_only: whether what is made inside the block is there to stay, as in a start. Where
            that is much, it is not gone through right after it either.
    """
    before = gc.get_threshold()
    during = (max(before[0], ALLOCATIONS), max(before[1], YOUNG_COLLECTIONS), *before[2:])
    collections = _collections() if adds_only else 0
    if before[0]:  # 0 means that the app has switched it off.
        gc.set_threshold(*during)
    try:
        yield
    finally:
        if gc.get_threshold() == during:
            many = adds_only and _collections() > collections
            if many and gc.get_freeze_count() < FROZEN_BY_PYTHON:
                gc.freeze()  # Both together make it count as old.
                gc.unfreeze()
            gc.set_threshold(*before)


def _collections() -> int:
    """Return how often the newest objects have been looked at so far."""
    return int(gc.get_stats()[0]["collections"])
