"""What observers are told of news that are not in force, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.events import PluginFixed, PluginRejected, ReloadSkipped
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.loop.limits import ms_since

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable


class Reports:
    """Tells what is rejected and fixed, but not the same thing with every batch."""

    def __init__(self, table: PluginTable) -> None:
        self._table = table
        self._told: dict[str, str] = {}

    def rejected(
        self, ref: PluginRef | None, path: str, error: BaseException, reload_id: int | None = None
    ) -> None:
        """What is at `path` is not taken over; what runs of `ref` goes on."""
        if self._told.get(path) == str(error):
            return
        self._told[path] = str(error)
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

    def fixed(
        self, path: str, ref: PluginRef | None, message: str, reload_id: int | None = None
    ) -> None:
        """What was rejected at `path` is not any more."""
        if self._told.pop(path, None) is not None:
            self._tell_fixed(path, ref, message, reload_id)

    def settled(self, path: str, ref: PluginRef, reload_id: int | None) -> None:
        """What was pending at `path`, told or not, is again what runs."""
        self._told.pop(path, None)
        self._tell_fixed(path, ref, "the file matches what runs", reload_id)

    def _tell_fixed(
        self, path: str, ref: PluginRef | None, message: str, reload_id: int | None
    ) -> None:
        fact = PluginFixed(ref=ref, path=path, message=message, reload_id=reload_id)
        self._table.publish(fact)

    def told(self) -> list[str]:
        """The paths of which something was told that is not fixed yet."""
        return sorted(self._told)

    def skipped(
        self,
        reload_id: int,
        began: float,
        paths: Sequence[str],
        reason: str,
        settled: Iterable[PluginRef] = (),
    ) -> None:
        """Nothing was done."""
        self._table.publish(
            ReloadSkipped(
                reload_id=reload_id,
                duration_ms=ms_since(began),
                paths=tuple(paths),
                reason=reason,
                settled=tuple(sorted(settled)),
            )
        )
