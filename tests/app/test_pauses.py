"""How long the pauses between tries are, with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dagstack_dev import PluginRef, PluginRegistry, PluginRetrying, Settings
from dagstack_dev.app.reload import retry
from dagstack_dev.app.reload.inbox import Inbox
from dagstack_dev.app.reload.retry import Retries
from dagstack_dev.app.reload.state import ReloadState
from dagstack_dev.core.events import Fact
from dagstack_dev.core.lifecycle import Stage
from dagstack_dev.core.plan import Failure

REF = PluginRef("demo", "it")
MANIFEST = {"name": "it", "kind": "demo", "core_version": ">=0.1", "runtime": "in_process"}


class Story:
    """One plugin that fails and recovers, and what is reported of it; `due` are tries asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        registry = PluginRegistry(observer=self._see)
        registry.register_manifest({**MANIFEST, "entry_point": "plugin:Plugin"}, object())
        self._table = registry.table
        self.now = 100.0
        self.reported: list[PluginRetrying] = []
        self.timers: list[Callable[[], None]] = []
        self.state = ReloadState(registry, lambda _: True)
        monkeypatch.setattr(retry, "monotonic", lambda: self.now)
        self.inbox = Inbox()
        self.retries = Retries(
            registry.table,
            self.state,
            self.inbox,
            Settings(retry_seconds=1.0, retry_limit_seconds=8.0),
            lambda _, func: self.timers.append(func),
        )

    def _see(self, fact: Fact, /) -> None:
        if isinstance(fact, PluginRetrying):
            self.reported.append(fact)

    def fail(self, error: BaseException | None = None, *, after: float | None = None) -> None:
        """It fails in its setup, or `after` seconds in which it has run."""
        self.now += after or 0.0
        error = ConnectionError("refused") if error is None else error
        entry = self._table.entries[REF]
        self._table.loaded(entry, entry.instance, "tried")
        self._table.failed(entry, error, Stage.SETUP, "tried", refusal="it failed")
        failure = Failure(b"key", error, is_of_running=after is not None)
        self.state.failures.setdefault(REF, []).append(failure)
        self.retries.arrange([REF])

    @property
    def due(self) -> list[PluginRef]:
        return [each.ref for each in self.inbox.waiting.happened]

    @property
    def pauses(self) -> list[float]:
        return [each.seconds for each in self.reported]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(monkeypatch)


def test_each_pause_is_twice_the_last_up_to_the_longest(story: Story) -> None:
    for _ in range(6):
        story.fail()
    assert story.pauses == [1, 2, 4, 8, 8, 8]
    assert [each.attempt for each in story.reported] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("asked_for", "pause"),
    [(50.0, 50), (0.1, 1), (-3.0, 1), (1e9, 600), (float("nan"), 1), ("soon", 1), (None, 1)],
)
def test_who_asks_to_be_tried_later_is_tried_later(
    story: Story, asked_for: object, pause: float
) -> None:
    class Later(ConnectionError):
        retry_after = asked_for

    story.fail(Later())
    assert story.pauses == [pause]


def test_after_ever_so_many_tries_it_is_still_the_longest(story: Story) -> None:
    for _ in range(2000):
        story.fail()
    assert story.pauses[-1] == 8


@pytest.mark.parametrize(("seconds", "pause"), [(9.9, 4), (10, 1)])
def test_it_begins_anew_when_it_has_run_for_as_long_as_the_longest_pause(
    story: Story, seconds: float, pause: float
) -> None:
    story.fail()
    story.fail()  # Tried again after two seconds.
    story.fail(after=seconds)
    assert story.pauses[-1] == pause


def test_a_failure_that_takes_an_edit_ends_the_matter(story: Story) -> None:
    story.fail()
    story.fail(KeyError("token"))
    for timer in story.timers:
        timer()
    assert story.due == []
    story.fail()
    assert story.pauses == [1, 1]


def test_only_the_last_pause_counts(story: Story) -> None:
    story.fail()
    story.fail()
    first, second = story.timers
    first()
    assert story.due == []
    second()
    assert story.due == [REF]


def test_what_is_tried_for_its_news_waits_for_nothing(story: Story) -> None:
    story.fail()
    assert story.state.forget_failures([REF], all_of_them=False)
    (timer,) = story.timers
    timer()
    assert story.due == []
    story.fail()
    assert story.pauses == [1, 1]
