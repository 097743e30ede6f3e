"""Where an exception in plugin code comes from: the plugin's own frames, not ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors import PluginCancelled, PluginRegistryError, said

if TYPE_CHECKING:
    from types import TracebackType

NAMESPACE: Final = "dagstack_plugins"
"""First part of the module names of plugins; further registries of a process add a number."""


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
    """The frames of the traceback that belong to plugins, outermost first."""
    frames = []
    step: TracebackType | None = root_error(error).__traceback__
    while step is not None:
        frame = step.tb_frame
        if str(frame.f_globals.get("__name__", "")).startswith(NAMESPACE):
            code = frame.f_code
            frames.append(Frame(code.co_filename, step.tb_lineno, code.co_qualname))
        step = step.tb_next
    return tuple(frames)


def root_error(error: BaseException) -> BaseException:
    """The exception that tells most: what a load error wraps, the first of a group."""
    if isinstance(error, PluginCancelled):
        return error  # A bare CancelledError says nothing.
    if isinstance(error, PluginRegistryError):
        return root_error(error.__cause__) if error.__cause__ is not None else error
    if isinstance(error, BaseExceptionGroup):
        return root_error(error.exceptions[0])
    return error


def blame(error: BaseException) -> Blame:
    """Type, message and place of `error`.

    A registry error knows its place. Any other is placed at the innermost frame of plugin code,
    a syntax error at the line it names.
    """
    if isinstance(error, PluginRegistryError):
        return Blame(type(error).__name__, str(error), error.path, error.line)
    root = root_error(error)
    if isinstance(root, SyntaxError) and root.filename:
        return Blame(type(root).__name__, root.msg, root.filename, root.lineno)
    frames = plugin_frames(root)
    path, line = (frames[-1].path, frames[-1].line) if frames else (None, None)
    return Blame(type(root).__name__, said(root), path, line)
