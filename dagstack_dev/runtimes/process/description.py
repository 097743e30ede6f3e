"""Which methods a plugin has, told across processes: names, signatures and docs."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.remote import NotTransferable
from dagstack_dev.runtimes.code import all_code
from dagstack_dev.runtimes.process.transfer import packed_copy, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.code import CodeFile

LIFECYCLE: Final = frozenset({"setup", "teardown"})


@dataclass(frozen=True, slots=True)
class Method:
    """One method; `signature` is pickled, and None where nothing can be told of it."""

    name: str
    doc: str | None = None
    signature: bytes | None = None
    streams: bool = False


class _Shown:
    """Stands for a default value that exists in the other process only."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def early_methods(files: Iterable[CodeFile]) -> tuple[Method, ...]:
    """What may be methods of a plugin, as its compiled code tells before it has run.

    Every public function in any class of it: calls of these can wait for the plugin.
    """
    names = {
        inner.co_name
        for file in files
        if file.code is not None
        for code in all_code(file.code)
        if "__qualname__" in code.co_names  # The body of a class.
        for inner in code.co_consts
        if inspect.iscode(inner) and is_public(inner.co_name)
    }
    return tuple(map(Method, sorted(names)))


def is_public(name: str) -> bool:
    """Whether a method of this name can be called from the other process."""
    return name.isidentifier() and not name.startswith("_") and name not in LIFECYCLE


def methods_of(instance: object, ref: PluginRef) -> tuple[Method, ...]:
    """The public methods of a plugin, those that it has put into its own attributes included."""
    found: dict[str, object] = {}
    for base in reversed(type(instance).__mro__[:-1]):
        found |= vars(base)
    methods = [
        _method(name, getattr(instance, name), ref)
        for name, member in found.items()
        if is_public(name) and _is_function(member)
    ]
    own = getattr(instance, "__dict__", {}).items()
    added = [(name, each) for name, each in own if is_public(name) and inspect.isroutine(each)]
    return (*methods, *(_method(name, each, ref) for name, each in added))


def _is_function(member: object) -> bool:
    return isinstance(member, staticmethod | classmethod) or inspect.isroutine(member)


def _method(name: str, function: Any, ref: PluginRef) -> Method:
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    try:
        parameters = inspect.signature(function).parameters.values()
        shown = inspect.Signature([own, *(_portable(each, ref) for each in parameters)])
    except (TypeError, ValueError):  # Written in C, perhaps.
        shown = None
    streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    packed = None if shown is None else packed_copy(shown, ref)
    return Method(name, getattr(function, "__doc__", None), packed, streams)


def _portable(parameter: inspect.Parameter, ref: PluginRef) -> inspect.Parameter:
    """`parameter` with its annotation as text, and a default that exists in the other process."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is not inspect.Parameter.empty and not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    if packed_copy(default, ref) is None:
        default = _Shown(repr(default))
    return parameter.replace(annotation=annotation, default=default)


def signature(method: Method, ref: PluginRef) -> inspect.Signature | None:
    """The signature that `method` has for its callers, with `self`."""
    if method.signature is not None:
        with suppress(NotTransferable):  # A default needs what only the other process can import.
            found: inspect.Signature = unpack(method.signature, ref=ref, what="a signature")
            return found
    return None
