"""The facts that tell how a part of a reload went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.events import ReloadFailed, ReloadRolledBack
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.elapsed import ms_since

if TYPE_CHECKING:
    from dagstack_dev.host.table import PluginTable
    from dagstack_dev.host.transaction import TransactionRun


def tell_failure(
    table: PluginTable, run: TransactionRun, reload_id: int, began: float
) -> ReloadRolledBack | ReloadFailed | None:
    """Publish what went wrong with a transaction that has just ended, if anything did.

    Args:
        table: where the plugins are, and who is told.
        run: the transaction.
        reload_id: the reload.
        began: when it began, on the clock of `time.perf_counter`.
    """
    failure = _failure(table, run, reload_id=reload_id, duration_ms=ms_since(began))
    if failure is not None:
        table.publish(failure)
    return failure


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
