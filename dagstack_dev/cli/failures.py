"""Failures: in a frame when they are news, in a line when they are not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from dagstack_dev.cli.excerpts import error_lines, headline
from dagstack_dev.cli.output import printable
from dagstack_dev.cli.screen import clock, timed
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.transient import is_transient

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from dagstack_dev.core.events import PluginRetrying
    from dagstack_dev.core.lifecycle import Stage
    from dagstack_dev.core.refs import PluginRef

FRAME_WIDTH: Final = 110
"""Columns that a frame takes at most."""

NAMES_LIMIT: Final = 3
"""Plugins that one line names before it counts."""


@dataclass(slots=True)
class _Shown:
    """What has been shown of one plugin.

    Attributes:
        frame: the text of its last frame; None when its next failure is news whatever it is.
        crash: what it has last died of.
        pause: the one of the last line about a retry, in seconds; None when it is not retried.
        reason: the one of that line.
        is_held_back: whether it has crashed since without a frame.
    """

    frame: str | None = None
    crash: BaseException | None = None
    pause: float | None = None
    reason: str | None = None
    is_held_back: bool = False


class Failures:
    """Prints failures, and remembers what has been shown of each plugin."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: defaultdict[PluginRef, _Shown] = defaultdict(_Shown)

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
        before = [self._shown[ref].frame for ref in refs]
        for ref in refs:
            self.remember(ref, error)
        frames = [self._shown[ref].frame or "" for ref in refs]
        if frames != before:
            self.show(str(refs[0]), title, error, keeps)
            return
        who = f"{names(refs)} {'fails' if len(refs) == 1 else 'fail'} as before"
        note = f"; {keeps}" if keeps else ""
        self._line(f"{who}: {headline(frames[0])}{note}")

    def show_crash(self, ref: PluginRef, title: str, error: BaseException | None) -> None:
        """Frame the end of `ref`; in a line, if it came up again only to end the same way."""
        root = root_error(error) if error is not None else None
        shown = self._shown[ref]
        before, shown.crash = shown.crash, root
        if before and root and is_transient(root) and in_words(before) == in_words(root):
            shown.is_held_back = True
            self._line(f"{ref} fails as before: {headline(in_words(root))}")
        else:
            self.show(str(ref), title, error)

    def show_retry(self, fact: PluginRetrying) -> None:
        """Print the pause, unless it is as long as the last one and the reason is the same."""
        ref, shown = fact.ref, self._shown[fact.ref]
        last, reason = shown.pause, headline(in_words(root_error(fact.error)))
        is_known = shown.reason == reason
        is_held_back = last is not None or shown.is_held_back
        shown.pause, shown.reason, shown.is_held_back = fact.seconds, reason, False
        if fact.attempt > 1 and is_known and last == fact.seconds:
            return
        if fact.attempt == 1 and is_held_back:  # Its frame, for the edit was not known then.
            self.show_news([ref], f"{ref} failed", fact.error, None)
        when = f"every {fact.seconds:g} s" if fact.is_longest else f"in {fact.seconds:g} s"
        news = "" if is_known or fact.attempt == 1 else f"{reason}; "
        self._console.print(Text(f"  {ref}: {news}tries again {when}", "dim"))

    def is_crash(self, ref: PluginRef, error: BaseException) -> bool:
        """Return whether `error` is what `ref` has died of, which was shown then."""
        return self._shown[ref].crash is root_error(error)

    def is_retry(self, ref: PluginRef, error: BaseException) -> bool:
        """Return whether `ref` has failed again of what is being retried: `show_retry` will do.

        Any other failure ends the trying.
        """
        if is_transient(error):
            return self._shown[ref].pause is not None
        self.end_retries(ref)
        return False

    def _line(self, text: str) -> None:
        self._console.print(timed(Text.assemble(("! ", "red"), text)))

    def remember(self, ref: PluginRef, error: BaseException | None) -> None:
        """Note that a frame has shown `error`."""
        self._shown[ref].frame = _said(error, str(ref))

    def forget(self, refs: Iterable[PluginRef]) -> None:
        """Something else has become of `refs`: their next failure is news whatever it is."""
        for ref in refs:
            self._shown[ref].frame = None

    def end_retries(self, ref: PluginRef, *, is_gone: bool = False) -> None:
        """It has come up or gone: the next failure of its setup is news, or any if it is gone."""
        self._shown[ref].pause = None
        if is_gone:
            self._shown[ref].crash = None


def alike(
    failures: Iterable[tuple[PluginRef, BaseException | None, Stage | None]],
) -> Iterable[list[PluginRef]]:
    """Group plugins by what is said of their failures: those of a cycle share one frame."""
    groups: dict[tuple[Stage | None, str], list[PluginRef]] = {}
    for ref, error, stage in failures:
        groups.setdefault((stage, _said(error, str(ref))), []).append(ref)
    return groups.values()


def names(refs: Sequence[PluginRef]) -> str:
    """Return some of `refs` by name, and the number of the rest."""
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
