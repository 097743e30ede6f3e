"""Many objects at once that are there to stay."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOCATIONS: Final = 100_000
"""After how many new objects the garbage collector looks at them, in bulk."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Have the garbage collector run seldom inside this block.

    A start only adds to what lives. By default the collector would go through all of it again
    and again, which takes a quarter of the time of 10,000 plugins.
    """
    before = gc.get_threshold()
    during = (max(before[0], ALLOCATIONS), *before[1:])
    if before[0]:  # 0 means that the app has switched it off.
        gc.set_threshold(*during)
    try:
        yield
    finally:
        if gc.get_threshold() == during:
            gc.set_threshold(*before)
