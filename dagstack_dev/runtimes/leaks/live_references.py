"""Where retired code is still running or registered: tasks, threads, hooks of the process."""

from __future__ import annotations

import asyncio
import atexit
import logging
import signal
import threading
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from dagstack_dev.core.frames import awaited, callers
from dagstack_dev.runtimes.leaks.referrers import frames_of_other_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from dagstack_dev.runtimes.leaks.retired import RetiredGeneration


class LiveReference(NamedTuple):
    """One of them, in words; `explains` are the identities of what it holds the rest by."""

    words: str
    explains: frozenset[int]


def live_references(retired: RetiredGeneration) -> list[LiveReference]:
    """Return everything by which the code that `retired` stands for still acts or may come to act.

    What belongs to it is known by its globals: a newer generation has the same names and files.
    """
    return [
        *_tasks(retired),
        *_threads(retired),
        *_exit_callbacks(retired),
        *_signal_handlers(retired),
        *_logging_handlers(retired),
    ]


def _tasks(retired: RetiredGeneration) -> Iterator[LiveReference]:
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # The loop is trio's, or none runs.
        return
    for task in tasks:
        steps = list(awaited(task.get_coro()))
        frames = [frame for _, frame in steps if frame is not None]
        own = [frame for frame in frames if retired.owns(frame.f_globals)]
        if own:
            yield LiveReference(
                f"task {task.get_name()!r} still runs {_place(own[-1])}",
                frozenset((id(task), *(id(step) for step, _ in steps), *map(id, frames))),
            )


def _threads(retired: RetiredGeneration) -> Iterator[LiveReference]:
    threads = {thread.ident: thread for thread in threading.enumerate()}
    for ident, innermost in frames_of_other_threads().items():
        own = (frame for frame in callers(innermost) if retired.owns(frame.f_globals))
        if (frame := next(own, None)) is not None:
            thread = threads.get(ident)
            name = thread.name if thread is not None else ident
            yield LiveReference(
                f"thread {name!r} still runs {_place(frame)}", frozenset({id(thread), id(frame)})
            )


def _exit_callbacks(retired: RetiredGeneration) -> Iterator[LiveReference]:
    listing = _Listing()
    atexit.unregister(listing)  # type: ignore[arg-type]  # It is compared, and never called.
    for callback in listing.seen:
        if _belongs(callback, retired):
            yield LiveReference(f"atexit callback {_callable(callback)}", _parts(callback))


class _Listing:
    """Is equal to nothing, and remembers what it was compared with.

    `atexit` does not say what is registered; but to unregister something it compares that with
    every callback (its documentation says so), and so lists them without unregistering any.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __eq__(self, other: object) -> bool:
        self.seen.append(other)
        return False


def _signal_handlers(retired: RetiredGeneration) -> Iterator[LiveReference]:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and _belongs(handler, retired):
            name = signal.Signals(number).name
            yield LiveReference(f"handler of {name}: {_callable(handler)}", _parts(handler))


def _logging_handlers(retired: RetiredGeneration) -> Iterator[LiveReference]:
    named = list(logging.Logger.manager.loggerDict.items())
    loggers = [(f"logger {name!r}", logger) for name, logger in named]
    for where, logger in [("the root logger", logging.root), *loggers]:
        if not isinstance(logger, logging.Logger):
            continue  # Only stands for loggers below it.
        for handler in list(logger.handlers):
            parts = (handler, getattr(handler, "stream", None), handler.formatter, *handler.filters)
            if any(_belongs(part, retired) for part in parts):
                words = f"logging handler {type(handler).__qualname__} of {where}"
                yield LiveReference(words, frozenset(map(id, parts)))
        for each in logger.filters:
            if _belongs(each, retired):
                yield LiveReference(f"logging filter {_callable(each)} of {where}", _parts(each))


def _belongs(thing: Any, retired: RetiredGeneration) -> bool:
    """Return whether a callable or an object is the plugin's own code, as far as can be seen."""
    try:
        return _is_own(thing, retired)
    except BaseException:  # noqa: BLE001 - an odd object may raise anything
        return False


def _is_own(thing: Any, retired: RetiredGeneration) -> bool:
    kind = type(thing)
    if kind is partial:
        held = (thing.func, *thing.args, *thing.keywords.values())
        return any(_belongs(each, retired) for each in held)
    if kind is MethodType:
        return _belongs(thing.__func__, retired) or _belongs(thing.__self__, retired)
    if kind is FunctionType:
        return retired.owns(thing.__globals__)
    cls = thing if issubclass(kind, type) else kind
    return any(
        type(member) is FunctionType and retired.owns(member.__globals__)
        for base in cls.__mro__
        for member in list(vars(base).values())
    )


def _parts(thing: Any) -> frozenset[int]:
    """Return the identities of a callable and of what it is made of."""
    parts = [thing]
    if type(thing) is partial:
        parts += [thing.func, *thing.args]
    for each in list(parts):
        if type(each) is MethodType:
            parts += [each.__func__, each.__self__]
    return frozenset(map(id, parts))


def _callable(thing: Any) -> str:
    while type(thing) is partial:
        thing = thing.func
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    code = getattr(thing, "__code__", None)
    return f"{name}() at {code.co_filename}:{code.co_firstlineno}" if code else str(name)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname}() at {frame.f_code.co_filename}:{frame.f_lineno}"
