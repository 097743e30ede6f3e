"""What keeps an object alive, in words."""

from __future__ import annotations

import gc
import sys
from types import CoroutineType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def holder_of(target: object, alive: Sequence[tuple[str, object]]) -> str:
    """The first referrer of `target` that tells something.

    `alive` are the survivors of the same generation: among themselves they hold each other, so
    they are named only when nothing else is found.
    """
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


def _describe(referrer: object, family: set[int]) -> str | None:
    if isinstance(referrer, FrameType):
        code = referrer.f_code
        if code.co_filename == __file__ or "dagstack_dev/runtimes" in code.co_filename:
            return None
        return f"a running {code.co_qualname}() at {code.co_filename}:{referrer.f_lineno}"
    if isinstance(referrer, CoroutineType | GeneratorType):
        return f"a suspended {referrer.__qualname__}()"
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
    if isinstance(referrer, list | tuple | set | frozenset):
        return None
    return f"an object of type {type(referrer).__name__}"
