"""Pickling between the app and a plugin's process, with errors that say what is in the way.

A plugin's modules exist in its own process only: unpickling in the app never imports them.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.remote import NotTransferable

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@dataclass(frozen=True, slots=True)
class ContextArgument:
    """Stands for a plugin context among the arguments of a call, as hooks get it.

    In its own process the plugin has a context already; what differs by call is the `metadata`.
    """

    metadata: dict[str, object]


def pack(value: object, *, ref: PluginRef, what: str) -> bytes:
    """`value` as bytes.

    Raises:
        NotTransferable: it cannot be pickled.
    """
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        reason = f"{in_words(error)}; use plain values, or objects that can be pickled"
        raise NotTransferable(ref, what, reason) from error


def unpack(data: bytes, *, ref: PluginRef, what: str, own: str = "") -> Any:
    """What `pack` has packed in the other process.

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


def packed_copy(value: object, ref: PluginRef) -> bytes | None:
    """`value` as bytes, None where the app could not make an object of the same class of it."""
    try:
        data = pack(value, ref=ref, what="a value")
        return data if type(unpack(data, ref=ref, what="a value")) is type(value) else None
    except NotTransferable:
        return None


class _ForeignClass(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, own: str) -> None:
        super().__init__(io.BytesIO(data))
        self._own = f"{own}."

    def find_class(self, module: str, name: str) -> Any:
        if is_plugin_module(module) and not f"{module}.".startswith(self._own):
            raise _ForeignClass(f"{module.rpartition('.')[2]}.{name}")
        return super().find_class(module, name)


def is_plugin_module(module: str) -> bool:
    """Whether `module` is part of some plugin."""
    top = module.partition(".")[0]
    return top == NAMESPACE or top.startswith(f"{NAMESPACE}_")
