"""The life of the watchdog's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev.core.events import PluginBlocking, PluginBlockingEnded
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.host.loop.watchdog import Watchdog


class CountingEvent(threading.Event):
    """Counts its waits, and knows when there was one that had to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once = 0
        self.waited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            self.at_once += 1
        else:
            self.waited.set()
        return super().wait(timeout)


@pytest.mark.filterwarnings("error")
def test_a_run_after_a_stop_that_came_too_late_does_not_spin() -> None:
    watchdog = Watchdog(lambda _: None, lambda _: None)
    watchdog.wake = wake = CountingEvent()
    with watchdog.watching():
        assert wake.waited.wait(GUARD_SECONDS)
    wake.set()  # As `stop` leaves it when its thread is still busy and a new run begins.
    with watchdog.watching():
        wake.at_once = 0
        wake.waited.clear()
        assert wake.waited.wait(GUARD_SECONDS)
        assert not wake.is_set()
    assert wake.at_once <= 1
    watchdog.stop()


def test_a_thread_that_a_report_ended_is_replaced_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    died, reported = threading.Event(), threading.Event()
    deaths: list[Any] = []

    def note(unhandled: threading.ExceptHookArgs) -> None:
        deaths.append((unhandled.exc_type, unhandled.thread))
        died.set()

    monkeypatch.setattr(threading, "excepthook", note)
    reports: list[Callable[[], None]] = [reported.set, _raise]

    def report(_: object) -> None:
        reports.pop()()

    watchdog, ref = Watchdog(report, lambda _: None, blocking_seconds=0.02), PluginRef("demo", "it")
    with watchdog.watching(), watchdog.calling(ref, "setup", None, 60):
        assert died.wait(GUARD_SECONDS)
    [(died_of, thread)] = deaths
    assert died_of is LookupError
    thread.join()
    with watchdog.watching(), watchdog.calling(ref, "setup", None, 60):
        assert reported.wait(GUARD_SECONDS)
    watchdog.stop()


def _raise() -> None:
    raise LookupError


def test_the_end_of_a_call_is_reported_after_its_beginning_however_long_that_takes() -> None:
    may_end, has_ended, facts = threading.Event(), threading.Event(), list[type]()

    def report(fact: object) -> None:
        if isinstance(fact, PluginBlockingEnded):
            has_ended.set()
        else:
            may_end.set()
            has_ended.wait(0.1)  # It never comes: the loop's thread waits for this report.
        facts.append(type(fact))

    watchdog, ref = Watchdog(report, lambda _: None, blocking_seconds=0.02), PluginRef("demo", "it")
    with watchdog.watching(), watchdog.calling(ref, "setup", None, 60):
        assert may_end.wait(GUARD_SECONDS)
    watchdog.stop()
    assert facts == [PluginBlocking, PluginBlockingEnded]


def test_a_run_goes_on_unwatched_where_no_thread_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watchdog = Watchdog(lambda _: None, lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with watchdog.watching():
            pass
    with watchdog.watching():  # The next run tries again.
        assert watchdog._thread is not None
    watchdog.stop()
