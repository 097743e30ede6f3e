"""Making a failing sequence short."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def shrink(
    count: int, fails: Callable[[Sequence[int]], bool], may_go_on: Callable[[], bool]
) -> list[int]:
    """The positions, of `count`, that are enough to fail.

    Args:
        count: how many there are; all of them together fail.
        fails: whether a choice of positions does.
        may_go_on: asked before every try.
    """
    kept = list(range(count))
    size = max(count // 2, 1)
    while True:
        shorter = _without_one_piece(kept, size, fails, may_go_on)
        if shorter is not None:
            kept = shorter
        elif size == 1 or not may_go_on():
            return kept
        else:
            size = max(size // 2, 1)


def _without_one_piece(
    kept: list[int],
    size: int,
    fails: Callable[[Sequence[int]], bool],
    may_go_on: Callable[[], bool],
) -> list[int] | None:
    # From the end: what comes after the failure goes first.
    for start in range(len(kept) - 1 - (len(kept) - 1) % size, -1, -size):
        shorter = kept[:start] + kept[start + size :]
        if shorter and may_go_on() and fails(shorter):
            return shorter
    return None
