"""Exceptions on their way out of a plugin's process: type, message, and the plugin's own frames.

Here they are raised with a traceback that is put together from file names, lines and functions,
so that everything that reads tracebacks shows them as it shows those of any other plugin.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import said
from dagstack_dev.core.errors.remote import NotTransferable, RemoteError
from dagstack_dev.core.recorded import LONGEST_CHAIN, Step, steps_of, traceback_of
from dagstack_dev.core.transient import is_transient
from dagstack_dev.runtimes.process.transfer import packed_copy, unpack

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as plain values.

    Attributes:
        type: the name of its class.
        message: its message.
        bases: the names of the built-in exceptions that its class derives from, nearest first.
        pickled: the exception itself, where the other side can unpickle it.
        steps: the frames of the plugin's code, outermost first.
        notes: what was added to it.
        cause: what it was raised from.
        context: what was being handled when it was raised, if that is not the cause.
        hides_context: whether that is not to be shown.
        is_transient: whether a retry is worth while; see `core.transient`.
    """

    type: str
    message: str
    bases: tuple[str, ...]
    pickled: bytes | None
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    cause: Failure | None
    context: Failure | None
    hides_context: bool
    is_transient: bool


def describe(error: BaseException, ref: PluginRef, depth: int = 0) -> Failure:
    """`error` as plain values; to be called in the plugin's process."""
    before = None if depth >= LONGEST_CHAIN else error.__cause__ or error.__context__
    earlier = None if before is None else describe(before, ref, depth + 1)
    is_cause = before is not None and before is error.__cause__
    return Failure(
        type=type(error).__qualname__,
        message=said(error),
        bases=tuple(each.__name__ for each in type(error).__mro__ if each.__module__ == "builtins"),
        pickled=_pickled(error, ref),
        steps=steps_of(error),
        notes=tuple(map(str, getattr(error, "__notes__", ()))),
        cause=earlier if is_cause else None,
        context=None if is_cause else earlier,
        hides_context=error.__suppress_context__,
        is_transient=is_transient(error),
    )


def _pickled(error: BaseException, ref: PluginRef) -> bytes | None:
    """None where the other side could not make the same of it."""
    data = packed_copy(error, ref)
    same = data is not None and said(unpack(data, ref=ref, what="an exception")) == said(error)
    return data if same else None


def rebuild(failure: Failure, ref: PluginRef) -> BaseException:
    """The exception that `failure` describes, or one that comes as near as possible."""
    error = _from_pickle(failure, ref) or _likeness(failure, ref)
    error.__traceback__ = traceback_of(failure.steps)
    if failure.cause is not None:
        error.__cause__ = rebuild(failure.cause, ref)
    if failure.context is not None:
        error.__context__ = rebuild(failure.context, ref)
        error.__suppress_context__ = failure.hides_context
    return error


def _from_pickle(failure: Failure, ref: PluginRef) -> BaseException | None:
    if failure.pickled is None:
        return None
    try:
        error = unpack(failure.pickled, ref=ref, what="an exception")
    except NotTransferable:  # It needs a module that only the other process can import.
        return None
    return error if isinstance(error, BaseException) else None


def _likeness(failure: Failure, ref: PluginRef) -> BaseException:
    name = failure.type.rpartition(".")[2]
    error: BaseException | None = None
    members = {"__module__": __name__, "is_transient": failure.is_transient}
    for base in failure.bases:
        kind = getattr(sys.modules["builtins"], base, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                error = type(name, (RemoteError, kind), members)(failure.message)
                break
            except TypeError:  # Two classes that do not go together, or other arguments.
                continue
    error = error if error is not None else RemoteError(f"{name}: {failure.message}")
    if isinstance(error, RemoteError):
        error.ref = ref
    for note in failure.notes:
        error.add_note(note)
    return error
