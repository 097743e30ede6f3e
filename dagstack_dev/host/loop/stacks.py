"""Stacks: at which line something is that does not end, and which calls are under way."""

from __future__ import annotations

import asyncio
import sys
from os.path import dirname
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.life import Unfinished
from dagstack_dev.core.frames import awaited, callers, is_of_python
from dagstack_dev.core.tracebacks import last_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

_HOST: Final = dirname(dirname(__file__))  # noqa: PTH120 - compared with file names
_PACKAGE: Final = dirname(_HOST)  # noqa: PTH120 - likewise

FORWARDER_FILE: Final = "<dagstack_dev proxy>"
"""The file name in the code of generated forwarding methods; tracebacks leave it out."""

_WAITS_FOR_THREAD: Final = "Gate.call_in_thread"


def suspended_at(what: str, awaitable: object, folder: str | None) -> Unfinished:
    """Return where `awaitable`, which is called `what`, is suspended, if that can be found.

    The innermost line of code in `folder`; where there is none, the outermost that is not ours,
    unless it is a runtime of ours that has called it, to wait for another process.
    """
    frames = _frames_of(awaitable)
    outside = next((each for each in frames if not _is_in(_HOST, each)), None)
    foreign = outside if outside is not None and not _is_in(_PACKAGE, outside) else None
    return _at(what, _innermost_in(folder, frames) or foreign)


def running_at(what: str, frame: FrameType | None, folder: str | None) -> Unfinished:
    """Return where a thread at `frame`, which runs `what`, is; None is one that has ended.

    The innermost line of code in `folder`; where there is none, the innermost of any.
    """
    inside = frame
    while inside is not None and not (folder and _is_in(folder, inside)):
        inside = inside.f_back
    return _at(what, inside or frame)


def frame_of(thread: int | None) -> FrameType | None:
    """Return what the thread of this ident runs, if it has not ended."""
    return sys._current_frames().get(thread or 0)  # noqa: SLF001 - there is no other way


def gate_of(frame: FrameType) -> Any:
    """Return the gate that `frame` forwards a call through; None where it does not do that."""
    is_forwarder = frame.f_code.co_filename == FORWARDER_FILE
    return frame.f_locals.get("_dagstack_gate") if is_forwarder else None


def is_of_app(frame: FrameType) -> bool:
    """Return whether `frame` runs code of an app or a plugin: neither ours nor Python's."""
    return not (_is_in(_PACKAGE, frame) or is_of_python(frame))


def calls_through(gate: object, folder: str | None) -> list[Unfinished]:
    """Return the methods that are called through `gate` and have not come back, and where they are.

    Nothing is noted while calls come and go, for they are many; the forwarding methods of the
    gate are looked for among all that is suspended or runs now. To be called on the loop's thread.
    """
    calls = []
    stacks = [_frames_of(coroutine) for coroutine in _every_coroutine()]
    running = sys._current_frames().values()  # noqa: SLF001 - there is no other way
    for frames in (*stacks, *([*callers(each)][::-1] for each in running)):
        for index, frame in enumerate(frames):
            if gate_of(frame) is gate:
                inside = frames[index + 1 :]
                if inside and inside[0].f_code.co_qualname == _WAITS_FOR_THREAD:
                    break  # The stack of the thread shows where: it has such a frame, too.
                first = inside[0] if inside and not _is_in(_PACKAGE, inside[0]) else None
                last = _innermost_in(folder, inside) or first
                # In a worker thread, the method itself is called by a function without a name.
                named = inside[0] if frame.f_code.co_name == "<lambda>" and inside else frame
                calls.append(_at(named.f_code.co_name, last))
                break
    return calls


def _is_in(folder: str, frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(f"{folder}/")


def _at(what: str, frame: FrameType | None) -> Unfinished:
    if frame is None:
        return Unfinished(what)
    path, line = frame.f_code.co_filename, frame.f_lineno
    return Unfinished(what, path, line, last_lines(frame.f_globals, path, line))


def _innermost_in(folder: str | None, frames: Iterable[FrameType]) -> FrameType | None:
    if not folder:
        return None
    own = [each for each in frames if _is_in(folder, each)]
    return own[-1] if own else None


def _frames_of(awaitable: object) -> list[FrameType]:
    """Return what is suspended in `awaitable`, outermost first."""
    return [frame for _, frame in awaited(awaitable) if frame is not None]


def _every_coroutine() -> list[object]:
    """Return what every task of the running event loop runs."""
    try:
        return [task.get_coro() for task in asyncio.all_tasks()]
    except RuntimeError:
        import trio  # noqa: PLC0415 - only where trio runs the loop, and then it is there

    root = trio.lowlevel.current_root_task()
    tasks = [root] if root is not None else []
    for task in tasks:  # It grows while we go through it.
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return [task.coro for task in tasks]
