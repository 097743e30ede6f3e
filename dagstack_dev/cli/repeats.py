"""What a plugin logs each time that it is tried again and fails: shown once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.app.reload.inbox import TRIED_AGAIN
from dagstack_dev.core.errors.base import shown
from dagstack_dev.core.events import Transition
from dagstack_dev.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.events import Fact

_MOST_LINES: Final = 1000
"""How many of one attempt are remembered."""


class Repeats:
    """Knows what each plugin has logged in its last attempt to come up; an observer."""

    def __init__(self) -> None:
        self._before: dict[str, set[str]] = {}
        self._now: dict[str, set[str]] = {}

    def __call__(self, fact: Fact, /) -> None:
        """Note the beginning or end of an attempt."""
        if not isinstance(fact, Transition):
            return
        ref = str(fact.ref)
        match fact.to_state:
            case State.FAILED:
                self._before[ref] = self._now.pop(ref, set())
                self._now[ref] = set()
            case State.READY | State.REMOVED:
                self._before.pop(ref, None)
                self._now.pop(ref, None)
            case _:
                self._now.setdefault(ref, set())
                if fact.reason != TRIED_AGAIN:
                    self._before.pop(ref, None)

    def is_known(self, event: Mapping[str, object]) -> bool:
        """Return whether a plugin that is tried again has logged this in its last attempt, too."""
        ref = event.get("plugin")
        now = self._now.get(ref) if isinstance(ref, str) else None
        if now is None:
            return False
        said = "\n".join(f"{key}={shown(event[key])}" for key in event if key != "timestamp")
        if len(now) < _MOST_LINES:
            now.add(said)
        return said in self._before.get(str(ref), ())
