"""What goes between the app and a plugin's process, with errors that say what is in the way.

Each message is a fixed header and a payload, which is a pickle. A payload is only
read where it is known what it should be, so what cannot be unpickled spoils one call and no more.

A plugin's modules exist in its own process only: unpickling in the app never imports them. So an
exception is taken apart into type, message and the plugin's own frames, and made again with a
traceback of these, so that all that reads tracebacks shows it as that of any other plugin.
"""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.base import in_words, said
from dagstack_dev.core.errors.remote import NotTransferable, RemoteError
from dagstack_dev.core.recorded import LONGEST_CHAIN, Step, steps_of, traceback_of
from dagstack_dev.core.transient import is_transient

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterator

    from dagstack_dev.core.refs import PluginRef


HEADER: Final = Struct("!BQQ")


class Kind(IntEnum):
    """What a message is; the first four go to the plugin's process, the others come from it."""

    START = 1
    CALL = 2
    CANCEL = 3
    STOP = 4
    READY = 5
    FAILED = 6
    RESULT = 7
    ERROR = 8
    CRASHED = 9
    STOPPED = 10
    LOG = 11
    IMPORTED = 12
    STOPPING = 13
    HELD = 14


class Message(NamedTuple):
    """One message; `call` is 0 where it is about no call."""

    kind: Kind
    call: int
    payload: bytes


def encode(kind: Kind, payload: bytes = b"", *, call: int = 0) -> bytes:
    """Return a message as bytes."""
    return HEADER.pack(kind, call, len(payload)) + payload


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Return the messages that are complete with `data`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER.size:
            kind, call, length = HEADER.unpack_from(buffer)
            end = HEADER.size + length
            if len(buffer) < end:
                return
            payload = bytes(memoryview(buffer)[HEADER.size : end])
            del buffer[:end]
            yield Message(Kind(kind), call, payload)


@dataclass(frozen=True, slots=True)
class ContextArgument:
    """Stands for a plugin context among the arguments of a call, as hooks get it.

    In its own process the plugin has a context already; what differs by call is the `metadata`.
    """

    metadata: dict[str, object]


@dataclass(frozen=True, slots=True)
class Method:
    """One method; `signature` is None where nothing can be told of it."""

    name: str
    doc: str | None = None
    signature: inspect.Signature | None = None
    streams: bool = False


def pack(value: object, *, ref: PluginRef, what: str) -> bytes:
    """Return `value` as bytes.

    Args:
        value: may hold exceptions, also of classes that the plugin defines.
        ref: the plugin, for messages.
        what: what the value is, for messages.

    Raises:
        NotTransferable: it cannot be pickled.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, ref).dump(value)
    except Exception as error:
        reason = f"{in_words(error)}; use plain values, or objects that can be pickled"
        raise NotTransferable(ref, what, reason) from error
    return buffer.getvalue()


def unpack(data: bytes, *, ref: PluginRef, what: str, own: str = "") -> Any:
    """Return what `pack` has packed in the other process.

    Args:
        data: the bytes.
        ref: the plugin, for messages.
        what: what it is, for messages.
        own: the package of the plugin, in its own process.

    Raises:
        NotTransferable: it cannot be unpickled here, or is of a class that a plugin defines.
    """
    try:
        return _Unpickler(data, own).load()
    except Exception as error:
        if isinstance(error, _ForeignClass):
            reason = (
                f"it holds {error.args[0]}, which a plugin defines and which exists in that "
                "plugin's process only; use plain values, or a class of code that both sides import"
            )
        else:
            reason = in_words(error)
        raise NotTransferable(ref, what, reason) from error


def is_plugin_module(module: str) -> bool:
    """Return whether `module` is part of some plugin."""
    top = module.partition(".")[0]
    return top == NAMESPACE or top.startswith(f"{NAMESPACE}_")


class _ForeignClass(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, own: str = "") -> None:
        super().__init__(io.BytesIO(data))
        self._own = f"{own}."

    def find_class(self, module: str, name: str) -> Any:
        if is_plugin_module(module) and not f"{module}.".startswith(self._own):
            raise _ForeignClass(f"{module.rpartition('.')[2]}.{name}")
        return super().find_class(module, name)


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, ref: PluginRef) -> None:
        super().__init__(buffer, pickle.HIGHEST_PROTOCOL)
        self._ref = ref

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, BaseException):
            return _raised_again, (_described(value), self._ref)
        return NotImplemented


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception as plain values.

    Attributes:
        type: the name of its class.
        message: its message.
        bases: the names of the built-in exceptions that its class derives from, nearest first.
        pickled: the exception itself, where the other side can unpickle it.
        steps: the frames of the plugin's code, outermost first.
        notes: what was added to it.
        parts: the exceptions of a group.
        before: what it was raised from, or what was being handled then.
        is_caused: whether it was raised from that.
        hides_context: whether that is not to be shown.
        is_transient: whether it is worth while to try again; see `core.transient`.
    """

    type: str
    message: str
    bases: tuple[str, ...]
    pickled: bytes | None
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    parts: tuple[_Failure, ...]
    before: _Failure | None
    is_caused: bool
    hides_context: bool
    is_transient: bool


def _described(error: BaseException, depth: int = 0) -> _Failure:
    before = None if depth >= LONGEST_CHAIN else error.__cause__ or error.__context__
    group = error if isinstance(error, BaseExceptionGroup) and depth < LONGEST_CHAIN else None
    return _Failure(
        type=type(error).__qualname__,
        message=said(error) if group is None else str(group.message),
        bases=tuple(each.__name__ for each in type(error).__mro__ if each.__module__ == "builtins"),
        pickled=_pickled(error) if group is None else None,
        steps=steps_of(error),
        notes=tuple(map(str, getattr(error, "__notes__", ()))),
        parts=tuple(_described(each, depth + 1) for each in group.exceptions) if group else (),
        before=None if before is None else _described(before, depth + 1),
        is_caused=before is not None and before is error.__cause__,
        hides_context=error.__suppress_context__,
        is_transient=is_transient(error),
    )


def _pickled(error: BaseException) -> bytes | None:
    """Return `error` as bytes, None where the other side could not make the same of it."""
    try:
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        copy = _Unpickler(data).load()
    except Exception:  # noqa: BLE001 - a class may do anything there
        return None
    return data if type(copy) is type(error) and said(copy) == said(error) else None


def _raised_again(failure: _Failure, ref: PluginRef) -> BaseException:
    """Return the exception that `failure` describes, or one that comes as near as possible."""
    error = _unpickled(failure) or _group(failure, ref) or _reconstructed(failure, ref)
    put = partial(BaseException.__setattr__, error)  # Its class may let nothing be set.
    put("__traceback__", traceback_of(failure.steps))
    if failure.before is not None:
        before = _raised_again(failure.before, ref)
        if failure.is_caused:
            put("__cause__", before)
        else:
            put("__context__", before)
            put("__suppress_context__", failure.hides_context)
    return error


def _unpickled(failure: _Failure) -> BaseException | None:
    try:
        error = _Unpickler(failure.pickled or b"").load()
    except Exception:  # noqa: BLE001 - it needs a module that only the other process can import
        return None
    return error if isinstance(error, BaseException) else None


def _group(failure: _Failure, ref: PluginRef) -> BaseException | None:
    if not failure.parts:
        return None
    parts = [_raised_again(each, ref) for each in failure.parts]
    group = BaseExceptionGroup(failure.message, parts)
    for note in failure.notes:
        group.add_note(note)
    return group


def _reconstructed(failure: _Failure, ref: PluginRef) -> RemoteError:
    name = failure.type.rpartition(".")[2]
    error = RemoteError(f"{name}: {failure.message}")
    members = {"__module__": __name__, "is_transient": failure.is_transient}
    for base in failure.bases:
        kind = getattr(sys.modules["builtins"], base, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                error = type(name, (RemoteError, kind), members)(failure.message)
                break
            except TypeError:  # Two classes that do not go together, or other arguments.
                continue
    error.ref = ref
    for note in failure.notes:
        error.add_note(note)
    return error
