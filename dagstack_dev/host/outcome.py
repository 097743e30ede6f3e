"""The facts that tell how a reload ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.events import ReloadCommitted, ReloadFailed, ReloadRolledBack
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.elapsed import ms_since

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.table import PluginTable
    from dagstack_dev.host.transaction import TransactionRun


def tell_outcome(
    table: PluginTable,
    runs: Iterable[TransactionRun],
    candidates: Collection[PluginRef],
    *,
    reload_id: int,
    began: float,
) -> None:
    """Publish one fact for each transaction that went wrong, and one for all that went well.

    Args:
        table: where the plugins are, and who is told.
        runs: the transactions, settled.
        candidates: the plugins that changed.
        reload_id: the reload.
        began: when it began, on the clock of `time.perf_counter`.
    """
    good: set[PluginRef] = set()
    for run in runs:
        failure = _failure(table, run, reload_id=reload_id, duration_ms=ms_since(began))
        if failure is not None:
            table.publish(failure)
        else:
            good |= run.transaction.refs
    if good:
        table.publish(
            ReloadCommitted(
                reload_id=reload_id,
                duration_ms=ms_since(began),
                changed=tuple(sorted(good.intersection(candidates))),
                affected=tuple(sorted(good)),
            )
        )


def _failure(
    table: PluginTable, run: TransactionRun, *, reload_id: int, duration_ms: float
) -> ReloadRolledBack | ReloadFailed | None:
    """What went wrong with one transaction; None when nothing did."""
    lost = any(table.states[ref] is not State.READY for ref in run.coming_back)
    if run.doomed and not lost:
        return ReloadRolledBack(
            reload_id=reload_id,
            duration_ms=duration_ms,
            affected=run.refs,
            errors=dict(run.failed),
            running={ref: table.entries[ref].number for ref in sorted(run.coming_back)},
        )
    if run.doomed or run.failed or run.transaction.fail:
        never = {step.ref: step.error for step in run.transaction.fail if step.error is not None}
        return ReloadFailed(
            reload_id=reload_id,
            duration_ms=duration_ms,
            affected=run.refs,
            errors=run.failed | never,
        )
    return None
