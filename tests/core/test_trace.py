"""Reloads in the Trace Event Format."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from traces import rows_of

from dagstack_dev.core.events import ReloadCommitted, ReloadEnd, ReloadRolledBack, ReloadSkipped
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.reloads import Reload, ReloadRecord
from dagstack_dev.core.timeline import Call, Span
from dagstack_dev.core.trace import Trace

ONE, TWO = PluginRef("demo", "one"), PluginRef("demo", "two")
NOW = 1_790_000_000.0


def committed(number: int = 1, *, duration_ms: float = 20.0) -> ReloadCommitted:
    return ReloadCommitted(
        reload_id=number, duration_ms=duration_ms, changed=(ONE,), affected=(ONE, TWO)
    )


def rows(*records: ReloadRecord) -> dict[str, list[dict[str, object]]]:
    return rows_of_reloads(*(Reload((each,)) for each in records))


def rows_of_reloads(*reloads: Reload) -> dict[str, list[dict[str, object]]]:
    trace = Trace()
    events = [event for reload in reloads for event in trace.events(reload)]
    assert json.loads(json.dumps(events)) == events
    return rows_of(events)


def test_a_reload_has_a_row_and_so_has_each_plugin() -> None:
    spans = (
        Span("debounce", 0, 4),
        Span("prepare", 4, 6),
        Span("teardown", 7, 8, TWO),
        Span("setup", 9, 15, ONE),
    )
    found = rows(ReloadRecord(committed(), NOW, ("/p/one.py",), spans=spans))
    assert {name: [each["name"] for each in row] for name, row in found.items()} == {
        "reloads 1": ["reload 1", "debounce", "prepare"],
        "demo/two": ["teardown"],
        "demo/one": ["setup"],
    }
    (whole, *_), (setup,) = found["reloads 1"], found["demo/one"]
    assert (whole["ts"], whole["dur"]) == (NOW * 1e6, 20_000)
    assert (setup["ts"], setup["dur"]) == (NOW * 1e6 + 9_000, 6_000)
    assert whole["args"] == {"outcome": "committed", "paths": ["/p/one.py"], "plugins": 2}


def test_a_step_says_why_and_what_held_it_up() -> None:
    spans = (
        Span("drain", 1, 2, ONE, held_by=Call("ask", TWO, "/p/two.py", 7)),
        Span("import", 3, 4, ONE, "one.py changed: token='abc-123'"),
        Span("setup", 4, 5, ONE, "because", error=ValueError("no")),
    )
    drain, *others = rows(ReloadRecord(committed(), NOW, spans=spans))["demo/one"]
    assert drain["args"] == {
        "reload": 1,
        "held_by": {"method": "ask", "caller": "demo/two", "at": "/p/two.py:7"},
    }
    assert [each["args"] for each in others] == [
        {"reload": 1, "reason": "one.py changed: token='***'"},
        {"reload": 1, "reason": "because", "error": "ValueError: no"},
    ]


def test_what_went_wrong_is_at_the_reload() -> None:
    fact = ReloadRolledBack(
        reload_id=1,
        duration_ms=9.0,
        roll_back_ms=3.0,
        affected=(ONE,),
        errors={ONE: RuntimeError("no key")},
    )
    skipped = ReloadSkipped(reload_id=2, duration_ms=1.0, paths=(), reason="no content changed")
    found = rows(ReloadRecord(fact, NOW), ReloadRecord(skipped, NOW + 1))
    one, two = (each["args"] for each in found["reloads 1"])
    assert one["errors"] == {"demo/one": "RuntimeError: no key"}  # type: ignore[index]
    assert two["reason"] == "no content changed"  # type: ignore[index]


def test_reloads_at_the_same_time_are_in_different_rows() -> None:
    short = ReloadRecord(committed(2, duration_ms=5.0), NOW + 0.001)
    long = ReloadRecord(committed(1, duration_ms=50.0), NOW)
    later = ReloadRecord(committed(3, duration_ms=5.0), NOW + 1)
    found = rows(short, long, later)
    assert {name: [each["name"] for each in row] for name, row in found.items()} == {
        "reloads 1": ["reload 2", "reload 3"],
        "reloads 2": ["reload 1"],
    }


def test_parts_of_a_reload_are_one_event_with_each_step_once() -> None:
    """Parts that are rolled back together end one by one, and so do their roll-backs."""
    prepare = Span("prepare", 0, 5)
    parts = [
        ReloadRecord(committed(duration_ms=8.0), NOW, spans=(prepare, Span("setup", 6, 8, TWO)))
    ]
    for begin, end in ((10.0, 20.0), (9.999, 30.0), (35.0, 40.0)):
        fact = ReloadRolledBack(
            reload_id=1,
            duration_ms=end,
            roll_back_ms=end - begin,
            affected=(ONE,),
            errors={ONE: RuntimeError("no key")},
        )
        parts.append(ReloadRecord(fact, NOW, spans=(prepare, Span("roll_back", begin, end))))
    found = rows_of_reloads(Reload((*parts,)))
    assert found.keys() == {"reloads 1", "demo/two"}
    whole, *steps = found["reloads 1"]
    assert whole["dur"] == 40_000
    assert whole["args"] == {
        "outcome": "rolled_back",
        "paths": [],
        "plugins": 2,
        "errors": {"demo/one": "RuntimeError: no key"},
    }
    times = [(each["name"], int(str(each["ts"])) - NOW * 1e6, each["dur"]) for each in steps]
    assert times == [
        ("prepare", 0, 5_000),
        ("roll_back", 9_999, 20_001),
        ("roll_back", 35_000, 5_000),
    ]


def test_each_part_that_comes_by_itself_has_a_row_of_its_own() -> None:
    parts = [ReloadRecord(committed(1, duration_ms=each), NOW) for each in (5.0, 6.0, 7.0)]
    later = ReloadRecord(committed(2), NOW + 1)
    found = rows(*parts, later)
    assert [len(row) for row in found.values()] == [2, 1, 1]


@st.composite
def records(draw: st.DrawFn) -> list[ReloadRecord]:
    """Reloads that overlap or do not, in the order in which they end; steps follow at once."""
    made = []
    for number in range(draw(st.integers(1, 5))):
        times = sorted(draw(st.lists(st.floats(0, 1000), min_size=2, max_size=9)))
        steps = [*pairwise(times)]
        fact: ReloadEnd = committed(number, duration_ms=times[-1])
        began = NOW + draw(st.floats(0, 2))
        of_all = [Span("read", begin, end) for begin, end in steps]
        of_one = [Span("setup", begin, end, PluginRef("demo", str(number))) for begin, end in steps]
        made.append(ReloadRecord(fact, began, spans=(*of_all, *of_one)))
    return sorted(made, key=lambda each: each.began + each.fact.duration_ms / 1000)


@given(records())
def test_whatever_happens_no_events_of_a_row_overlap(records: list[ReloadRecord]) -> None:
    found = rows(*records)
    named = [each["name"] for row in found.values() for each in row]
    assert sum(str(each).startswith("reload ") for each in named) == len(records)
