"""Failures: in a frame when they are news, in a line when they are not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from dagstack_dev.cli.excerpts import explain, headline
from dagstack_dev.cli.output import printable
from dagstack_dev.cli.screen import clock, timed
from dagstack_dev.core.blame import blame, root_error, unwrapped
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.transient import is_transient
from dagstack_dev.core.wording import listed
from dagstack_dev.static.findings import rule_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from rich.console import Console

    from dagstack_dev.core.events import PluginRetrying
    from dagstack_dev.core.lifecycle import Stage
    from dagstack_dev.core.refs import PluginRef

FRAME_WIDTH: Final = 110
"""Columns that a frame takes at most."""

FRAMES_LIMIT: Final = 20
"""Failures of one start or reload that are framed; of the others each is a line at most."""

NAMES_LIMIT: Final = 3
"""Plugins that one line names before it counts."""

_CORNERS: Final = 6
"""Columns that a frame takes beside its title."""


@dataclass(slots=True)
class _Shown:
    """What has been shown of one plugin.

    Attributes:
        frame: the text of its last frame; None when its next failure is news whatever it is.
        teardown: likewise of its last teardown that has failed.
        crash: what it has last died of.
        pause: the one of the last line about a retry, in seconds; None when it is not retried.
        reason: the one of that line.
        is_held_back: whether it has crashed since without a frame.
        is_rejected: whether its last failure was that of a version that was never tried.
    """

    frame: str | None = None
    teardown: str | None = None
    crash: BaseException | None = None
    pause: float | None = None
    reason: str | None = None
    is_held_back: bool = False
    is_rejected: bool = False


class Failures:
    """Prints failures, and remembers what has been shown of each plugin."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: defaultdict[PluginRef, _Shown] = defaultdict(_Shown)
        self._places: dict[str, tuple[str, int]] = {}  # Where the failures are; the newest last.
        self._reload: int | None = None
        self._frames = 0  # Of that reload.
        self._above = ""  # The text of the last frame, while no other news have come.

    def show(
        self, who: str, title: str, error: BaseException | None, keeps: str | None = None
    ) -> None:
        """Frame `error`.

        Args:
            who: the plugin or path that it is about, or a teardown.
            title: of the frame.
            error: None when nothing is known but the title.
            keeps: what goes on in spite of it; beside the title, if there is room for both.
        """
        lines = explain(error, who) if error is not None else []
        self._places.pop(who, None)
        if error is not None and (found := blame(error)).path is not None:
            self._places[who] = found.path, found.line or 1
        self._above = "\n".join(line.plain for line in lines)
        width = min(self._console.width, FRAME_WIDTH)
        code = _code(error) if error is not None else ""
        head = printable(f"{title}, {keeps}{code}" if keeps else f"{title}{code}")
        if keeps and cell_len(head) > width - _CORNERS:
            head = printable(f"{title}{code}")
            lines.append(Text(keeps, "green"))
        self._console.print(
            Panel(
                Group(*lines),
                title=Text(head, "bold red", overflow="ellipsis"),
                subtitle=Text(clock(), "dim"),
                subtitle_align="right",
                title_align="left",
                border_style="red",
                width=width,
            )
        )

    def note_reload(self, number: int | None) -> None:
        """Note which reload the next failure is of; None for none."""
        if number is None or number != self._reload:
            self._reload, self._frames = number, 0

    def _show_next(self, who: str, title: str, error: BaseException, keeps: str | None) -> None:
        """Frame `error`; in a line where its reload has had many frames."""
        self._frames += 1
        if self._frames <= FRAMES_LIMIT:
            self.show(who, title, error, keeps)
        else:
            note = f"; {keeps}" if keeps else ""
            self._line(f"{title}: {headline(_said(error, who))}{note}")

    def show_rejection(
        self, ref: PluginRef | None, path: str, error: BaseException, keeps: str | None
    ) -> None:
        """Frame `error`, or refer to the frame above it, if that has the same text.

        One mistake in code that plugins share has each of them rejected.
        """
        who = str(ref) if ref else path
        text = _said(error, who)
        if ref is not None:
            self._shown[ref].is_rejected = True
        if text != self._above:
            if ref is not None:
                self._shown[ref].frame = None
            self._show_next(who, f"{who} rejected", error, keeps)
        elif ref is None or self._shown[ref].frame != text:  # Else the frame is its own.
            self._line(f"{who} rejected for the same reason{f', {keeps}' if keeps else ''}")

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
            self._show_next(str(refs[0]), title, error, keeps)
            return
        who = f"{names(refs)} {'fails' if len(refs) == 1 else 'fail'} as before"
        note = f"; {keeps}" if keeps else ""
        self._line(f"{who}: {headline(frames[0])}{note}")

    def show_teardown(self, ref: PluginRef, error: BaseException) -> None:
        """Frame why a teardown has failed; in a line, if the one before did for the same reason."""
        who, shown = teardown_of(ref), self._shown[ref]
        before, shown.teardown = shown.teardown, _said(error, who)
        if shown.teardown == before:
            self._line(f"{who} fails as before: {headline(before)}")
        else:
            self.show(who, f"{who} failed", error)

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

    def last_place(self, failing: Container[str]) -> tuple[str, int] | None:
        """Return path and line of the last failure that was framed, and is not mended.

        Args:
            failing: the plugins, paths and teardowns with which something is wrong.
        """
        left = (self._places[who] for who in reversed(self._places) if who in failing)
        return next(left, None)

    def is_rejection(self, ref: PluginRef) -> bool:
        """Return whether the last failure of `ref` was that of a version that was never tried."""
        return self._shown[ref].is_rejected

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
        self._shown[ref].is_rejected = False

    def forget(self, refs: Iterable[PluginRef]) -> None:
        """Something else has become of `refs`: their next failure is news whatever it is."""
        self._above = ""
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


def teardown_of(ref: PluginRef) -> str:
    """Return what a teardown is called."""
    return f"{ref}: teardown"


def names(refs: Sequence[PluginRef]) -> str:
    """Return some of `refs` by name, and the number of the rest."""
    return listed(refs, NAMES_LIMIT)


def _said(error: BaseException | None, who: str) -> str:
    lines = explain(error, who) if error is not None else ()
    return "\n".join(line.plain for line in lines)


def _code(error: BaseException) -> str:
    """Return the code of docs/checks.md in brackets, if `check` finds the same."""
    rule = next(filter(None, map(rule_of, unwrapped(error))), None)
    return f" ({rule.code})" if rule else ""
