"""What keeps an object alive, in words."""

from __future__ import annotations

import gc
import sys
import threading
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    ModuleType,
)
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def holder_of(target: object, alive: Sequence[tuple[str, object]]) -> str:
    """The first referrer of `target` that tells something.

    `alive` are the survivors of the same generation: among themselves they hold each other, so
    they are named only when nothing else is found.
    """
    running = _running_with(target)
    if running is not None:
        return running
    family = {id(found) for _, found in alive}
    family.update(id(vars(found)) for _, found in alive if hasattr(found, "__dict__"))
    mine = sys._getframe()  # noqa: SLF001 - the only way to leave ourselves out
    fallback = "another part of the same generation"
    for referrer in gc.get_referrers(target):
        if referrer is mine or referrer is alive or id(referrer) in family:
            continue
        described = _describe(referrer, family)
        if described is not None:
            return described
    return fallback


def _running_with(target: object) -> str | None:
    """The function that another thread runs with `target` among its variables, if any.

    The garbage collector does not know the variables of what runs right now.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, innermost in sys._current_frames().items():  # noqa: SLF001 - no other way
        frame = None if ident == threading.get_ident() else innermost
        while frame is not None:
            for value in frame.f_locals.values():  # any() would make one more referrer.
                if value is target:
                    return f"{_running(frame)} in thread {names.get(ident, ident)!r}"
            frame = frame.f_back
    return None


def _running(frame: FrameType) -> str:
    code = frame.f_code
    return f"a running {code.co_qualname}() at {code.co_filename}:{frame.f_lineno}"


def _describe(referrer: object, family: set[int]) -> str | None:
    code = _code_of(referrer)
    if code is not None:
        if "dagstack_dev/runtimes" in code.co_filename:
            return None
        if isinstance(referrer, FrameType):
            return _running(referrer)
        return f"a suspended {code.co_qualname}()"
    if isinstance(referrer, FunctionType):
        return f"function {referrer.__module__}.{referrer.__qualname__}"
    if isinstance(referrer, ModuleType):
        return f"module {referrer.__name__}"
    if isinstance(referrer, dict):
        owner = next(
            (
                each
                for each in gc.get_referrers(referrer)
                if getattr(each, "__dict__", None) is referrer and id(each) not in family
            ),
            None,
        )
        if owner is None:
            return None
        name = getattr(owner, "__name__", type(owner).__name__)
        return f"an attribute of {name}"
    if isinstance(referrer, list | tuple | set | frozenset | GetSetDescriptorType):
        return None  # Says nothing: whoever holds *it* would have to be found next.
    return f"an object of type {type(referrer).__name__}"


def _code_of(referrer: object) -> CodeType | None:
    """The code of something that runs or is suspended, None for anything else."""
    if isinstance(referrer, FrameType):
        return referrer.f_code
    if isinstance(referrer, CoroutineType):
        return referrer.cr_code
    if isinstance(referrer, GeneratorType):
        return referrer.gi_code
    if isinstance(referrer, AsyncGeneratorType):
        return referrer.ag_code
    return None
