"""Frames: what has led to one, whether it waits for a person, where coroutines are suspended.

Also which threads a debugger suspends.
"""

from __future__ import annotations

import gc
import types
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType, FrameType

_SUSPENDED: Final = {
    CoroutineType: ("cr_code", "cr_frame", "cr_await"),
    GeneratorType: ("gi_code", "gi_frame", "gi_yieldfrom"),
    AsyncGeneratorType: ("ag_code", "ag_frame", "ag_await"),
}

_LIBRARY: Final = types.__file__.removesuffix("types.py")

_DEBUGGERS: Final = ("/pdb.py", "/debugger.py", "/pdbpp.py")

_WAITING: Final[Mapping[str, str | tuple[str, ...]]] = {
    "trace_dispatch": f"{_LIBRARY}bdb.py",
    "interaction": _DEBUGGERS,
    "cmdloop": _DEBUGGERS,
    "_do_wait_suspend": "pydevd.py",
    "do_wait_suspend": "pydevd.py",
    "interact": f"{_LIBRARY}code.py",
    "mainloop": "IPython/terminal/embed.py",
}
"""The functions in which they wait, and how the names of their files end."""


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


def is_of_python(frame: FrameType) -> bool:
    """Return whether `frame` runs code of the standard library."""
    path = frame.f_code.co_filename
    return path.startswith((_LIBRARY, "<frozen ")) and "site-packages" not in path


def is_at_prompt(frame: FrameType | None) -> bool:
    """Return whether a thread that is at `frame` waits for a person: in a debugger or a console.

    Debuggers that derive from `bdb`, as pdb, ipdb and pudb do, wait within their trace function;
    pydevd, which is in debugpy and PyCharm, in a function of its own.
    """
    codes = (each.f_code for each in callers(frame))
    return any(each.co_filename.endswith(_WAITING.get(each.co_name, ())) for each in codes)


def never_suspend(thread: object) -> None:
    """Have debuggers leave `thread`, which is not started yet, alone when they stop the program."""
    vars(thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)


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
        else:  # What wraps one of these, as `__anext__()` does, is known to the collector alone.
            wrapped = (each for each in gc.get_referents(step) if type(each) is not GeneratorType)
            step = next((each for each in wrapped if type(each) in _SUSPENDED), None)
