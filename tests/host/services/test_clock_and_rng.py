"""The standard resources `clock` and `rng`."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dagstack_dev import Clock, DeterministicRng, FrozenClock, RandomRng, Rng, SystemClock

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_the_system_clock_is_the_systems() -> None:
    clock = SystemClock()
    assert isinstance(clock, Clock)
    assert datetime.now(tz=UTC) - clock.now() < timedelta(minutes=1)
    assert clock.now().tzinfo is UTC
    before = time.monotonic_ns()
    assert before <= clock.monotonic_ns() <= time.monotonic_ns()


def test_a_frozen_clock_goes_on_when_it_is_advanced() -> None:
    clock = FrozenClock(at=NOON)
    assert isinstance(clock, Clock)
    assert (clock.now(), clock.now(), clock.monotonic_ns()) == (NOON, NOON, 0)
    clock.advance(seconds=1.5)
    assert clock.now() == NOON + timedelta(seconds=1.5)
    assert clock.monotonic_ns() == 1_500_000_000


def test_a_frozen_clock_that_is_set_back_measures_on() -> None:
    clock = FrozenClock(at=NOON)
    clock.advance(seconds=2)
    clock.advance(seconds=-5)
    assert clock.now() == NOON - timedelta(seconds=3)
    assert clock.monotonic_ns() == 2_000_000_000


def test_a_frozen_clock_wants_a_time_zone() -> None:
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        FrozenClock(at=datetime(2026, 5, 4))  # noqa: DTZ001 - that it has none is the point


def test_a_frozen_clock_goes_to_another_process_as_it_stands() -> None:
    clock = FrozenClock(at=NOON)
    clock.advance(seconds=3)
    copy = pickle.loads(pickle.dumps(clock))
    copy.advance(seconds=1)
    assert (copy.now(), copy.monotonic_ns()) == (NOON + timedelta(seconds=4), 4_000_000_000)
    assert clock.now() == NOON + timedelta(seconds=3)


@pytest.mark.parametrize("make", [RandomRng, lambda: DeterministicRng(seed=1)])
def test_randomness_by_any_of_its_names(make: Callable[[], Rng]) -> None:
    rng = make()
    assert isinstance(rng, Rng)
    assert 0 <= rng.random() < 1
    assert 0 <= rng.next_float() < 1
    assert {rng.randint(3, 4) for _ in range(99)} == {3, 4}
    assert {rng.next_int(3, 4) for _ in range(99)} == {3, 4}
    assert rng.choice(["only"]) == "only"
    identity = rng.uuid4()
    assert isinstance(identity, UUID)
    assert identity.version == 4
    with pytest.raises(IndexError):
        rng.choice([])
    assert 0 <= pickle.loads(pickle.dumps(rng)).random() < 1


def test_the_same_seed_means_the_same_numbers() -> None:
    def draw(seed: int) -> list[object]:
        rng = DeterministicRng(seed=seed)
        return [rng.random(), rng.randint(0, 10**9), rng.uuid4(), rng.choice(range(10**9))]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_a_seeded_source_goes_on_in_another_process() -> None:
    rng = DeterministicRng(seed=7)
    rng.random()
    copy = pickle.loads(pickle.dumps(rng))
    assert copy.random() == rng.random()


def test_the_systems_randomness_does_not_repeat() -> None:
    assert RandomRng().uuid4() != RandomRng().uuid4()
