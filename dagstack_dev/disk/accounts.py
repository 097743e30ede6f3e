"""What an error is to its reader: what went wrong, the plugin's own lines, and nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.blame import (
    blame,
    plugin_frames,
    plugin_steps,
    root_error,
    source_lines,
    summary,
    unwrapped,
)
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.files import Invalid
from dagstack_dev.core.secrets import LINES_OF_A_SECRET, masked_lines, masked_text
from dagstack_dev.core.wording import counted
from dagstack_dev.disk.hints import hint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MESSAGE_LINES: Final = 10
"""Lines of one exception's message that are shown."""

FRAMES_LIMIT: Final = 6
"""Frames above the innermost one that are shown."""

LINE_CHARS: Final = 1000
"""Characters of one line of a message that are shown."""

_LINES_BEFORE: Final = 2


class PartKind(StrEnum):
    """What a part of an account is."""

    MESSAGE = "message"
    """A line of what went wrong; its frame, if it has one, is where that comes from."""
    PLACE = "place"
    """The frame where it went wrong."""
    CALLER = "caller"
    """A frame that has called the next one."""
    MORE = "more"
    """What has been left out here."""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of a file, without secrets.

    Attributes:
        line: its number, counted from 1.
        text: what it says.
        is_here: whether it is the one that is meant.
    """

    line: int
    text: str
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class CodeFrame:
    """A place in a file, with its code.

    Attributes:
        path: the file.
        line: counted from 1; None where the whole file is meant.
        function: the qualified name of the one that the line is in, if any.
        code: the line and those around it; of a caller the line alone.
    """

    path: str
    line: int | None
    function: str | None = None
    code: tuple[CodeLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an account, without secrets: a line of text, or a frame."""

    kind: PartKind
    text: str = ""
    frame: CodeFrame | None = None


def account(error: BaseException, who: str = "") -> list[Part]:
    """Return what went wrong and where, frame by frame.

    Args:
        error: of a plugin, or of the registry about one.
        who: the plugin that the reader knows it is about; its message need not repeat that.
    """
    try:
        return list(_account(error, who))
    except Exception:  # noqa: BLE001 - whatever a plugin has put into its exception
        return list(_message(in_words(error)))


def _account(error: BaseException, who: str) -> Iterator[Part]:
    if isinstance(error, Invalid):
        for line, problems in groupby(error.problems, lambda each: each.line):
            for problem in problems:
                subject = f"{problem.field}: " if problem.field else ""
                yield from _message(f"{subject}{problem.message}")
            yield place(error.path, line)
        return
    root = root_error(error)
    frames = [] if isinstance(root, SyntaxError) else plugin_frames(error)
    meant = hint(root, frames[-1].path if frames else None)
    yield from _message(f"{summary(root, who)}{meant}")
    for note in _notes(root):
        yield from _message(note)
    for other in _others(error):
        yield from _message(f"and {summary(root_error(other), who)}", _origin(other))
    if len(frames) > FRAMES_LIMIT + 1:
        yield Part(PartKind.MORE, f"{len(frames) - FRAMES_LIMIT - 1} more calls")
    if frames:
        texts = texts_of(root)
        for frame in frames[-FRAMES_LIMIT - 1 :]:
            known = texts.get(frame.path)
            lines = _read(frame.path) if known is None else known
            code = _marked(lines, frame.path, frame.line, last=frame.line)
            is_caller = frame is not frames[-1]
            yield Part(
                PartKind.CALLER if is_caller else PartKind.PLACE,
                frame=CodeFrame(
                    frame.path, frame.line, frame.function, code[-1:] if is_caller else code
                ),
            )
    else:
        found = blame(error)
        ran = next((each.ran for each in getattr(error, "unfinished", ())), ())
        if found.path is not None and found.line is not None and ran:
            lines = [""] * (found.line - len(ran)) + list(ran)
            code = _marked(lines, found.path, found.line, last=found.line)
            yield Part(PartKind.PLACE, frame=CodeFrame(found.path, found.line, code=code))
        elif found.path is not None:
            named = root.text if isinstance(root, SyntaxError) else None
            yield place(found.path, found.line, named if isinstance(named, str) else None)
    cause = root.__cause__ or (None if root.__suppress_context__ else root.__context__)
    if cause is not None:
        origin = root_error(cause)
        is_news = summary(origin, "") != summary(root, "") or plugin_frames(cause)
        if is_news:  # HTTP libraries raise what they got again, as their own.
            yield from _message(f"caused by {summary(origin, '')}", _origin(cause))


def _others(error: BaseException) -> Sequence[BaseException]:
    """Return what else is in the group that `error` is or was raised for."""
    groups = (each for each in unwrapped(error) if isinstance(each, BaseExceptionGroup))
    group = next(groups, None)
    return group.exceptions[1:] if group is not None else ()


def _notes(error: BaseException) -> Sequence[str]:
    """Return the notes of `error` that are text; a plugin may set anything."""
    notes = getattr(error, "__notes__", ())
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else ()


def _origin(error: BaseException) -> CodeFrame | None:
    frames = plugin_frames(error)
    return CodeFrame(frames[-1].path, frames[-1].line, frames[-1].function) if frames else None


def _message(text: str, frame: CodeFrame | None = None) -> Iterator[Part]:
    """Yield the lines of a text; the first one has the frame that it comes from."""
    lines = masked_text(text).splitlines() or [""]
    for line in lines[:MESSAGE_LINES]:
        more = len(line) - LINE_CHARS
        shown = f"{line[:LINE_CHARS]} ... {more} more characters" if more > 0 else line
        yield Part(PartKind.MESSAGE, shown, frame)
        frame = None
    if len(lines) > MESSAGE_LINES:
        yield Part(PartKind.MORE, counted(len(lines) - MESSAGE_LINES, "more line"))


def place(path: str, line: int | None, named: str | None = None) -> Part:
    """Return the place and, if there is a line, its neighbourhood as it is on disk now.

    Where the disk has moved on and has not the line that was `named` any more, only that one is
    shown.
    """
    return Part(PartKind.PLACE, frame=CodeFrame(path, line, code=_on_disk(path, line, named)))


def _on_disk(path: str, line: int | None, named: str | None) -> tuple[CodeLine, ...]:
    if line is None:
        return ()
    lines = _read(path)
    if named is not None and named.strip() and named.strip() not in "".join(lines[line - 1 : line]):
        (named,) = masked_lines([named.rstrip("\n")], path)
        return (CodeLine(line, named, is_here=True),)
    return _marked(lines, path, line, last=line + 1)


def excerpt(path: str, line: int) -> Sequence[CodeLine]:
    """Return a line of a file as it is on disk now; nothing where it is gone."""
    lines = _read(path)
    return _marked(lines, path, line, last=line)[-1:] if line <= len(lines) else ()


def _marked(lines: Sequence[str], path: str, line: int, *, last: int) -> tuple[CodeLine, ...]:
    """Return two lines before `line`, `line` with a mark, and what follows up to `last`."""
    first = max(1, line - _LINES_BEFORE)
    begin = max(0, first - LINES_OF_A_SECRET)  # It may begin well before what is shown.
    shown = masked_lines(lines[begin:last], path)
    edges = {line - _LINES_BEFORE, last} - {line}
    return tuple(
        CodeLine(number, text, is_here=number == line)
        for number, text in enumerate(shown[first - 1 - begin :], start=first)
        if text.strip() or number not in edges
    )


def texts_of(error: BaseException) -> Mapping[str, Sequence[str]]:
    """Return the files of plugins in a traceback as they were when they were imported, by path.

    What a module's loader says, not what is on disk: that may be newer than what runs. One that
    does not know its text is there without lines.
    """
    texts: dict[str, Sequence[str]] = {}
    for step in plugin_steps(error):
        path, names = step.tb_frame.f_code.co_filename, step.tb_frame.f_globals
        if path not in texts and hasattr(names.get("__loader__"), "get_source"):
            texts[path] = source_lines(names)
    return texts


def _read(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - plain strings
            return file.read().splitlines()
    except OSError:
        return []
