"""Errors as facts: records of plain values, and copies that refer to nothing of what raised them.

An exception keeps what raised it alive: its traceback has the frames, and these have the variables,
such as the plugin and the socket that it had opened. So what is kept for longer than it takes to
handle it is a copy: type, message, notes, causes, and the lines of code by name and text. The same
record goes from a plugin's process to the app.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import GetSetDescriptorType, MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from dagstack_dev.core.blame import is_plugin_code
from dagstack_dev.core.errors.base import OldName, PluginRegistryError, said, shown
from dagstack_dev.core.errors.remote import RemoteError
from dagstack_dev.core.tracebacks import Step, has_run, steps_of, traceback_of
from dagstack_dev.core.transient import says_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.core.refs import PluginRef

ErrorT = TypeVar("ErrorT", bound=BaseException)

_LONGEST_CHAIN: Final = 8
"""Causes of causes that are recorded."""

_DEEPEST: Final = 4
"""Levels of nested values that are recorded of what an exception says of itself."""

_MARK: Final = "__dagstack_recorded__"
"""Set in copies, which need not be copied again."""

_ARGS: Final = vars(BaseException)["args"]
_DICT: Final = vars(BaseException)["__dict__"]
"""How to get what its class may hide behind a property."""

_PLAIN: Final = frozenset({str, int, float, complex, bool, bytes, type(None)})


def recorded(error: ErrorT) -> ErrorT:
    """`error` as facts; itself, if it is that already.

    The copy is of the same class, unless a plugin has defined that: then of one that has its name
    and derives from the nearest class that no plugin has defined.
    """
    return error if _is_recorded(error) else copy_of(error)


def copy_of(error: ErrorT) -> ErrorT:
    """As `recorded`, but always another object: to be raised, for what is raised gets frames."""
    copy = record_of(error).exception()
    BaseException.__setattr__(copy, _MARK, True)
    return cast("ErrorT", copy)


def _is_recorded(error: BaseException) -> bool:
    """Return whether it holds facts alone: a copy, or one of ours, that was never raised."""
    step = error.__traceback__
    if _MARK in _own_attributes(error):
        return step is None or not has_run(step)
    is_ours = type(error).__module__.startswith("dagstack_dev.")
    is_new = all(each is None for each in (step, error.__cause__, error.__context__))
    return isinstance(error, PluginRegistryError) and is_ours and is_new


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """An exception as plain values, which can be pickled.

    Attributes:
        name: the qualified name of its class.
        module: the module of its class.
        bases: its class and those that it derives from, nearest first, each as module and name,
            without those that a plugin has defined.
        message: the exception as text.
        args: its arguments: exceptions as records, what is not plain as text.
        attributes: its attributes likewise, without those that are not plain.
        steps: see `steps_of`.
        cause: what it was raised from.
        context: what was being handled then, if it was raised from nothing.
        hides_context: whether that is not to be shown.
        is_transient: whether its class says so.
        pickled: the whole exception, where `record_of` was to pickle it and could.
    """

    name: str
    module: str
    bases: tuple[tuple[str, str], ...]
    message: str
    args: tuple[Any, ...]
    attributes: Mapping[str, Any]
    steps: tuple[Step, ...]
    cause: ErrorRecord | None
    context: ErrorRecord | None
    hides_context: bool
    is_transient: bool
    pickled: bytes | None

    def exception(
        self,
        remote: PluginRef | None = None,
        loads: Callable[[bytes], BaseException | None] = lambda _: None,
        made: dict[int, BaseException] | None = None,
    ) -> BaseException:
        """Return an exception that says the same.

        Args:
            remote: the plugin whose process it comes from. What has no class here is a
                `RemoteError` then.
            loads: reads what is pickled; None where it cannot.
            made: the exceptions of other records, by identity of the record.
        """
        known = {} if made is None else made

        def again(record: ErrorRecord) -> BaseException:
            if id(record) not in known:
                known[id(record)] = record.exception(remote, loads, known)
            return known[id(record)]

        whole = None if self.pickled is None else loads(self.pickled)
        error = self._made(remote, again) if whole is None else whole
        put = partial(BaseException.__setattr__, error)  # Its class may let nothing be set.
        put("__traceback__", traceback_of(self.steps))
        put("__cause__", self.cause and again(self.cause))
        put("__context__", self.context and again(self.context))
        put("__suppress_context__", self.hides_context)
        return error

    def _made(
        self, remote: PluginRef | None, again: Callable[[ErrorRecord], BaseException]
    ) -> BaseException:
        """Return it without traceback and cause, of the nearest class that takes it."""
        args, attributes = _restored(self.args, again), _restored(self.attributes, again)
        if self.bases[0] == (self.module, self.name) and (own := _class_at(*self.bases[0])):
            error = _new(own, args, attributes)
            if error is not None and said(error) == self.message:
                return error
        name, message = self.name.rpartition(".")[2], self.message
        members = {
            "__module__": self.module,
            "__qualname__": self.name,
            "__str__": lambda _: message,
            "is_transient": self.is_transient,
            "is_passing": OldName(),
        }
        known = [each for where in self.bases if (each := _class_at(*where))]
        pairs: list[tuple[type, ...]] = [(each,) for each in known]
        if remote is not None:
            attributes["ref"] = remote
        if remote is not None or RemoteError in known:
            second = [each for each in known if issubclass(each, Exception)]
            second = [each for each in second if each not in {RemoteError, PluginRegistryError}]
            pairs = [(RemoteError, each) for each in second]
        for bases in pairs:
            with suppress(TypeError):  # It does not want to be derived from, or not with others.
                error = _new(type(name, bases, members), args, attributes)
                if error is not None:
                    return error
        lost = RemoteError(f"{name}: {message}")  # It is no `Exception` there.
        lost.ref = remote
        return lost


def record_of(
    error: BaseException,
    dumps: Callable[[BaseException], bytes | None] = lambda _: None,
    made: dict[int, ErrorRecord | None] | None = None,
    depth: int = 0,
) -> ErrorRecord:
    """Return a record of any exception.

    Args:
        error: the exception.
        dumps: pickles it as a whole; None where it cannot.
        made: records of others, by identity of the exception; None while one is being made.
        depth: how many exceptions have led to this one.
    """
    known = {} if made is None else made
    known[id(error)] = None  # So that a circle of causes ends.

    def again(other: BaseException | None) -> ErrorRecord | None:
        if other is None or id(other) in known or depth >= _LONGEST_CHAIN:
            return known.get(id(other))
        return record_of(other, dumps, known, depth + 1)

    cls, args = type(error), _ARGS.__get__(error)
    if isinstance(error, BaseExceptionGroup):
        args = (error.message, list(error.exceptions))
    record = known[id(error)] = ErrorRecord(
        name=cls.__qualname__,
        module=cls.__module__,
        bases=tuple(
            (each.__module__, each.__qualname__)
            for each in cls.__mro__
            if issubclass(each, BaseException) and not _is_of_plugin(each)
        ),
        message=said(error),
        args=_value(args, again),
        attributes=_attributes(error, again),
        steps=steps_of(error),
        cause=again(error.__cause__),
        context=again(error.__context__) if error.__cause__ is None else None,
        hides_context=error.__suppress_context__,
        is_transient=says_transient(cls),
        pickled=dumps(error),
    )
    return record


def _attributes(
    error: BaseException, again: Callable[[BaseException], ErrorRecord | None]
) -> dict[str, Any]:
    """Return those of the built-in class, and those of its own, that are plain."""
    found: dict[str, Any] = {}
    bases = _builtin(type(error)).__mro__
    for base in bases[: bases.index(BaseException)]:
        for name, member in vars(base).items():
            if isinstance(member, GetSetDescriptorType | MemberDescriptorType):
                with suppress(AttributeError):  # It is not set.
                    found[name] = member.__get__(error)
    found = {name: value for name, value in found.items() if value is not None}
    meant = {"obj": _names(found.pop("obj"))} if "obj" in found else {}
    found |= _own_attributes(error)
    kept = {name: _value(value, again) for name, value in found.items() if name != _MARK}
    lost = [name for name in kept if type(kept[name]) is str and type(found[name]) is not str]
    return {name: value for name, value in kept.items() if name not in lost} | meant


def _own_attributes(error: BaseException) -> dict[str, Any]:
    return _DICT.__get__(error)  # type: ignore[no-any-return]  # as every exception has it


def _value(value: Any, again: Callable[[BaseException], ErrorRecord | None], depth: int = 0) -> Any:
    """`value`, if it is plain; records for exceptions, and text for all else."""
    kind = type(value)
    if kind in _PLAIN or str(kind.__module__).startswith(("dagstack_dev.core.", "pathlib")):
        return value
    if issubclass(kind, BaseException):  # It may take itself for one, and be none.
        return again(value) or shown(value)
    if depth < _DEEPEST and kind in {tuple, list}:
        return kind(_value(each, again, depth + 1) for each in value)
    if depth < _DEEPEST and kind is dict:
        pairs = ((_value(key, again, _DEEPEST), each) for key, each in value.items())
        return {key: _value(each, again, depth + 1) for key, each in pairs}
    return shown(value)


def _names(value: object) -> object:
    """Something with the names that `value` has."""
    try:
        return SimpleNamespace(**{each: None for each in dir(value) if not each.startswith("__")})
    except Exception:  # noqa: BLE001 - whatever a plugin's class does there
        return None


def _restored(value: Any, again: Callable[[ErrorRecord], BaseException]) -> Any:
    """`value` with an exception for each record in it."""
    if isinstance(value, ErrorRecord):
        return again(value)
    if type(value) in {tuple, list}:
        return type(value)(_restored(each, again) for each in value)
    if type(value) is dict:
        return {key: _restored(each, again) for key, each in value.items()}
    return value


def _is_of_plugin(cls: type) -> bool:
    """Return whether a class lives and dies with code that is reloaded."""
    module = str(cls.__module__)
    loader = getattr(sys.modules.get(module), "__loader__", None)
    return module not in sys.modules or is_plugin_code({"__name__": module, "__loader__": loader})


def _class_at(module: str, name: str) -> type[BaseException] | None:
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _builtin(cls: type) -> Any:
    return next(each for each in cls.__mro__ if each.__module__ == "builtins")


def _new(cls: type[BaseException], args: Any, attributes: Any) -> BaseException | None:
    """Return an exception of `cls`; None if it cannot be made.

    Without calling its `__init__`, which may want anything: only that of the built-in class.
    """
    try:
        error = cls.__new__(cls, *args)
        _builtin(cls).__init__(error, *args)
    except Exception:  # noqa: BLE001 - a class of a library may do anything
        return None
    if not hasattr(error, "__dict__"):  # It is made by some compiler, and would not take our mark.
        return None
    for name, value in attributes.items():
        with suppress(AttributeError, TypeError):  # It cannot be set.
            BaseException.__setattr__(error, name, value)
    return error
