"""What depends on what, as the lines of a tree."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from dagstack_dev.core.graph import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Key = TypeVar("Key")


class Branch(NamedTuple, Generic[Key]):
    """One line of a tree.

    Attributes:
        prefix: what is printed before it.
        key: what it is about.
        parent: what it hangs on; None for a root.
        others: what else it depends on.
    """

    prefix: str
    key: Key
    parent: Key | None
    others: Sequence[Key]


def tree(
    order: Iterable[Key], dependencies: Callable[[Key], Iterable[Key]]
) -> Iterator[Branch[Key]]:
    """Yield the lines of a tree: each below the last of what it depends on.

    Args:
        order: what is drawn.
        dependencies: returns what one depends on; what is not drawn does not count.
    """
    place = {key: number for number, key in enumerate(order)}
    above = {
        key: sorted(
            {each for each in dependencies(key) if each in place and each != key},
            key=place.__getitem__,
        )
        for key in place
    }
    below: defaultdict[Key | None, list[Key]] = defaultdict(list)
    for key, others in above.items():
        below[others[-1] if others else None].append(key)
    hanging = reach(below[None], below.__getitem__)
    for key in place:
        if key not in hanging:  # It closes a cycle: its first plugin hangs on nothing.
            below[above[key][-1]].remove(key)
            below[None].append(key)
            hanging |= reach([key], below.__getitem__)
    stack: list[tuple[Key, Key | None, str, str]] = [
        (key, None, "", "") for key in reversed(below[None])
    ]
    while stack:
        key, parent, prefix, indent = stack.pop()
        yield Branch(prefix, key, parent, [each for each in above[key] if each != parent])
        last = "└── ", "    "
        for each in reversed(below[key]):
            stack.append((each, key, indent + last[0], indent + last[1]))
            last = "├── ", "│   "
