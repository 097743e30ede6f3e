"""Frames: what has led to one, and where coroutines are suspended."""

from __future__ import annotations

import gc
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

_SUSPENDED: Final = {
    CoroutineType: ("cr_code", "cr_frame", "cr_await"),
    GeneratorType: ("gi_code", "gi_frame", "gi_yieldfrom"),
    AsyncGeneratorType: ("ag_code", "ag_frame", "ag_await"),
}


class Suspended(NamedTuple):
    """A coroutine or generator: its code, its frame unless it has ended, and what it awaits."""

    code: CodeType
    frame: FrameType | None
    awaited: object


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield `frame`, what has called it, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def suspended(thing: object) -> Suspended | None:
    """Return what a coroutine or generator is suspended in, None for anything else.

    By type: `isinstance` would ask an object of any class what it takes itself for.
    """
    names = _SUSPENDED.get(type(thing))
    return None if names is None else Suspended(*(getattr(thing, name) for name in names))


def awaited(step: object) -> Iterator[tuple[object, FrameType | None]]:
    """Yield a coroutine, what it awaits, and so on, each with its frame."""
    while step is not None:
        found = suspended(step)
        if found is not None:
            yield step, found.frame
            step = found.awaited
        else:  # What wraps one of these, as `__anext__()` does, tells only the collector.
            wrapped = (each for each in gc.get_referents(step) if type(each) is not GeneratorType)
            step = next((each for each in wrapped if type(each) in _SUSPENDED), None)
