"""Which methods a plugin has, told across processes: names, signatures and docs."""

from __future__ import annotations

import inspect
import pickle
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.execution_errors import NotTransferable
from dagstack_dev.runtimes.code import all_code
from dagstack_dev.runtimes.process.transfer import unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.code import CodeFile

LIFECYCLE: Final = frozenset({"setup", "teardown"})


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter; `default` is pickled, and None where there is none or it cannot be."""

    name: str
    kind: int
    has_default: bool
    default: bytes | None
    default_shown: str
    annotation: str | None


@dataclass(frozen=True, slots=True)
class Method:
    """One method; `parameters` is None where nothing can be told of them."""

    name: str
    doc: str | None = None
    parameters: tuple[_Parameter, ...] | None = None
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


def methods_of(instance: object) -> tuple[Method, ...]:
    """The public methods of a plugin, those that it has put into its own attributes included."""
    found: dict[str, object] = {}
    for base in reversed(type(instance).__mro__[:-1]):
        found |= vars(base)
    methods = [
        _method(name, getattr(instance, name))
        for name, member in found.items()
        if is_public(name) and _is_function(member)
    ]
    own = getattr(instance, "__dict__", {}).items()
    return (*methods, *(_method(n, m) for n, m in own if is_public(n) and inspect.isroutine(m)))


def _is_function(member: object) -> bool:
    return isinstance(member, staticmethod | classmethod) or inspect.isroutine(member)


def _method(name: str, function: Any) -> Method:
    try:
        shown = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # Written in C, perhaps.
        parameters = None
    else:
        parameters = tuple(_parameter(each) for each in shown)
    streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return Method(name, getattr(function, "__doc__", None), parameters, streams)


def _parameter(parameter: inspect.Parameter) -> _Parameter:
    has_default = parameter.default is not inspect.Parameter.empty
    annotation = parameter.annotation
    return _Parameter(
        parameter.name,
        int(parameter.kind),
        has_default,
        _pickled(parameter.default) if has_default else None,
        repr(parameter.default) if has_default else "",
        None
        if annotation is inspect.Parameter.empty
        else annotation
        if isinstance(annotation, str)
        else inspect.formatannotation(annotation),
    )


def _pickled(value: object) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever a class of the plugin's raises
        return None


def signature(method: Method, ref: PluginRef) -> inspect.Signature | None:
    """The signature that `method` has for its callers, with `self`."""
    if method.parameters is None:
        return None
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    return inspect.Signature([own, *(_rebuilt(each, ref) for each in method.parameters)])


def _rebuilt(parameter: _Parameter, ref: PluginRef) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    default: Any = _Shown(parameter.default_shown) if parameter.has_default else empty
    if parameter.default is not None:
        with suppress(NotTransferable):  # Its class exists over there only.
            default = unpack(parameter.default, ref=ref, what="a default")
    return inspect.Parameter(
        parameter.name,
        list(inspect._ParameterKind)[parameter.kind],  # noqa: SLF001 - its only name
        default=default,
        annotation=empty if parameter.annotation is None else parameter.annotation,
    )
