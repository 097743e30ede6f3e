"""One table says which state may follow which; anything else is refused."""

from __future__ import annotations

from itertools import product

import pytest

from dagstack_dev.core.errors.life import InvalidTransition
from dagstack_dev.core.lifecycle import TRANSITIONS, State, check_transition
from dagstack_dev.core.refs import PluginRef

REF = PluginRef("tool", "greeter")

ALLOWED = {
    "discovered": "loaded failed blocked removed",
    "loaded": "loaded setting_up blocked failed removed",
    "setting_up": "ready failed stopped",
    "ready": "tearing_down",
    "tearing_down": "stopped failed",
    "stopped": "loaded failed blocked removed",
    "failed": "loaded failed blocked removed",
    "blocked": "loaded failed blocked removed",
    "removed": "discovered",
}
PAIRS = [
    (source, target, target in ALLOWED[source].split()) for source, target in product(State, State)
]


@pytest.mark.parametrize(("source", "target"), [pair[:2] for pair in PAIRS if pair[2]])
def test_the_listed_steps_are_allowed(source: State, target: State) -> None:
    check_transition(REF, source, target)


@pytest.mark.parametrize(("source", "target"), [pair[:2] for pair in PAIRS if not pair[2]])
def test_any_other_step_is_refused(source: State, target: State) -> None:
    with pytest.raises(InvalidTransition) as caught:
        check_transition(REF, source, target)
    assert str(caught.value) == f"tool/greeter cannot go from {source} to {target}"


def test_every_state_is_reachable_and_has_a_way_on() -> None:
    reached = {State.DISCOVERED}
    while more := {each for state in reached for each in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(State) == set(TRANSITIONS)
    assert all(TRANSITIONS.values())


def test_a_running_plugin_is_always_torn_down_before_anything_else() -> None:
    assert TRANSITIONS[State.READY] == {State.TEARING_DOWN}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[State.READY] = frozenset()  # type: ignore[index]
