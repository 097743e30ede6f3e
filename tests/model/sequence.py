"""Sequences of steps: what is done, and which laws it breaks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from model.builds import Oracle
from model.disk import Author
from model.laws import Rest, broken_laws
from model.reload import Model

STEPS = 25
"""Steps in a sequence."""


class Sequence:
    """Steps at random; the same ones for the same seed.

    Args:
        seed: every other one is rough: what works fails at times when it is rolled back, plugins
            crash and get ill, and edits come in the midst of a reload.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.is_rough = seed % 2 == 1
        self.model = Model(Oracle(seed), lambda: self.is_rough and self._chance(0.15))
        modules = self.dice.choice((0, 0, 1, 2, 3))
        self.author = Author(self.dice, self.dice.randint(2, 6), modules, 0.05)
        self.batches = 0

    def step(self) -> list[str]:
        """Have something happen, and reload; the laws that do not hold then, in words."""
        model = self.model
        model.ran = dict(model.machine.running)
        model.fell.clear()
        happenings: Mapping[Callable[[], None], int] = {
            self.edit: 80,
            self.request: 5,
            self.retry: 10,
            self.crash: 5 * self.is_rough,
            self.sicken: 5 * self.is_rough,
        }
        for each in self.dice.choices(list(happenings), list(happenings.values()), k=self._few()):
            each()
        if not self._is_stable_by_facts():
            return ["the plan depends on the order in which things are found"]
        try:
            model.reload(self.meanwhile)
        except AssertionError as error:
            return [str(error)]
        homes = {ref: each.inputs.folder for ref, each in model.machine.entries.items()}
        live = dict(model.machine.running)
        rest = Rest(
            model.disk,
            model.oracle,
            live,
            model.ran,
            model.fell,
            homes,
            model.fallen,
            model.known,
        )
        wrong = list(broken_laws(rest))
        # What a plugin at rest lends to others is not known without a look at it.
        is_lending = any(text.borrows for text in model.disk.folders.values())
        if not is_lending and model.todo(model.plan(model.everywhere)[0]):
            wrong.append("a look everywhere finds more to do than one where something happened")
        return wrong

    def _is_stable_by_facts(self) -> bool:
        """Law 1: whether the same snapshot, running and failures give the same plan."""
        places = {*self.model.unstable}
        plan, again = (self.model.plan(places, dice)[0] for dice in (None, self.dice))
        return repr(plan.transactions) == repr(again.transactions) and (
            (plan.rejected.keys(), plan.held.keys()) == (again.rejected.keys(), again.held.keys())
        )

    def edit(self) -> None:
        """Edit one file or several, in one batch."""
        self.batches += 1
        things = dict(self.model.disk.things)
        for _ in range(self._few()):
            self.author.edit(things)
        self.model.edit(things, self.batches)

    def request(self) -> None:
        """Ask for a reload of a plugin."""
        if self.model.machine.entries:
            self.model.request(self.dice.choice(sorted(self.model.machine.entries)))

    def retry(self) -> None:
        """Let the pauses before retries be over."""
        self.model.retry()

    def crash(self) -> None:
        """Have a plugin end by itself."""
        if self.model.machine.running:
            self.model.crash(self.dice.choice(sorted(self.model.machine.running)))

    def sicken(self) -> None:
        """Have a plugin fail its health check."""
        if self.model.machine.running:
            self.model.sicken(self.dice.choice(sorted(self.model.machine.running)))

    def meanwhile(self) -> None:
        """Have something happen in the midst of a reload."""
        if self.is_rough and self._chance(0.1):
            self.model.ran = dict(self.model.machine.running)
            self.dice.choice((self.edit, self.edit, self.request, self.crash))()

    def _few(self) -> int:
        return self.dice.choice((1, 1, 1, 2, 3))

    def _chance(self, chance: float) -> bool:
        return self.dice.random() < chance


def sequence(seed: int, steps: int = STEPS) -> list[str]:
    """Do so many steps; the first laws that do not hold, in words."""
    run = Sequence(seed)
    for number in range(1, steps + 1):
        wrong = run.step()
        if wrong:
            return [f"seed {seed}, step {number}: {each}" for each in wrong]
    return []
