"""Carrying out a sequence of steps below a real dev server, and judging it at quiet points."""

from __future__ import annotations

import gc
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import anyio
import anyio.to_thread

from dagstack_dev import State
from dagstack_dev.app import own_writes
from dagstack_dev.core.events import Fact, ReloadStarted, Transition
from soaking.actions import Action
from soaking.cold import ColdStarts
from soaking.host import Host
from soaking.pictures import picture, replaced
from soaking.saves import Save
from soaking.soundness import unsound
from soaking.steps import During, Moment, Pause, Quiet, Step
from soaking.verdicts import Known, differs
from soaking.workspace import Disk, Tree

PATIENCE = 60.0
"""Seconds after which a server evidently hangs."""


@dataclass(frozen=True)
class Outcome:
    """What came of a sequence.

    Attributes:
        actions: how many were carried out.
        quiet_points: how many comparisons with a restart there were.
        problems: what was found at the first quiet point that did not pass.
    """

    actions: int
    quiet_points: int
    problems: tuple[str, ...] = ()


class Diverged(Exception):
    """What runs is not what it should be."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = tuple(problems)


class Session:
    """A server over `root` and a developer who works there.

    Args:
        root: an empty folder, or none yet.
        cold_starts: what to compare with.
    """

    def __init__(self, root: Path, cold_starts: ColdStarts) -> None:
        self.tree = Tree()
        self.actions = 0
        self.quiet_points = 0
        self._disk = Disk(root)
        self._host = Host(root)
        self._cold_starts = cold_starts
        self._armed: list[During] = []
        self._known = Known()
        self._mistakes: list[str] = []
        self._host.registry.observe(self._see)

    async def run(self, steps: Sequence[Step]) -> None:
        """Carry out `steps`. Raises `Diverged`."""
        # What is saved here during many setups in a row is meant; otherwise code would have to be
        # waited for for a minute, and data would not count any more.
        with patch.object(own_writes, "FREE_RELOADS", math.inf):
            async with self._host.server:
                for step in steps:
                    await self._take(step)
                self._look_for_remains()

    async def _take(self, step: Step) -> None:
        if isinstance(step, During):
            self._armed.append(step)
        elif isinstance(step, Pause):
            await anyio.sleep(step.seconds)
        elif isinstance(step, Quiet):
            await self._compare()
        else:
            self._do(step)

    def _do(self, action: Action) -> None:
        self.actions += 1
        before = {(folder, source.ref) for folder, source in self.tree.folders.items()}
        self._disk.finish()
        action.on_disk(self._disk)
        action.to_running(self._host)
        action.change(self.tree)
        self._disk.bring(self.tree, action.style)
        after = {(folder, source.ref) for folder, source in self.tree.folders.items()}
        self._known.removed |= action.fatal_for()
        gone = before if action.style is Save.GONE_FIRST else before - after
        self._known.removed |= {ref for _, ref in gone}
        self._known.versions |= self._versions()

    def _versions(self) -> set[str]:
        return {f"{source.version:06}" for source in self.tree.folders.values()}

    def _see(self, fact: Fact) -> None:
        if not self._armed:
            return
        if isinstance(fact, ReloadStarted):
            moment = Moment.STARTED
        elif isinstance(fact, Transition) and fact.to_state in {*Moment}:
            moment = Moment(str(fact.to_state))
        else:
            return
        due = [each for each in self._armed if each.moment is moment]
        self._armed = [each for each in self._armed if each.moment is not moment]
        for each in due:
            try:
                self._do(each.action)
            except Exception:  # noqa: BLE001 - an observer must not raise
                self._mistakes.append(traceback.format_exc())

    async def _idle(self) -> None:
        with anyio.move_on_after(PATIENCE):
            while not self._host.has_crashed():
                await anyio.sleep(0.001)
            self._host.crashing.clear()
            await self._host.server.wait_idle()
            return
        raise Diverged([f"the server was not idle for {PATIENCE} seconds"])

    async def _compare(self) -> None:
        """A quiet point."""
        if self._armed:
            await self._idle()
            late, self._armed = self._armed, []
            for each in late:
                self._do(each.action)
        self._disk.finish()
        self._cold_starts.ask(self._disk.root)
        await self._idle()
        if self._host.is_out_of_order:
            await self._end_outage()
        live = picture(self._host)
        if any(each["pending"] for each in live["plugins"].values()):
            await self._idle()  # The calls may have imported what somebody could not take over.
            live = picture(self._host)
        cold = await anyio.to_thread.run_sync(self._cold_starts.answer)
        self.quiet_points += 1
        self._known.removed |= self._host.fallen
        self._host.fallen.clear()
        problems = [
            *self._mistakes,
            *(f"after a restart: {each}" for each in unsound(cold)),
            *unsound(live),
            *differs(live, cold, self.tree, self._known),
        ]
        self._known = Known(ran=live, versions=self._versions())
        if problems:
            raise Diverged(problems)

    async def _end_outage(self) -> None:
        """What has failed for it is tried again; anything else when that is asked for."""
        self._host.is_out_of_order = False
        await self._idle()
        with anyio.move_on_after(PATIENCE):
            while self._host.suffering(State.FAILED):
                await anyio.sleep(0.005)
                await self._idle()
            if rest := self._host.suffering(State.READY):
                await self._host.server.reload(*rest)
                await self._idle()
            return
        raise Diverged([f"not tried again: {sorted(map(str, self._host.suffering(State.FAILED)))}"])

    def _look_for_remains(self) -> None:
        """What was torn down or replaced is gone from memory; for the end of a sequence."""
        entries = self._host.registry.table.entries.values()
        gc.collect()
        current = [entry.instance for entry in entries]
        stale = [
            f"{each.ref}, instance {each.serial}"
            for each in self._host.census
            if not any(each is instance for instance in current)
        ]
        stale += [f"{told.__module__}, replaced" for told in replaced(self._host.modules)]
        if stale:
            raise Diverged([f"still in memory: {', '.join(sorted(stale))}"])


async def run(steps: Sequence[Step], root: Path, cold_starts: ColdStarts) -> Outcome:
    """Carry out `steps` in the empty folder `root`; what goes wrong is part of the answer."""
    session = Session(root, cold_starts)
    problems: tuple[str, ...] = ()
    try:
        await session.run(steps)
    except Diverged as found:
        problems = found.problems
    except Exception:  # noqa: BLE001 - a server that dies is what this is to find
        problems = (f"the server died:\n{traceback.format_exc()}",)
    return Outcome(session.actions, session.quiet_points, problems)
