"""What has to be reloaded though nothing on disk says so, as candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dagstack_dev.app.draft import candidate_for
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors import PluginCrashed, in_words
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Load

if TYPE_CHECKING:
    from dagstack_dev.app.inbox import Batch
    from dagstack_dev.core.plan import Candidate
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.table import PluginTable


def demanded(batch: Batch, table: PluginTable) -> dict[PluginRef, Candidate]:
    """Candidates for what was asked for, what is to be tried again, what died and what is ill."""
    demands: dict[PluginRef, Candidate] = {}
    for ref, error in batch.crashed.items():
        if table.states.get(ref) is State.FAILED:
            died = PluginCrashed(ref, _died_of(error))
            died.__cause__ = error
            candidate = candidate_for(table.entries[ref], "a task of its own ended it", Load.IMPORT)
            demands[ref] = replace(candidate, error=died)
    for ref, failure in batch.unhealthy.items():
        entry = table.entries[ref]
        if entry.degraded_by is failure:  # Else it has been reloaded since.
            candidate = candidate_for(entry, "unhealthy", Load.IMPORT)
            demands[ref] = replace(candidate, error=failure, is_lost=True)
    for ref in batch.retried:
        if table.states[ref] is State.FAILED:
            demands[ref] = candidate_for(table.entries[ref], "tried again", Load.IMPORT)
    for ref in batch.forced:
        if table.states[ref] is not State.REMOVED:  # As it may be since it was asked.
            demands[ref] = candidate_for(table.entries[ref], "asked for", Load.IMPORT)
    return demands


def _died_of(error: BaseException | None) -> str:
    if error is None:
        return "its own scope was cancelled"
    root = root_error(error)
    return in_words(root)
