"""Tracebacks as values: which lines ran, and a traceback made of these again."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.blame import is_plugin_code, related, source_lines, steps
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.secrets import LINES_OF_A_SECRET, masked_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

_LINES: Final = 3
"""How many lines of code are kept of the place where an exception was raised."""

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
    """Return what ran there, as the module's loader has it: the file may have changed."""
    code, names = step.tb_frame.f_code, step.tb_frame.f_globals
    path, module, line = code.co_filename, _module(step), step.tb_lineno
    is_own = is_plugin_code(names)
    if (path, line) not in ran:
        ran[path, line] = last_lines(names, path, line) if is_own else ()
    return Step(path, line, code.co_qualname, module, is_own, ran[path, line])


def last_lines(names: Mapping[str, object], path: str, line: int) -> tuple[str, ...]:
    """Return the lines that are kept of what ran up to a line.

    Without secrets: once they are parted from the lines before them, a dict of tokens is none.

    Args:
        names: the globals of the module.
        path: its file.
        line: counted from 1.
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
        # Without an instruction, a reader shows the line alone, and no columns.
        following = TracebackType(following, frames[step], -1, step.line)
    return following


def has_run(step: TracebackType) -> bool:
    """Return whether the frame is one that has run, not one that `traceback_of` has made."""
    return type(step.tb_frame.f_globals.get("__loader__")) is not _Loader


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
