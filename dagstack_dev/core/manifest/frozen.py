"""Read-only nested values: what a manifest carries without knowing its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dagstack_dev.core.secrets import masked


class FrozenMapping(Mapping[str, Any]):
    """A read-only mapping, equal to any mapping with the same items; can be pickled and copied."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = {key: frozen(value) for key, value in items.items()}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"FrozenMapping({masked(self._items)!r})"


def frozen(value: object) -> object:
    """`value` with read-only mappings for its dicts and tuples for its lists, at any depth."""
    if isinstance(value, Mapping):
        return FrozenMapping(value)
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


def thawed(value: object) -> Any:
    """Reverse `frozen`: fresh dicts and lists."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    return value
