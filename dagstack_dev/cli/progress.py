"""A line that says how far a slow start is; it is gone when anything else is printed."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from dagstack_dev.cli.failures import names
from dagstack_dev.cli.output import printable
from dagstack_dev.core.events import Fact, Transition, WatchStarted
from dagstack_dev.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dagstack_dev.cli.output import StandardOutput
    from dagstack_dev.cli.screen import Screen
    from dagstack_dev.core.refs import PluginRef

PATIENCE_SECONDS: Final = 0.5
"""How long a start may take without a line."""

_PAUSE_SECONDS: Final = 0.2


class Progress:
    """Shows how many plugins of a start are ready, and what is being set up; an observer.

    A thread writes the line, for what makes a start slow mostly blocks the event loop.

    Args:
        output: where to write.
        console: knows how wide that is.
        is_in_the_way: returns whether a person is typing there.
    """

    def __init__(
        self, output: StandardOutput, console: Screen, is_in_the_way: Callable[[], bool]
    ) -> None:
        self._output = output
        self._console = console
        self._is_in_the_way = is_in_the_way
        self._states: dict[PluginRef, State] = {}
        self._ended = threading.Event()
        self._began = monotonic()

    def __call__(self, fact: Fact, /) -> None:
        """Note what a start does, until it has ended."""
        if isinstance(fact, WatchStarted):
            self._end()
        elif isinstance(fact, Transition) and not self._ended.is_set():
            self._states[fact.ref] = fact.to_state

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the line in this block, until the start has ended."""
        self._hold_back(sys.stdout)
        threading.Thread(target=self._run, name="dagstack-dev progress", daemon=True).start()
        try:
            yield
        finally:
            self._end()

    def _hold_back(self, stream: Any) -> None:
        """Have what plugins print take the place of the line, too."""
        write = stream.write

        def write_instead(text: str) -> Any:
            self._output.wipe()
            if self._ended.is_set() and stream.write is write_instead:
                del stream.write
            return write(text)

        stream.write = write_instead

    def _end(self) -> None:
        self._ended.set()
        self._output.wipe()

    def _run(self) -> None:
        self._ended.wait(PATIENCE_SECONDS)
        while not self._ended.is_set():
            if not self._is_in_the_way():
                self._output.write_passing(self._text, self._ended.is_set)
            self._ended.wait(_PAUSE_SECONDS)

    def _text(self) -> str:
        states = self._states.copy()
        ready = sum(state is State.READY for state in states.values())
        now = [ref for ref, state in states.items() if state is State.SETTING_UP]
        imported = sum(state is not State.DISCOVERED for state in states.values())
        what = f"setting up {names(now)}" if now else f"{imported} imported"
        line = f"{ready} of {len(states)} ready, {what}  {monotonic() - self._began:.0f} s"
        text = Text(printable(line))
        text.truncate(self._console.width - 1)
        return text.plain
