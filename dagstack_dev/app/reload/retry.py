"""Tries plugins again whose failure may pass, after pauses that grow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.events import PluginRetrying
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.passing import may_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagstack_dev.core.events import Transition
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.table import PluginTable

_MOST_DOUBLINGS: Final = 64
"""After so many any pause is the longest; one more would in the end be too large for a float."""

_LONGEST_ASKED_FOR: Final = 600.0
"""Seconds at most that a try is put off because whoever has refused it asks for that."""


@dataclass(slots=True)
class _Tries:
    """How often a plugin has been tried, and since when it has been ready by that."""

    attempt: int = 0
    ready_since: float | None = None


class Revival:
    """Keeps what failed for a reason that may pass (`core.passing`), and has it tried again.

    The first pause is short, each further one twice as long as the one before, up to a limit. A
    plugin that has been ready for as long as the longest pause begins anew when it fails. An error
    that has `retry_after`, in seconds, gets no shorter pause than that.

    Args:
        table: the plugins.
        first: the first pause, in seconds; 0 and nothing is tried again.
        longest: the longest pause, in seconds.
        later: called with seconds and a function, to have the function called then.
        on_due: called with a plugin whose pause is over.
        clock: tells the time, in seconds.
    """

    def __init__(
        self,
        table: PluginTable,
        *,
        first: float,
        longest: float,
        later: Callable[[float, Callable[[], None]], None],
        on_due: Callable[[PluginRef], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._table = table
        self._first = first
        self._longest = longest
        self._later = later
        self._on_due = on_due
        self._clock = clock
        self._tries: dict[PluginRef, _Tries] = {}
        self._waits: dict[PluginRef, object] = {}
        self._failed: dict[PluginRef, None] = {}

    def is_waiting(self, ref: PluginRef | None) -> bool:
        """Whether a pause of `ref` is under way."""
        return ref in self._waits

    def note(self, fact: Transition) -> None:
        """A plugin came into another state: no pause is right any more."""
        ref, state = fact.ref, fact.to_state
        if state is State.FAILED:
            self._failed[ref] = None
        if not self._tries or ref not in self._tries:  # As nearly always.
            return
        self._waits.pop(ref, None)
        if state is State.READY:
            self._tries[ref].ready_since = self._clock()
        elif state is State.REMOVED:
            del self._tries[ref]

    def begin_anew(self, refs: Iterable[PluginRef | None]) -> None:
        """Something else is tried now, for `refs` were edited or asked for.

        That may be what was wrong with those that depend on them, so they are tried with them.
        """
        left = [ref for ref in refs if ref is not None] if self._tries else []
        if not left:
            return
        entries = self._table.entries  # What has died is not in the graph that is in force.
        wants = {ref: entries[ref].manifest.depends_on for ref in self._tries}
        graph, _ = self._table.graph.updated(wants)
        seen = set(left)
        while left:
            ref = left.pop()
            self._tries.pop(ref, None)
            self._waits.pop(ref, None)
            dependents = graph.dependents(ref) - seen
            seen |= dependents
            left += dependents

    def arrange(self) -> None:
        """See to what has failed since the last time: begin its pause, if trying again may help."""
        failed, self._failed = self._failed, {}
        for ref in failed:
            if self._table.states[ref] is not State.FAILED or not self._first:
                continue
            error = self._table.entries[ref].error
            if error is None or not may_pass(error):
                self._tries.pop(ref, None)
            else:
                self._wait(ref, error)

    def _wait(self, ref: PluginRef, error: BaseException) -> None:
        tries = self._tries.setdefault(ref, _Tries())
        ready_since, tries.ready_since = tries.ready_since, None
        if ready_since is not None and self._clock() - ready_since >= self._longest:
            tries.attempt = 0
        pause = min(self._first * 2.0 ** min(tries.attempt, _MOST_DOUBLINGS), self._longest)
        # Some say when it makes sense to try again; a nonsensical time is no reason to give up.
        asked_for = getattr(error, "retry_after", None)
        if isinstance(asked_for, int | float):
            pause = max(pause, min(asked_for, _LONGEST_ASKED_FOR))
        tries.attempt += 1
        self._waits[ref] = wait = object()
        self._table.publish(
            PluginRetrying(
                ref=ref,
                attempt=tries.attempt,
                seconds=pause,
                error=error,
                is_longest=pause >= self._longest,
            )
        )
        self._later(pause, partial(self._over, ref, wait))

    def _over(self, ref: PluginRef, wait: object) -> None:
        if self._waits.get(ref) is wait:
            del self._waits[ref]
            self._on_due(ref)
