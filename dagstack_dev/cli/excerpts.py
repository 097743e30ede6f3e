"""Errors for a person: what went wrong, the plugin's own lines, and nothing of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rich.text import Text

from dagstack_dev.app.config import ConfigInvalid
from dagstack_dev.cli.hints import hint
from dagstack_dev.core.blame import (
    blame,
    plugin_frames,
    plugin_steps,
    root_error,
    source_lines,
    unwrapped,
)
from dagstack_dev.core.errors.base import PluginRegistryError, said
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.secrets import LINES_OF_A_SECRET, masked_lines, masked_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MESSAGE_LINES: Final = 10
"""Lines of one exception's message that are shown."""

FRAMES_LIMIT: Final = 6
"""Frames above the innermost one that are shown."""

LINE_CHARS: Final = 1000
"""Characters of one line of a message that are shown."""

_LINES_BEFORE: Final = 2


def _current_folder() -> str:
    """With a separator at its end."""
    try:
        return os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - a string is compared
    except OSError:  # It was deleted under our feet.
        return os.sep * 2


_HERE: Final = _current_folder()
"""Where the command was given; a plugin may go elsewhere."""


def short(text: str) -> str:
    """Return `text` with paths below the folder where the command was given relative to it."""
    if len(_HERE) <= 1:
        return text
    return text.replace(f"file://{_HERE}", "").replace(_HERE, "")


def at(path: str | None, line: int | None, before: str = ", at ") -> str:
    """Return where something is, behind `before`; nothing where that is not known."""
    return f"{before}{short(path)}{f':{line}' if line else ''}" if path else ""


def headline(text: str) -> str:
    """Return the first line of `text`, without a last clause that only announces further lines."""
    first = text.partition("\n")[0]
    return first.rpartition("; ")[0] or first if first.endswith(":") else first


def error_lines(error: BaseException, who: str = "") -> Iterator[Text]:
    """Yield what went wrong and where, with the lines of the file around it.

    Args:
        error: of a plugin, or of the registry about one.
        who: the plugin that the reader knows it is about; its message need not repeat that.
    """
    if isinstance(error, ConfigInvalid):
        yield from _message(error.reason)
        yield from _file_lines(error.path, error.line)
        return
    if isinstance(error, ManifestInvalid):
        for problem in error.problems:
            subject = f"{problem.field}: " if problem.field else ""
            yield from _message(f"{subject}{problem.message}")
            yield from _file_lines(error.path or "", problem.line)
        return
    root = root_error(error)
    frames = [] if isinstance(root, SyntaxError) else plugin_frames(error)
    meant = hint(root, frames[-1].path if frames else None)
    yield from _message(f"{_summary(root, who)}{meant}")
    for note in _notes(root):
        yield from _message(note)
    for other in _others(error):
        yield from _message(f"and {_summary(root_error(other), who)}{_place(other)}")
    texts = texts_of(root)
    if len(frames) > FRAMES_LIMIT + 1:
        yield Text(f"{len(frames) - FRAMES_LIMIT - 1} more calls", "dim")
    for frame in frames[-FRAMES_LIMIT - 1 : -1]:
        yield Text(f"{at(frame.path, frame.line, '')} in {frame.function}", "dim")
    if frames:
        innermost = frames[-1]
        place = f"{at(innermost.path, innermost.line, '')} in {innermost.function}"
        yield Text(place, "cyan")
        known = texts.get(innermost.path)
        lines = _read(innermost.path) if known is None else known
        yield from _marked(lines, innermost.path, innermost.line, last=innermost.line)
    else:
        found = blame(error)
        ran = next((each.ran for each in getattr(error, "unfinished", ())), ())
        if found.path is not None and found.line is not None and ran:
            yield Text(at(found.path, found.line, ""), "cyan")
            lines = [""] * (found.line - len(ran)) + list(ran)
            yield from _marked(lines, found.path, found.line, last=found.line)
        elif found.path is not None:
            named = root.text if isinstance(root, SyntaxError) else None
            named = named if isinstance(named, str) else None
            yield from _file_lines(found.path, found.line, named)
    cause = root.__cause__ or (None if root.__suppress_context__ else root.__context__)
    if cause is not None:
        origin = root_error(cause)
        is_news = _summary(origin, "") != _summary(root, "") or plugin_frames(cause)
        if is_news:  # Libraries for HTTP raise what they were told once more, as their own.
            yield from _message(f"caused by {_summary(origin, '')}{_place(cause)}")


def _summary(root: BaseException, who: str) -> str:
    if isinstance(root, PluginLoadError):
        return root.reason if root.stage == "compile" else f"{root.stage} failed: {root.reason}"
    message = getattr(root, "msg", None) if isinstance(root, SyntaxError) else said(root)
    if isinstance(root, PluginRegistryError):
        place = f" ({root.path}:{root.line})"  # It is shown below, with its line.
        return str(message).removesuffix(place).removeprefix(f"{who}: ").removeprefix(f"{who} ")
    return f"{type(root).__name__}: {message}" if message else type(root).__name__


def _others(error: BaseException) -> Sequence[BaseException]:
    """Return what else is in the group that `error` is or was raised for."""
    groups = (each for each in unwrapped(error) if isinstance(each, BaseExceptionGroup))
    group = next(groups, None)
    return group.exceptions[1:] if group is not None else ()


def _notes(error: BaseException) -> Sequence[str]:
    """Return the notes of `error` that are text; a plugin may set anything."""
    notes = getattr(error, "__notes__", ())
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else ()


def _place(error: BaseException) -> str:
    frames = plugin_frames(error)
    return at(frames[-1].path, frames[-1].line, " at ") if frames else ""


def _message(text: str) -> Iterator[Text]:
    lines = short(masked_text(text)).splitlines() or [""]
    for line in lines[:MESSAGE_LINES]:
        more = len(line) - LINE_CHARS
        yield Text(f"{line[:LINE_CHARS]} ... {more} more characters" if more > 0 else line)
    if len(lines) > MESSAGE_LINES:
        more = len(lines) - MESSAGE_LINES
        yield Text(f"{more} more {'line' if more == 1 else 'lines'}", "dim")


def _file_lines(path: str, line: int | None, named: str | None = None) -> Iterator[Text]:
    """Yield the place and, if there is a line, its neighbourhood as it is on disk now.

    Where the disk has moved on and has not the line that was `named` any more, only that one is
    shown.
    """
    yield Text(at(path, line, ""), "cyan")
    if line is None:
        return
    lines = _read(path)
    if named is not None and named.strip() and named.strip() not in "".join(lines[line - 1 : line]):
        (named,) = masked_lines([named.rstrip("\n")], path)
        yield _numbered(line, named, here=True)
    else:
        yield from _marked(lines, path, line, last=line + 1)


def _marked(lines: Sequence[str], path: str, line: int, *, last: int) -> Iterator[Text]:
    """Two lines before `line`, `line` with a mark, and what follows up to `last`."""
    first = max(1, line - _LINES_BEFORE)
    begin = max(0, first - LINES_OF_A_SECRET)  # It may begin well before what is shown.
    shown = masked_lines(lines[begin:last], path)
    for number, text in enumerate(shown[first - 1 - begin :], start=first):
        here = number == line
        if not here and not text.strip() and number in {line - _LINES_BEFORE, last}:
            continue
        yield _numbered(number, text, here=here)


def _numbered(number: int, text: str, *, here: bool) -> Text:
    return Text.assemble(
        ("❱ " if here else "  ", "red"),
        (f"{number:>4}  ", "dim"),
        (text.expandtabs(4), "bold" if here else "dim"),
        no_wrap=True,
        overflow="ellipsis",
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
