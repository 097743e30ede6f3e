"""Sequences of steps: what is done when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from soaking.actions import Action
from soaking.drawing import Draw
from soaking.kinds import draw_action, mend_all


class Moment(StrEnum):
    """A moment in a reload; the first that comes counts."""

    STARTED = "reload started"
    LOADED = "loaded"
    SETTING_UP = "setting_up"
    READY = "ready"
    TEARING_DOWN = "tearing_down"


@dataclass(frozen=True)
class During:
    """Do something at a moment of the next reload."""

    moment: Moment
    action: Action


@dataclass(frozen=True)
class Pause:
    """Let the server see what is there so far."""

    seconds: float


@dataclass(frozen=True)
class Quiet:
    """Wait until everything has been dealt with, then compare with a restart."""


Step = Action | During | Pause | Quiet

_PAUSES = (0.0, 0.001, 0.004, 0.007, 0.012)


def generate(seed: int, actions: int) -> list[Step]:
    """The sequence of `seed`, with so many actions; the same one always.

    It ends with everything put right.
    """
    dice = random.Random(seed)
    draw = Draw(dice)
    steps: list[Step] = [draw_action(draw) for _ in range(dice.randrange(2, 7))]
    while sum(isinstance(step, Action | During) for step in steps) < actions:
        for _ in range(dice.choice([1, 1, 2, 2, 3, 8])):
            action = draw_action(draw)
            during = dice.random() < 0.15
            steps.append(During(dice.choice(list(Moment)), action) if during else action)
            if dice.random() < 0.3:
                steps.append(Pause(dice.choice(_PAUSES)))
        steps.append(Quiet())
    last = mend_all(draw)
    return [*steps, last, Quiet()] if last is not None else steps
