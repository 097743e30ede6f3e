"""What the Trace Event Format asks of events, checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any


def rows_of(events: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Check `events` against the rules of the format, and return the complete ones by row.

    - Each has a name, a phase, a process and a thread.
    - Metadata (M) names a process or thread.
    - Complete events (X) have a time and a duration; in one thread they lie within one another or
      apart. Without that, viewers draw them wrongly or drop them.
    """
    names, rows = dict[int, str](), defaultdict[int, list[dict[str, Any]]](list)
    for event in events:
        assert isinstance(event["name"], str)
        assert event["name"]
        assert type(event["pid"]) is type(event["tid"]) is int, event
        assert isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert event["name"] in {"process_name", "thread_name"}, event
            assert event["args"].keys() == {"name"}
            assert isinstance(event["args"]["name"], str)
            if event["name"] == "thread_name":
                assert event["tid"] not in names, "a row is named twice"
                names[event["tid"]] = event["args"]["name"]
            continue
        assert event["ph"] == "X", event
        assert isinstance(event["cat"], str)
        assert type(event["ts"]) is type(event["dur"]) is int, event
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        rows[event["tid"]].append(event)
    assert rows.keys() == names.keys()
    for row in rows.values():
        _check_nesting(row)
    return {names[number]: row for number, row in rows.items()}


def _check_nesting(row: list[dict[str, Any]]) -> None:
    around: list[int] = []  # The ends of the events that the next one may lie in.
    for event in sorted(row, key=lambda each: (each["ts"], -each["dur"])):
        begins, ends = event["ts"], event["ts"] + event["dur"]
        while around and around[-1] <= begins:
            around.pop()
        assert not around or ends <= around[-1], (event, row)
        around.append(ends)
