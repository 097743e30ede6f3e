"""What an edit of a file has changed, as a unified diff without secrets."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.secrets import masked_lines

if TYPE_CHECKING:
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.core.timeline import Edit

MOST_LINES: Final = 1000
"""How long a diff is at most, in lines; how many more there are, is said."""

_NOWHERE: Final = "/dev/null"


def text_of(edit: Edit) -> str | None:
    """Return what an edit has changed, as `unified`; None for a file whose text is not kept."""
    files = [each for each in (edit.before, edit.after) if each is not None]
    if not files or any(each.content is None for each in files):
        return None
    return unified(edit.path, _content(edit.before), _content(edit.after))


def _content(file: SourceFile | None) -> bytes | None:
    return None if file is None else file.content


def unified(path: str, before: bytes | None, after: bytes | None) -> str | None:
    """Return what was changed in the file at `path`; None if it is not text in UTF-8.

    Args:
        path: the file.
        before: what it held; None if it was not there.
        after: what it holds, likewise.

    Returns:
        A diff that is empty if only secrets differ.
    """
    try:
        old, new = (_lines(path, each or b"") for each in (before, after))
    except UnicodeDecodeError:
        return None
    source, target = (_NOWHERE if each is None else path for each in (before, after))
    diff = [*unified_diff(old, new, source, target, lineterm="")]
    left_out = len(diff) - MOST_LINES
    more = [f"... and {left_out} more lines"] if left_out > 0 else []
    return "".join(f"{line}\n" for line in (*diff[:MOST_LINES], *more))


def _lines(path: str, content: bytes) -> list[str]:
    if b"\0" in content:
        raise UnicodeDecodeError("utf-8", content, 0, 1, "no text")
    text = content.decode().removesuffix("\n")
    return masked_lines(text.split("\n"), path) if text else []
