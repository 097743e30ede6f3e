"""What a call has returned, as values that JSON has a form for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import (
    PydanticSerializationError,
    SchemaSerializer,
    core_schema,
    to_jsonable_python,
)

MOST_ITEMS: Final = 1000
MOST_IN_ALL: Final = 10_000
"""How much is taken of an iterator in a result, and of all together."""

_ANY: Final = SchemaSerializer(core_schema.any_schema())


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call has returned.

    Attributes:
        value: the result, as values that JSON has a form for.
        text: its `repr`, where JSON has none.
        content: what a tool of a server has answered, block by block as MCP has it.
    """

    value: Any = None
    text: str | None = None
    content: Sequence[Any] | None = None


def returned(result: Any) -> Returned:
    """Return a result as values that JSON has a form for, or else its `repr`."""
    try:
        return Returned(to_jsonable_python(_finite(result), inf_nan_mode="strings"))
    except (PydanticSerializationError, RecursionError, ValueError):  # Or it holds itself.
        return Returned(text=repr(result))


async def taken(items: AsyncIterator[Any]) -> list[Any]:
    """Return at most `MOST_ITEMS` of `items`."""
    taken: list[Any] = []
    async for each in items:
        taken.append(each)
        if len(taken) == MOST_ITEMS:
            break
    return taken


def _finite(value: Any) -> Any:
    """Return `value` with at most `MOST_ITEMS` of each iterator in it, in models and the like, too.

    Raises:
        ValueError: it holds itself.
    """
    plain = _ANY.to_python(value, by_alias=True, warnings=False)  # Leaves iterators alone.
    return _cut(plain, iter(range(MOST_IN_ALL))) if _holds_iterator(plain) else value


def _holds_iterator(value: Any) -> bool:
    match value:
        case list() | tuple() | set() | frozenset():
            return any(map(_holds_iterator, value))
        case dict():
            return any(map(_holds_iterator, value.values()))
        case _:
            return isinstance(value, Iterator)


def _cut(value: Any, left: Iterator[int]) -> Any:
    match value:
        case Iterator():
            some = zip(range(MOST_ITEMS), left, value, strict=False)
            return [_cut(each, left) for *_, each in some]
        case list() | tuple() | set() | frozenset():
            return [_cut(each, left) for each in value]
        case dict():
            return {key: _cut(each, left) for key, each in value.items()}
        case _:
            return value
