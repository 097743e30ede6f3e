"""Errors as facts: copies that refer to nothing of the code that raised them.

An exception keeps what raised it alive: its traceback has the frames, and these have the variables,
such as the plugin and the socket that it had opened. So what is kept for longer than it takes to
handle it is a copy: type, message, notes, causes, and the lines of code by name and text.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from types import (
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    SimpleNamespace,
    TracebackType,
)
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dagstack_dev.core.blame import is_plugin_code, related, source_lines, steps
from dagstack_dev.core.errors.base import OldName, PluginRegistryError, said, shown
from dagstack_dev.core.secrets import LINES_OF_A_SECRET, masked_lines
from dagstack_dev.core.transient import says_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

ErrorT = TypeVar("ErrorT", bound=BaseException)

LONGEST_CHAIN: Final = 8
"""Causes of causes that are recorded."""

_LINES: Final = 3
"""How many lines of code tell where an exception was raised."""

_DEEPEST: Final = 4
"""Levels of nested values that are recorded of what an exception says of itself."""

_MARK: Final = "__dagstack_recorded__"
"""Set in copies, which need not be copied again."""

_PLAIN: Final = frozenset({str, int, float, complex, bool, bytes, type(None)})

_BETWEEN: Final = ("dagstack_dev.", "anyio.", "asyncio.", "concurrent.", "contextlib.")
"""Where the code is from that stands between us and a plugin."""


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a traceback.

    Attributes:
        path: the file.
        line: counted from 1.
        function: its qualified name.
        module: its name.
        is_plugin_code: whether it is of a plugin, or of what plugins share.
        text: the lines that ran there, up to `line`; none if unknown.
    """

    path: str
    line: int
    function: str
    module: str
    is_plugin_code: bool
    text: tuple[str, ...] = ()


def steps_of(error: BaseException) -> tuple[Step, ...]:
    """Return the frames of plugins and what they share, outermost first; else the app's."""
    ran: dict[tuple[str, int], tuple[str, ...]] = {}  # Endless recursion has few that differ.
    found = [_step(each, ran) for each in steps(error)]
    own = [each for each in found if each.is_plugin_code]
    return tuple(own or [each for each in found if not each.module.startswith(_BETWEEN)])


def _step(step: TracebackType, ran: dict[tuple[str, int], tuple[str, ...]]) -> Step:
    """Return what ran there, as the module's loader tells: the file may have changed."""
    code, names = step.tb_frame.f_code, step.tb_frame.f_globals
    path, module, line = code.co_filename, _module(step), step.tb_lineno
    is_own = is_plugin_code(names)
    if (path, line) not in ran:
        ran[path, line] = last_lines(names, path, line) if is_own else ()
    return Step(path, line, code.co_qualname, module, is_own, ran[path, line])


def last_lines(names: Mapping[str, object], path: str, line: int) -> tuple[str, ...]:
    """Return the lines that are kept of what ran up to `line` of the module with these globals.

    Without secrets: once they are parted from the lines before them, a dict of tokens is none.
    """
    lines = source_lines(names)[max(0, line - LINES_OF_A_SECRET) : line]
    return tuple(masked_lines(lines, path)[-_LINES:])


def _module(step: TracebackType) -> str:
    """Return the name of the module of a frame; a plugin may have called it anything."""
    name = step.tb_frame.f_globals.get("__name__")
    return name if type(name) is str else ""


def traceback_of(path: Sequence[Step]) -> TracebackType | None:
    """Return a traceback put together from names and lines, for all that reads tracebacks."""
    loaders: dict[str, _Loader] = {}
    frames: dict[Step, FrameType] = {}  # Endless recursion has few that differ.
    following: TracebackType | None = None
    for step in reversed(path):
        loader = loaders.setdefault(step.path, _Loader(is_shared_code=step.is_plugin_code))
        loader.add(step)
        if step not in frames:
            frames[step] = _frame(step, loader)
        # Without an instruction, the line is all that is told, and no columns are.
        following = TracebackType(following, frames[step], -1, step.line)
    return following


class _Loader:
    """What is known of the file of some frames.

    Attributes:
        is_shared_code: as `core.blame` knows the code of plugins.
    """

    def __init__(self, *, is_shared_code: bool) -> None:
        self._lines: dict[int, str] = {}
        self.is_shared_code = is_shared_code

    def add(self, step: Step) -> None:
        """One more frame."""
        self._lines.update(enumerate(step.text, step.line - len(step.text) + 1))

    def get_source(self, _: str) -> str:
        """Return the lines that are known, each where it stands in the file, others empty."""
        last = max(self._lines, default=0)
        return "\n".join(self._lines.get(number, "") for number in range(1, last + 1))


def _frame(step: Step, loader: _Loader) -> FrameType:
    code = _never_run.__code__.replace(
        co_filename=step.path,
        co_name=step.function.rpartition(".")[2],
        co_qualname=step.function,
        co_firstlineno=step.line,
    )
    names: dict[str, object] = {"__name__": step.module, "__loader__": loader}
    # That of a generator has no frame around it, which it would keep.
    frame: FrameType = FunctionType(code, names)().gi_frame
    return frame


def _never_run() -> Iterator[None]:
    yield


def recorded(error: ErrorT) -> ErrorT:
    """`error` as facts; itself, if it is that already.

    The copy is of the same class, unless a plugin has defined that: then of one that has its name
    and derives from the nearest class that no plugin has defined.
    """
    return error if _is_recorded(error) else copy_of(error)


def copy_of(error: ErrorT) -> ErrorT:
    """As `recorded`, but always another object: to be raised, for what is raised gets frames."""
    try:
        copy: ErrorT = _copy(error, {}, 0)
    except BaseException:  # noqa: BLE001 - a plugin's class may do anything, whatever it is asked
        name, message = type(error).__name__, said(error)
        copy = type(name, (_builtin(type(error)),), {"__str__": lambda _: message, _MARK: True})()
    return copy


def _is_recorded(error: BaseException) -> bool:
    """Return whether it holds facts alone: a copy, or one of ours, that was never raised."""
    try:
        is_copy = getattr(error, _MARK, False) is True and not _was_raised(error)
    except BaseException:  # noqa: BLE001 - likewise
        return False
    return is_copy or (
        isinstance(error, PluginRegistryError)
        and type(error).__module__.startswith(_BETWEEN)
        and all(each is None for each in (error.__traceback__, error.__cause__, error.__context__))
    )


def _was_raised(copy: BaseException) -> bool:
    """Return whether frames that have run stand before those that are put together."""
    step = copy.__traceback__
    return step is not None and type(step.tb_frame.f_globals.get("__loader__")) is not _Loader


def _copy(error: Any, known: dict[int, BaseException], depth: int) -> Any:
    """Return a copy of an exception and of what belongs to it.

    Args:
        error: the exception.
        known: copies by the identity of what they are copies of; causes may go round in a circle.
        depth: how many exceptions have led to this one.
    """

    def again(other: BaseException) -> BaseException:
        if _is_recorded(other):
            return other
        return known.get(id(other)) or _copy(other, known, depth + 1)

    message, cls = said(error), type(error)
    base = next(each for each in cls.__mro__ if not _is_of_plugin(each))
    copy = _of_class(cls, error, again) if base is cls else None
    if copy is None or said(copy) != message:
        members = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__str__": lambda _: message,
            "is_transient": says_transient(cls) or issubclass(cls, ConnectionError),
            "is_passing": OldName(),
        }
        for each in (base, _builtin(cls)):
            with suppress(TypeError):  # It does not want to be derived from.
                copy = _of_class(type(cls.__name__, (each,), members), error, again)
                if copy is not None:
                    break
    assert copy is not None  # noqa: S101 - a built-in exception can always be made
    known[id(error)] = copy
    copy.__traceback__ = traceback_of(steps_of(error))
    notes = getattr(error, "__notes__", ())
    for note in notes if isinstance(notes, list) else ():
        if isinstance(note, str):
            copy.add_note(str(note))
    if depth < LONGEST_CHAIN:
        if error.__cause__ is not None:
            copy.__cause__ = again(error.__cause__)
        if error.__context__ is not None:
            copy.__context__ = again(error.__context__)
    copy.__suppress_context__ = error.__suppress_context__
    vars(copy)[_MARK] = True
    return copy


def _is_of_plugin(cls: type) -> bool:
    """Return whether a class lives and dies with code that is reloaded."""
    module = str(cls.__module__)
    loader = getattr(sys.modules.get(module), "__loader__", None)
    return module not in sys.modules or is_plugin_code({"__name__": module, "__loader__": loader})


def _builtin(cls: type) -> type:
    return next(each for each in cls.__mro__ if each.__module__ == "builtins")


def _of_class(
    cls: Any, error: BaseException, again: Callable[[BaseException], BaseException]
) -> BaseException | None:
    """Return an exception of `cls` that says what `error` says; None if it cannot be made.

    Without calling its `__init__`, which may want anything: only that of the built-in class.
    """
    builtin = _builtin(cls)
    args = tuple(_value(each, again, 0, shown) for each in error.args)
    if isinstance(error, BaseExceptionGroup):
        args = (str(error.message), [again(each) for each in error.exceptions])
    try:
        copy: BaseException = cls.__new__(cls, *args)
        builtin.__init__(copy, *args)  # type: ignore[misc]  # on the object that was just made
    except Exception:  # noqa: BLE001 - a class of a library may do anything
        return None
    if not hasattr(copy, "__dict__"):  # It is made by some compiler, and would not take our mark.
        return None
    for base in builtin.__mro__[: builtin.__mro__.index(BaseException)]:
        for name, member in vars(base).items():
            if isinstance(member, GetSetDescriptorType | MemberDescriptorType):
                value = getattr(error, name, None)
                if value is None:
                    continue
                with suppress(AttributeError, TypeError):  # It cannot be set.
                    other = _names if name == "obj" else shown
                    setattr(copy, name, _value(value, again, 0, other))
    for name, value in getattr(error, "__dict__", {}).items():
        kept = _value(value, again, 0, _nothing)
        if kept is not _nothing and name != "__notes__":
            vars(copy)[name] = kept
    return copy


def _value(
    value: Any,
    again: Callable[[BaseException], BaseException],
    depth: int,
    other: Callable[[object], object],
) -> Any:
    """`value`, if it is plain; else what `other` makes of it."""
    kind = type(value)
    if kind in _PLAIN or kind.__module__.startswith(("dagstack_dev.core.", "pathlib")):
        return value
    if isinstance(value, BaseException):
        return again(value)
    if depth < _DEEPEST and kind in {tuple, list}:
        return kind(_value(each, again, depth + 1, other) for each in value)
    if depth < _DEEPEST and kind is dict:
        return {
            _value(key, again, depth + 1, shown): _value(each, again, depth + 1, other)
            for key, each in value.items()
        }
    return other(value)


def _nothing(_: object) -> object:
    """Stand for an attribute that is left out."""
    return _nothing


def _names(value: object) -> object:
    """Something with the names that `value` has: one of them may be what was meant."""
    try:
        return SimpleNamespace(**dict.fromkeys(dir(value)))
    except Exception:  # noqa: BLE001 - whatever a plugin's class does there
        return None


def trim(error: BaseException) -> None:
    """Leave out the frames through which an exception of a plugin has come to us.

    They are of no use to a reader, and those whose variables hold the exception keep it, and all
    that it keeps, until garbage is collected.
    """
    for each in related(error):
        step = next((step for step in steps(each) if not _is_between(step)), None)
        if step is not None or isinstance(each, PluginRegistryError):
            each.__traceback__ = step


def _is_between(step: TracebackType) -> bool:
    return _module(step).startswith(_BETWEEN)
