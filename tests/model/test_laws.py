"""The laws of a reload hold on a model of it, and faults in what decides are found by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pytest

from dagstack_dev.core import choice, planning
from dagstack_dev.core.plan import Given, Load
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.target import Target
from model import reload
from model.sequence import STEPS, sequence

BLOCKS, SEQUENCES = 40, 20
"""All in all 20,000 steps, in blocks that can be run side by side."""


def test_there_are_enough_steps() -> None:
    assert BLOCKS * SEQUENCES * STEPS == 20_000


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_laws_hold(block: int) -> None:
    seeds = range(block * SEQUENCES, (block + 1) * SEQUENCES)
    problems = [problem for seed in seeds for problem in sequence(seed)]
    assert not problems, "\n".join(problems)


Fault = Callable[[pytest.MonkeyPatch], None]


def failures_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reload.Model, "_record", lambda *_, **__: None)


def removals_are_held_back(patch: pytest.MonkeyPatch) -> None:
    plan = planning.plan_reload
    patch.setattr(
        reload, "plan_reload", lambda world, news, gone, **more: plan(world, news, **more)
    )


def nothing_is_tied_together(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planning._Steps, "_ties", lambda _: iter(()))


def the_oldest_yields_wrongly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(choice, "_news_upstream", lambda *_: set())


def what_stays_is_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    def choose(given: Given) -> Target:
        return Target(given, choice.yielding(Target(given, {})))

    patch.setattr(planning, "choose", choose)


def nothing_is_taken_after_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(choice, "take_after_all", lambda target, _: target)


def code_is_not_imported_anew(patch: pytest.MonkeyPatch) -> None:
    def loads(steps: planning._Steps, order: Iterable[PluginRef]) -> Mapping[PluginRef, Load]:
        live = steps.world.is_live
        return {ref: Load.RENEW if live(ref) else Load.IMPORT for ref in order}

    patch.setattr(planning._Steps, "_loads", loads)


def only_news_are_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reload.Model, "is_stable", lambda *_: True)


@pytest.mark.parametrize(
    "fault",
    [
        failures_are_forgotten,
        removals_are_held_back,
        nothing_is_tied_together,
        the_oldest_yields_wrongly,
        what_stays_is_not_looked_at_again,
        nothing_is_taken_after_all,
        code_is_not_imported_anew,
        only_news_are_looked_at,
    ],
)
def test_a_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    assert any(sequence(seed) for seed in range(400)), "10,000 steps without a violation"
