"""How long the pauses between tries are, with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dagstack_dev import PluginRef, PluginRegistry, PluginRetrying
from dagstack_dev.app.reload.retry import Revival
from dagstack_dev.core.events import Fact, Transition
from dagstack_dev.core.lifecycle import Stage

REF = PluginRef("demo", "it")
MANIFEST = {"name": "it", "kind": "demo", "core_version": ">=0.1", "runtime": "in_process"}


class Story:
    """One plugin that fails and recovers, and what is told of it; `due` are tries asked for."""

    def __init__(self, *, first: float = 1.0, longest: float = 8.0) -> None:
        registry = PluginRegistry(observer=self._see)
        registry.register_manifest({**MANIFEST, "entry_point": "plugin:Plugin"}, object())
        self._table = registry.table
        self._entry = registry.table.entries[REF]
        self.now = 100.0
        self.told: list[PluginRetrying] = []
        self.due: list[PluginRef] = []
        self.timers: list[Callable[[], None]] = []
        self.revival = Revival(
            registry.table,
            first=first,
            longest=longest,
            later=lambda _, func: self.timers.append(func),
            on_due=self.due.append,
            clock=lambda: self.now,
        )

    def _see(self, fact: Fact, /) -> None:
        if isinstance(fact, PluginRetrying):
            self.told.append(fact)
        if isinstance(fact, Transition) and hasattr(self, "revival"):
            self.revival.note(fact)

    def fail(self, error: BaseException | None = None) -> None:
        """It fails in its setup."""
        self._load()
        error = ConnectionError("refused") if error is None else error
        self._table.failed(self._entry, error, Stage.SETUP, "tried", refusal="it failed")
        self.revival.arrange()

    def live(self, seconds: float) -> None:
        """It is ready for so long, and then torn down."""
        self._load()
        self._table.ready(self._entry, "tried", 0.0)
        self.now += seconds
        self._table.tearing_down(self._entry, "ended")
        self._table.stopped(self._entry, "ended", 0.0)

    def _load(self) -> None:
        table, entry = self._table, self._entry
        table.loaded(entry, entry.instance, "tried")
        running: Any = SimpleNamespace(is_dying=False)
        table.setting_up(entry, running, "tried")

    @property
    def pauses(self) -> list[float]:
        return [each.seconds for each in self.told]


def test_each_pause_is_twice_the_last_up_to_the_longest() -> None:
    story = Story()
    for _ in range(6):
        story.fail()
    assert story.pauses == [1, 2, 4, 8, 8, 8]
    assert [each.attempt for each in story.told] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("asked_for", "pause"),
    [(50.0, 50), (0.1, 1), (-3.0, 1), (1e9, 600), (float("nan"), 1), ("soon", 1), (None, 1)],
)
def test_who_asks_to_be_tried_later_is_tried_later(asked_for: object, pause: float) -> None:
    class Later(ConnectionError):
        retry_after = asked_for

    story = Story()
    story.fail(Later())
    assert story.pauses == [pause]


def test_after_ever_so_many_tries_it_is_still_the_longest() -> None:
    story = Story()
    for _ in range(2000):
        story.fail()
    assert story.pauses[-1] == 8


@pytest.mark.parametrize(("seconds", "pause"), [(7.9, 4), (8, 1)])
def test_it_begins_anew_after_a_life_as_long_as_the_longest_pause(
    seconds: float, pause: float
) -> None:
    story = Story()
    story.fail()
    story.fail()
    story.live(seconds)
    story.fail()
    assert story.pauses[-1] == pause


def test_a_failure_that_takes_an_edit_ends_the_matter() -> None:
    story = Story()
    story.fail()
    story.fail(KeyError("token"))
    for timer in story.timers:
        timer()
    assert story.due == []
    story.fail()
    assert story.pauses == [1, 1]


def test_only_the_last_pause_counts() -> None:
    story = Story()
    story.fail()
    story.fail()
    first, second = story.timers
    first()
    assert story.due == []
    assert story.revival.is_waiting(REF)
    second()
    assert story.due == [REF]
    assert not story.revival.is_waiting(REF)


def test_who_begins_anew_waits_for_nothing() -> None:
    story = Story()
    story.fail()
    story.revival.begin_anew([None, REF])
    (timer,) = story.timers
    timer()
    assert story.due == []
