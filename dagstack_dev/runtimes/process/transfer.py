"""What goes between the app and a plugin's process, with errors that say what is in the way.

Each message is a fixed header and a payload, which is a pickle. A payload is only
read where it is known what it should be, so what cannot be unpickled spoils one call and no more.

A plugin's modules exist in its own process only: unpickling in the app never imports them. So an
exception goes as a record of it, see `core.recorded`, and as it is where the app can unpickle that.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.core.blame import is_plugin_module
from dagstack_dev.core.errors.base import in_words, said
from dagstack_dev.core.errors.remote import NotTransferable
from dagstack_dev.core.recorded import record_of

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterator

    from dagstack_dev.core.recorded import ErrorRecord
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
    """Return a message as bytes.

    Args:
        kind: what it is.
        payload: what it holds, pickled.
        call: the number of the call that it is about; 0 for none.
    """
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
    """One method; `signature` is None where it is unknown."""

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
            return _raised_again, (record_of(value, _pickled), self._ref)
        return NotImplemented


def _pickled(error: BaseException) -> bytes | None:
    """Return `error` as bytes, None where the other side could not make the same of it."""
    if isinstance(error, BaseExceptionGroup):  # Its exceptions would lose their lines.
        return None
    try:
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        copy = _Unpickler(data).load()
    except Exception:  # noqa: BLE001 - a class may do anything there
        return None
    return data if type(copy) is type(error) and said(copy) == said(error) else None


def _unpickled(data: bytes) -> BaseException | None:
    try:
        error = _Unpickler(data).load()
    except Exception:  # noqa: BLE001 - it needs a module that only the other process can import
        return None
    return error if isinstance(error, BaseException) else None


def _raised_again(record: ErrorRecord, ref: PluginRef) -> BaseException:
    """Return the exception, or one that comes as near as possible."""
    return record.exception(ref, _unpickled)
