"""Where an exception in plugin code comes from: the plugin's own frames, not ours.

The code that plugins share counts as theirs. Its modules have names of any kind; they are known by
their loader, which says so with the attribute `is_shared_code`.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.base import PluginRegistryError, said
from dagstack_dev.core.errors.files import Invalid
from dagstack_dev.core.errors.life import PluginCancelled, PluginLoadError
from dagstack_dev.core.frames import callers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType, TracebackType

NAMESPACE: Final = "dagstack_plugins"
"""First part of the module names of plugins; further registries of a process add a number."""

current_module: Final[ContextVar[str]] = ContextVar("dagstack_current_module", default="")
"""The module of the plugin that a context works for, where no frame shows it: in a pool, say."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback; `line` counts from 1."""

    path: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Blame:
    """An exception in four facts; `path` and `line` are those of the plugin's own code."""

    type: str
    message: str
    path: str | None
    line: int | None


def plugin_frames(error: BaseException) -> tuple[Frame, ...]:
    """Return the frames of the traceback that are of plugins and what they share, outermost first.

    Those of the innermost exception, or of what it came wrapped in, if it was never raised.
    """
    found: tuple[Frame, ...] = ()
    for each in unwrapped(error):
        found = _frames_of(each) or found
    return found


def _frames_of(error: BaseException) -> tuple[Frame, ...]:
    found = ((step.tb_frame.f_code, step.tb_lineno) for step in plugin_steps(error))
    return tuple(Frame(code.co_filename, line, code.co_qualname) for code, line in found)


def plugin_steps(error: BaseException) -> Iterator[TracebackType]:
    """Yield the part of the traceback of `error` itself that is plugins' and shared code."""
    return (step for step in steps(error) if is_plugin_code(step.tb_frame.f_globals))


def steps(error: BaseException) -> Iterator[TracebackType]:
    """Yield the traceback of `error` itself, outermost first."""
    step = error.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def is_plugin_module(name: str) -> bool:
    """Return whether a module of this name is part of some plugin."""
    return name.startswith(NAMESPACE) and name[len(NAMESPACE) :][:1] in {"", ".", "_"}


def is_plugin_code(names: Mapping[str, object]) -> bool:
    """Return whether these are the globals of a module of a plugin, or of what plugins share."""
    name = names.get("__name__")
    if type(name) is str and is_plugin_module(name):
        return True
    return getattr(names.get("__loader__"), "is_shared_code", None) is True


def innermost_of_plugins(frame: FrameType | None) -> FrameType | None:
    """Return the first of `frame` and its callers that is plugins' or shared code, if one is."""
    return next((each for each in callers(frame) if is_plugin_code(each.f_globals)), None)


def source_lines(names: Mapping[str, object]) -> list[str]:
    """Return the text that the module with these globals ran, as its loader knows it; else nothing.

    The file may say something else by now.
    """
    get_source = getattr(names.get("__loader__"), "get_source", None)
    if get_source is None:
        return []
    try:
        return (get_source(str(names.get("__name__"))) or "").splitlines()
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        return []


def related(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it was raised from or while handling it, and each exception of a group."""
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        # The context counts even where `from None` hides it: httpx does that to refusals.
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions


def root_error(error: BaseException) -> BaseException:
    """Return the innermost exception: what a load error wraps, the first of a group."""
    for root in unwrapped(error):
        if isinstance(root, Invalid):  # Its cause is in its problems.
            break
    return root


def summary(root: BaseException, who: str = "") -> str:
    """Return in a line what went wrong, without the place, which is shown beside it.

    Args:
        root: the innermost exception.
        who: the plugin that the reader knows it is about; its message need not repeat that.
    """
    if isinstance(root, Invalid):
        return "; ".join(str(replace(problem, line=None)) for problem in root.problems)
    if isinstance(root, PluginLoadError):
        return root.reason if root.stage == "compile" else f"{root.stage} failed: {root.reason}"
    message = getattr(root, "msg", None) if isinstance(root, SyntaxError) else said(root)
    if isinstance(root, PluginRegistryError):
        place = f" ({root.path}:{root.line})"
        return str(message).removesuffix(place).removeprefix(f"{who}: ").removeprefix(f"{who} ")
    return f"{type(root).__name__}: {message}" if message else type(root).__name__


def unwrapped(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it wraps, and so on; of a group the first."""
    seen: set[int] = set()  # A plugin may close the chain of causes to a circle.
    while id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error, PluginCancelled):
            return  # A bare CancelledError says nothing.
        elif isinstance(error, PluginRegistryError) and error.__cause__ is not None:
            error = error.__cause__


def blame(error: BaseException) -> Blame:
    """Type, message and place of `error`.

    A registry error knows its place, or its cause does. Any other is placed at the innermost frame
    of plugin code, a syntax error at the line it names.
    """
    if isinstance(error, PluginLoadError) and error.__cause__ is not None:  # It only wraps it.
        cause = blame(error.__cause__)
        message = cause.message or error.reason  # A compiler may be at a loss for words.
        return Blame(cause.type, message, cause.path or error.path, cause.line or error.line)
    if isinstance(error, PluginRegistryError):
        path, line = error.path, error.line
        if path is None and error.__cause__ is not None:
            path, line = _innermost(error.__cause__)
        return Blame(type(error).__name__, said(error), path, line)
    root = root_error(error)
    if isinstance(root, SyntaxError) and isinstance(root.filename, str):
        line = root.lineno if isinstance(root.lineno, int) else None  # It may be made by hand.
        return Blame(type(root).__name__, str(root.msg), root.filename, line)
    return Blame(type(root).__name__, said(root), *_innermost(root))


def _innermost(error: BaseException) -> tuple[str, int] | tuple[None, None]:
    frames = plugin_frames(error)
    return (frames[-1].path, frames[-1].line) if frames else (None, None)
