"""Whether all that is known of a plugin agrees."""

from __future__ import annotations

from collections.abc import Iterator

from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.plugins.entry import Entry
from dagstack_dev.host.plugins.table import PluginTable


def disagreements(table: PluginTable, entry: Entry) -> Iterator[str]:
    """What of `entry` contradicts its state."""
    state, gate, status = table.states[entry.ref], entry.gate, table.status(entry)
    holds = {
        "failed, with an error and a stage": (state is State.FAILED)
        == (entry.failure is not None)
        == (entry.stage is not None),
        "blocked, by something": (state is State.BLOCKED) == bool(entry.blocked_by),
        "degraded, so it is ready": entry.degraded_by is None or state is State.READY,
        "pending, so something runs or comes back": not entry.pending
        or state not in {State.DISCOVERED, State.FAILED, State.BLOCKED, State.REMOVED},
        "set up, so it has a place in the order": (entry.ref in table.setup_order)
        == (state in {State.READY, State.TEARING_DOWN}),
        "an instance, so there is code": entry.instance is None
        or entry.generation is not None
        or entry.revision.by_hand,
        "an instance runs": entry.running is not None
        or state not in {State.SETTING_UP, State.READY},
        "nothing runs": entry.running is None
        or state in {State.SETTING_UP, State.READY, State.TEARING_DOWN, State.FAILED},
        "nothing of it is there": entry.generation is None
        or state not in {State.BLOCKED, State.REMOVED},
        "it is ready, so calls pass or wait": state is not State.READY or gate.refusal is None,
        "calls pass, so it is there": gate.closed or state in {State.LOADED, State.READY},
        "calls are refused": gate.refusal is not None
        or state not in {State.BLOCKED, State.REMOVED},
        "the status has an error": (status.error is not None)
        == (state is State.FAILED or status.pending or status.degraded),
    }
    return (f"{entry.ref} is {state}: {name}" for name, is_so in holds.items() if not is_so)
