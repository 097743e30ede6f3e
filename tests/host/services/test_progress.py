"""What plugins report, and to whom."""

from __future__ import annotations

import logging
from dataclasses import FrozenInstanceError
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from dagstack_dev import (
    LogProgressSink,
    MockProgressSink,
    NoOpProgressSink,
    Progress,
    ProgressSink,
)
from dagstack_dev.host.services.progress import PluginProgress

Events = list[structlog.typing.EventDict]


class Stopwatch:
    """Tells the time that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_progress_is_a_value() -> None:
    assert Progress(1) == Progress(1, None, "")
    with pytest.raises(FrozenInstanceError):
        Progress(1).current = 2  # type: ignore[misc]


def test_the_mock_keeps_everything() -> None:
    sink, error = MockProgressSink(), ValueError("no")
    sink.report(Progress(1, 2))
    sink.error(error)
    assert (sink.reports, sink.errors, sink.done_called) == ([Progress(1, 2)], [error], False)
    sink.done()
    assert sink.done_called


@pytest.mark.parametrize("sink", [NoOpProgressSink(), MockProgressSink(), LogProgressSink()])
def test_every_sink_takes_everything(sink: ProgressSink) -> None:
    assert isinstance(sink, ProgressSink)
    sink.report(Progress(1))
    sink.done()
    sink.error(ValueError("no"))


def test_reports_are_logged_now_and_then_and_the_last_always(captured_events: Events) -> None:
    stopwatch = Stopwatch()
    sink = LogProgressSink(structlog.get_logger(), seconds=1, clock=stopwatch)
    for current in range(10):
        stopwatch.seconds = current / 4
        sink.report(Progress(current, 9, "pages"))
    assert [each["current"] for each in captured_events] == [0, 4, 8, 9]
    assert captured_events[-1] == {
        "event": "progress",
        "log_level": "info",
        "current": 9,
        "total": 9,
        "message": "pages",
    }


def test_the_end_is_logged_however_it_comes(captured_events: Events) -> None:
    sink, error = LogProgressSink(structlog.get_logger()), ValueError("no")
    sink.report(Progress(1))
    sink.done()
    sink.error(error)
    assert captured_events == [
        {"event": "progress", "log_level": "info", "current": 1},
        {"event": "progress.done", "log_level": "info"},
        {"event": "progress.error", "log_level": "error", "exc_info": error},
    ]


def test_a_standard_logger_gets_it_as_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sink = LogProgressSink(logging.getLogger("app"))
    sink.report(Progress(1, 100, "50 % of half"))
    assert caplog.messages == ["progress current=1 total=100 message='50 % of half'"]


def test_each_plugin_counts_its_own_time(captured_events: Events) -> None:
    base = LogProgressSink(clock=Stopwatch())
    for name in ("one", "two"):
        mine = PluginProgress(base, structlog.get_logger(plugin=name))
        mine.report(Progress(1))
        mine.report(Progress(2))
    assert [(each["plugin"], each["current"]) for each in captured_events] == [
        ("one", 1),
        ("two", 1),
    ]


def test_a_plugin_never_sees_a_failure_of_the_sink(captured_events: Events) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("gone")

    sink = SimpleNamespace(report=fail, done=fail, error=fail)
    mine = PluginProgress(sink, structlog.get_logger())
    mine.report(Progress(1))
    mine.report(Progress(2))
    mine.done()
    mine.error(ValueError("no"))
    [told] = captured_events
    assert (told["event"], told["log_level"]) == ("the progress sink has failed", "warning")
    assert isinstance(told["exc_info"], ConnectionError)


def test_a_report_that_is_none_is_logged_once_with_its_line(
    captured_events: Events,
) -> None:
    mine = PluginProgress(LogProgressSink(), structlog.get_logger())
    anything: Any = 3
    for _ in range(2):
        mine.report(anything)
    line = test_a_report_that_is_none_is_logged_once_with_its_line.__code__.co_firstlineno
    assert captured_events == [
        {
            "event": "progress.report takes a Progress, not int; "
            "write progress.report(Progress(3))",
            "log_level": "warning",
            "path": __file__,
            "line": line + 6,
        }
    ]


def test_a_logger_of_another_kind_is_left_alone() -> None:
    PluginProgress(LogProgressSink(), object()).done()
