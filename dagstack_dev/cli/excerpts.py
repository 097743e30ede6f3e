"""Errors and lines of files at the terminal: `disk.accounts` in colours, with short paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from dagstack_dev.cli.wording import at, short
from dagstack_dev.disk import accounts
from dagstack_dev.disk.accounts import CodeLine, Part, PartKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def headline(text: str) -> str:
    """Return the first line of `text`, without a last clause that only announces further lines."""
    first = text.partition("\n")[0]
    return first.rpartition("; ")[0] or first if first.endswith(":") else first


def explain(error: BaseException, who: str = "") -> list[Text]:
    """Return what went wrong and where, with the lines of the file around it.

    Args:
        error: of a plugin, or of the registry about one.
        who: the plugin that the reader knows it is about; its message need not repeat that.
    """
    return [text for each in accounts.account(error, who) for text in _texts(each)]


def excerpt(path: str, line: int) -> Sequence[Text]:
    """Return a line of a file as it is on disk now; nothing where it is gone."""
    return [*map(_code, accounts.excerpt(path, line))]


def _texts(part: Part) -> Iterator[Text]:
    frame = part.frame
    if part.kind is PartKind.MORE:
        yield Text(part.text, "dim")
    elif frame is None:
        yield Text(short(part.text))
    elif part.kind is PartKind.MESSAGE:
        yield Text(f"{short(part.text)}{at(frame.path, frame.line, ' at ')}")
    else:
        place = at(frame.path, frame.line, "")
        is_caller = part.kind is PartKind.CALLER
        named = f"{place} in {frame.function}" if frame.function else place
        yield Text(named, "dim" if is_caller else "cyan")
        if not is_caller:  # What a caller's line says, its function mostly says, too.
            yield from map(_code, frame.code)


def _code(line: CodeLine) -> Text:
    return Text.assemble(
        ("❱ " if line.is_here else "  ", "red"),
        (f"{line.line:>4}  ", "dim"),
        (line.text.expandtabs(4), "bold" if line.is_here else "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )
