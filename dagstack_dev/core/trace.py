"""Reloads in the Trace Event Format, which Perfetto and `chrome://tracing` draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.secrets import masked

if TYPE_CHECKING:
    from dagstack_dev.core.reloads import Reload
    from dagstack_dev.core.timeline import Call, Span

_PROCESS: Final = 1
"""The one process of a trace, with a row for each plugin."""


class Trace:
    """Makes events of one reload after the other, in the order in which they end.

    Each reload is an event with the steps of the whole reload within; reloads at the same time are
    in different rows. The steps of a plugin are in a row of its own. No events of a row overlap,
    but for those that lie within one another. Times are in microseconds since the epoch.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._free_from: dict[str, int] = {}
        self._last_lane = 0, 0

    def events(self, reload: Reload) -> list[dict[str, Any]]:
        """Return the events of one reload, and the names of the rows that are new."""
        number, known, began = reload.first.id, len(self._rows), int(reload.first.began * 1e6)
        ended = began + int(reload.duration_ms * 1000)
        found = [self._event(f"reload {number}", self._lane(number, began, ended), began, ended)]
        found[0]["args"] = masked(_about(reload))
        lane = found[0]["tid"]
        for span in reload.spans:
            row = lane if span.ref is None else self._row(str(span.ref))
            times = (began + int(1000 * ms) for ms in (span.begin_ms, span.end_ms))
            event = self._event(span.step, row, *times)
            event["args"] = masked({"reload": number, **_about_step(span)})
            found.append(event)
        if not known:
            found.insert(0, _name("process_name", 0, "dagstack-dev"))
        new = [*self._rows.items()][known:]
        return [*(_name("thread_name", row, name) for name, row in new), *found]

    def _event(self, name: str, row: int, began: int, ended: int) -> dict[str, Any]:
        return {
            "name": name,
            "cat": "reload",
            "ph": "X",
            "ts": began,
            "dur": ended - began,
            "pid": _PROCESS,
            "tid": row,
        }

    def _lane(self, reload: int, began: int, ended: int) -> int:
        """Return the first row for reloads that is free from `began` on, and take it."""
        last, lane = self._last_lane
        lane = lane + 1 if last == reload else 1  # Parts begin together: no row before is free.
        while self._free_from.get(name := f"reloads {lane}", 0) > began:
            lane += 1
        self._last_lane, self._free_from[name] = (reload, lane), ended
        return self._row(name)

    def _row(self, name: str) -> int:
        return self._rows.setdefault(name, len(self._rows) + 1)


def _name(what: str, row: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": row, "args": {"name": name}}


def _about(reload: Reload) -> dict[str, Any]:
    found: dict[str, Any] = {
        "outcome": reload.outcome,
        "paths": [*reload.first.paths],
        "plugins": len(reload.affected),
    }
    if reload.reason is not None:
        found["reason"] = reload.reason
    if errors := reload.errors:
        found["errors"] = {str(ref): in_words(error) for ref, error in errors.items()}
    return found


def _about_step(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if span.reason:
        found["reason"] = span.reason
    if span.error is not None:
        found["error"] = in_words(span.error)
    if span.held_by is not None:
        found["held_by"] = _about_call(span.held_by)
    return found


def _about_call(call: Call) -> dict[str, Any]:
    at = f"{call.path}:{call.line}" if call.path else None
    return {"method": call.method, "caller": call.caller and str(call.caller), "at": at}
