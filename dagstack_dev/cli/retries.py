"""Plugins that are tried again: a frame for the first failure, hardly a line for those after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from dagstack_dev.cli.excerpts import headline
from dagstack_dev.cli.screen import timed
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors import in_words
from dagstack_dev.core.passing import may_pass

if TYPE_CHECKING:
    from rich.console import Console

    from dagstack_dev.cli.frames import Frames
    from dagstack_dev.core.events import PluginRetrying
    from dagstack_dev.core.refs import PluginRef


class Retries:
    """Says when plugins are tried again, and knows whose failures have been shown."""

    def __init__(self, console: Console, frames: Frames) -> None:
        self._console = console
        self._frames = frames
        self._pauses: dict[PluginRef, float] = {}
        self._reasons: dict[PluginRef, str] = {}
        self._crashes: dict[PluginRef, str] = {}
        self._kept_back: set[PluginRef] = set()

    def forget(self, ref: PluginRef) -> None:
        """Something else has become of `ref`: the next failure of its setup is news."""
        self._pauses.pop(ref, None)

    def covers(self, ref: PluginRef, error: BaseException) -> bool:
        """Whether `ref` has failed once more of what is being tried again, so that `show` will do.

        Any other failure ends the trying.
        """
        if may_pass(error):
            return ref in self._pauses
        self.forget(ref)
        return False

    def show_crash(self, ref: PluginRef, title: str, error: BaseException | None) -> None:
        """Frame the end of `ref`; in a line, if it came up again only to end the same way."""
        reason = in_words(root_error(error)) if error is not None and may_pass(error) else ""
        if reason and self._crashes.get(ref) == reason:
            self._kept_back.add(ref)
            line = Text.assemble(("! ", "red"), f"{ref} fails as before: {headline(reason)}")
            self._console.print(timed(line))
        else:
            self._frames.show(str(ref), title, error)
        self._crashes[ref] = reason

    def show(self, fact: PluginRetrying) -> None:
        """Print the pause, unless it is as long as the last one and the reason is the same."""
        ref, last = fact.ref, self._pauses.get(fact.ref)
        self._pauses[ref] = fact.seconds
        reason = headline(in_words(root_error(fact.error)))
        is_known = self._reasons.get(ref) == reason
        self._reasons[ref] = reason
        is_kept_back = last is not None or ref in self._kept_back
        self._kept_back.discard(ref)
        if fact.attempt > 1:
            if is_known and last == fact.seconds:
                return
        elif is_kept_back:  # Its frame, for nobody knew of the edit.
            self._frames.show_news([ref], f"{ref} failed", fact.error, None)
        when = f"every {fact.seconds:g} s" if fact.is_longest else f"in {fact.seconds:g} s"
        news = "" if is_known or fact.attempt == 1 else f"{reason}; "
        self._console.print(Text(f"  {ref}: {news}tries again {when}", "dim"))
