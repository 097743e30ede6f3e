"""Failures in frames: in full when they are news, in a line when they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from dagstack_dev.cli.excerpts import error_lines, headline
from dagstack_dev.cli.printable import printable
from dagstack_dev.cli.screen import clock, timed
from dagstack_dev.core.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from dagstack_dev.core.lifecycle import Stage
    from dagstack_dev.core.refs import PluginRef

FRAME_WIDTH: Final = 110
"""Columns that a frame takes at most."""

NAMES_LIMIT: Final = 3
"""Plugins that one line names before it counts."""


class Frames:
    """Prints frames, and remembers the last one about each plugin."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[PluginRef, str] = {}

    def show(
        self, who: str, title: str, error: BaseException | None, keeps: str | None = None
    ) -> None:
        """Frame `error`.

        Args:
            who: the plugin or path that it is about.
            title: of the frame.
            error: None when nothing is known but the title.
            keeps: what goes on in spite of it.
        """
        parts: list[RenderableType] = list(_lines_of(error, who)) if error is not None else []
        if keeps:
            parts.append(Text(keeps, "green"))
        self._console.print(
            Panel(
                Group(*parts),
                title=Text(printable(title), "bold red", overflow="ellipsis"),
                subtitle=Text(clock(), "dim"),
                subtitle_align="right",
                title_align="left",
                border_style="red",
                width=min(self._console.width, FRAME_WIDTH),
            )
        )

    def show_news(
        self, refs: Sequence[PluginRef], title: str, error: BaseException, keeps: str | None
    ) -> None:
        """Frame `error`, or name it in a line if the last frames about `refs` were the same.

        What has failed is tried again with every reload of others, too.
        """
        before = [self._last.get(ref) for ref in refs]
        for ref in refs:
            self.remember(ref, error)
        if [self._last[ref] for ref in refs] != before:
            self.show(str(refs[0]), title, error, keeps)
            return
        reason = headline(self._last[refs[0]])
        note = f"; {keeps}" if keeps else ""
        who = f"{names(refs)} {'fails' if len(refs) == 1 else 'fail'} as before"
        self._console.print(timed(Text.assemble(("! ", "red"), f"{who}: {reason}{note}")))

    def remember(self, ref: PluginRef, error: BaseException | None) -> None:
        """A frame has shown `error`."""
        self._last[ref] = _said(error, str(ref))

    def forget(self, refs: Iterable[PluginRef]) -> None:
        """Something else has become of `refs`: their next failure is news whatever it is."""
        for ref in refs:
            self._last.pop(ref, None)


def alike(
    failures: Iterable[tuple[PluginRef, BaseException | None, Stage | None]],
) -> Iterable[list[PluginRef]]:
    """Plugins by what is said of their failures: those of a cycle share one frame."""
    groups: dict[tuple[Stage | None, str], list[PluginRef]] = {}
    for ref, error, stage in failures:
        groups.setdefault((stage, _said(error, str(ref))), []).append(ref)
    return groups.values()


def names(refs: Sequence[PluginRef]) -> str:
    """Some of `refs` by name, and the number of the rest."""
    named = ", ".join(str(ref) for ref in refs[:NAMES_LIMIT])
    more = len(refs) - NAMES_LIMIT
    return f"{named} and {more} more" if more > 0 else named


def _said(error: BaseException | None, who: str) -> str:
    lines = _lines_of(error, who) if error is not None else ()
    return "\n".join(line.plain for line in lines)


def _lines_of(error: BaseException, who: str) -> Sequence[Text]:
    try:
        return list(error_lines(error, who))
    except Exception:  # noqa: BLE001 - whatever a plugin has put into its exception
        return [Text(in_words(error))]
