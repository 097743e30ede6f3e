"""Retries plugins whose failure is transient, after pauses that grow."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.reload.inbox import TRIED_AGAIN
from dagstack_dev.core.events import PluginRetrying
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Retry
from dagstack_dev.core.transient import is_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.app.reload.inbox import Inbox
    from dagstack_dev.app.reload.state import ReloadState
    from dagstack_dev.app.settings import Settings
    from dagstack_dev.core.plan import Failure
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable

_MOST_DOUBLINGS: Final = 64
"""After so many any pause is the longest; one more would in the end be too large for a float."""

_LONGEST_ASKED_FOR: Final = 600.0
"""The longest pause, in seconds, that an error can ask for by its `retry_after`."""


class Retries:
    """Decides when a transient failure (`core.transient`) is tried again; it is noted with it.

    The first pause is short, each further one twice as long as the one before, up to a limit. A
    plugin that has run since its last retry for as long as the longest pause begins anew. An error
    that has `retry_after`, in seconds, gets no shorter pause than that. What has become of a
    failure meanwhile decides: one that is forgotten, or has been followed by another, is not due.

    Args:
        table: the plugins.
        state: what has failed.
        inbox: takes in that a pause is over.
        settings: how long the first pause and the longest are.
        later: called with seconds and a function, to have the function called then.
    """

    def __init__(
        self,
        table: PluginTable,
        state: ReloadState,
        inbox: Inbox,
        settings: Settings,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._table = table
        self._state = state
        self._inbox = inbox
        self._first = settings.retry_seconds
        self._longest = settings.retry_limit_seconds
        self._later = later

    def arrange(self, refs: Iterable[PluginRef]) -> None:
        """Decide about those of `refs` that have just failed."""
        for ref in refs:
            known = self._state.failures.get(ref)
            if not known or self._table.states.get(ref) is not State.FAILED:
                continue
            if known[-1].retry is None:
                self._state.note_retry(ref, Retry())
                if self._first and is_transient(known[-1].error):
                    self._wait(ref, known)

    def _wait(self, ref: PluginRef, known: list[Failure]) -> None:
        """Have `ref` tried again after a pause, and report that."""
        last, now = known[-1], monotonic()
        before = (known[-2].retry if len(known) > 1 else None) or Retry()
        ran_long = last.is_of_running and now - before.at >= self._longest
        attempt = 1 if ran_long else before.attempt + 1
        pause = min(self._first * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), self._longest)
        # Some say when it makes sense to try again; a nonsensical time is no reason to give up.
        asked_for = getattr(last.error, "retry_after", None)
        if isinstance(asked_for, int | float):
            pause = max(pause, min(asked_for, _LONGEST_ASKED_FOR))
        waiting = self._state.note_retry(ref, Retry(attempt, now + pause))
        self._later(pause, partial(self._over, ref, waiting))
        self._table.publish(
            PluginRetrying(
                ref=ref,
                attempt=attempt,
                seconds=pause,
                error=last.error,
                is_longest=pause >= self._longest,
            )
        )

    def _over(self, ref: PluginRef, waiting: Failure) -> None:
        known = self._state.failures.get(ref)
        if known and known[-1] is waiting:
            self._inbox.happens(ref, TRIED_AGAIN)
