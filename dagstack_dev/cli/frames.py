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

    from dagstack_dev.core.events import Transition
    from dagstack_dev.core.lifecycle import Stage
    from dagstack_dev.core.refs import PluginRef

FRAME_WIDTH: Final = 110
"""Columns that a frame takes at most."""


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
        self, ref: PluginRef, title: str, error: BaseException, keeps: str | None
    ) -> None:
        """Frame `error`, or name it in a line if the last frame about `ref` was the same.

        What has failed is tried again with every reload of others, too.
        """
        before = self._last.get(ref)
        self.remember(ref, error)
        if self._last[ref] != before:
            self.show(str(ref), title, error, keeps)
            return
        reason = headline(self._last[ref])
        note = f"; {keeps}" if keeps else ""
        line = Text.assemble(("! ", "red"), f"{ref} fails as before: {reason}{note}")
        self._console.print(timed(line))

    def remember(self, ref: PluginRef, error: BaseException | None) -> None:
        """A frame has shown `error`."""
        self._last[ref] = _said(error, str(ref))

    def forget(self, refs: Iterable[PluginRef]) -> None:
        """Something else has become of `refs`: their next failure is news whatever it is."""
        for ref in refs:
            self._last.pop(ref, None)


def alike(failures: Iterable[Transition]) -> Iterable[list[Transition]]:
    """Failures by what is said of them: the plugins of a cycle share one frame."""
    groups: dict[tuple[Stage | None, str], list[Transition]] = {}
    for failure in failures:
        said = _said(failure.error, str(failure.ref))
        groups.setdefault((failure.stage, said), []).append(failure)
    return groups.values()


def _said(error: BaseException | None, who: str) -> str:
    lines = _lines_of(error, who) if error is not None else ()
    return "\n".join(line.plain for line in lines)


def _lines_of(error: BaseException, who: str) -> Sequence[Text]:
    try:
        return list(error_lines(error, who))
    except Exception:  # noqa: BLE001 - whatever a plugin has put into its exception
        return [Text(in_words(error))]
