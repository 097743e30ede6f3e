"""Reports to the observers which news are not in force, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.events import PluginFixed, PluginRejected, ReloadPlanned, ReloadSkipped
from dagstack_dev.core.recorded import recorded
from dagstack_dev.core.timeline import Planned
from dagstack_dev.host.loop.limits import ms_since

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.app.reload.inbox import Occasion
    from dagstack_dev.core.plan import ReloadPlan
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable


class Reports:
    """Reports what is rejected and fixed, but not the same thing with every batch."""

    def __init__(self, table: PluginTable) -> None:
        self._table = table
        self._rejected: dict[str, str] = {}

    def rejected(
        self, ref: PluginRef | None, path: str, error: BaseException, reload_id: int | None = None
    ) -> None:
        """Report that what is at `path` is not taken over; what runs of `ref` goes on."""
        if self._rejected.get(path) == str(error):
            return
        self._rejected[path] = str(error)
        entry = self._table.entries.get(ref) if ref is not None else None
        is_live = entry is not None and entry.ref in self._table.setup_order
        self._table.publish(
            PluginRejected(
                ref=ref,
                path=path,
                error=recorded(error),
                keeps_generation=entry.number if entry is not None and is_live else None,
                reload_id=reload_id,
            )
        )

    def tried(self, path: str) -> None:
        """Note that something else was tried at `path`: its next rejection is news again."""
        if path in self._rejected:
            self._rejected[path] = ""

    def fixed(
        self,
        path: str,
        ref: PluginRef | None,
        message: str,
        reload_id: int | None = None,
        *,
        is_pending: bool = False,
    ) -> None:
        """Report that what was rejected at `path`, or `is_pending`, is not any more."""
        if self._rejected.pop(path, None) is not None or is_pending:
            fact = PluginFixed(ref=ref, path=path, message=message, reload_id=reload_id)
            self._table.publish(fact)

    @property
    def paths(self) -> list[str]:
        """The paths of which something was rejected that is not fixed yet."""
        return sorted(self._rejected)

    def planned(self, reload_id: int, occasion: Occasion, plan: ReloadPlan | None = None) -> None:
        """Report what is going to be done, and what is not put in force; with no plan, nothing."""
        rows: list[Planned] = []
        if plan is not None:
            rows += (Planned(step.ref, action, step.reason) for action, step in plan.actions())
            kept = plan.rejected.items()
            rows += (Planned(ref, "reject", in_words(error)) for ref, error in kept)
        self._table.publish(
            ReloadPlanned(
                reload_id=reload_id,
                paths=tuple(occasion.paths),
                plan=tuple(rows),
                began=occasion.began,
                looks=occasion.looks,
                edits=occasion.edits,
            )
        )

    def skipped(
        self, reload_id: int, occasion: Occasion, reason: str, settled: Iterable[PluginRef] = ()
    ) -> None:
        """Report that nothing was done."""
        self._table.publish(
            ReloadSkipped(
                reload_id=reload_id,
                duration_ms=ms_since(occasion.began),
                paths=tuple(occasion.paths),
                reason=reason,
                settled=tuple(sorted(settled)),
            )
        )
