"""Setting up many plugins at once, each as soon as what it depends on is ready."""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.lifecycle import Stage
from dagstack_dev.core.recorded import recorded
from dagstack_dev.core.tracebacks import trim
from dagstack_dev.host.loop.limits import ms_since
from dagstack_dev.host.loop.tasks import is_interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from anyio import TaskHandle
    from anyio.abc import TaskGroup

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.reload.runner import LifecycleRunner

TURN_SECONDS: Final = 0.02
"""How long synchronous setups may follow one another before the event loop gets a turn."""


class Setups:
    """Sets up plugins, each with its transitions.

    A plugin begins when all that it depends on among these plugins is ready; whatever may begin
    does, in the order given. What depends on a failure never begins. Plugins that wait for
    something run at the same time, each in a job of its own.

    Args:
        runner: takes the steps.
        reasons: the plugins, in topological order, each with why it is set up.
        give_up: returns what a failure takes with it; called before the plugin counts as failed.
        comes_back: returns whether an earlier generation of a plugin that failed is to run again,
            asked after `give_up`. Then calls go on waiting.
        ended: called with each plugin whose setup has ended, well or not.

    Attributes:
        failed: what setups raised; valid after a cancellation, too.
    """

    def __init__(
        self,
        runner: LifecycleRunner,
        reasons: Mapping[PluginRef, str],
        *,
        give_up: Callable[[PluginRef, BaseException], Collection[PluginRef]] = lambda *_: (),
        comes_back: Callable[[PluginRef], bool] = lambda _: False,
        ended: Callable[[PluginRef], object] = lambda _: None,
    ) -> None:
        self._runner = runner
        self._table = runner.table
        self._reasons = reasons
        self._order = list(reasons)
        self._give_up = give_up
        self._comes_back = comes_back
        self._ended = ended
        self.failed: dict[PluginRef, BaseException] = {}
        self._given_up: set[PluginRef] = set()
        self._began: dict[PluginRef, float] = {}
        self._position = {ref: index for index, ref in enumerate(reasons)}
        self._waiting: dict[PluginRef, int] = {}  # How many dependencies are not ready yet.
        self._unlocks: defaultdict[PluginRef, list[PluginRef]] = defaultdict(list)
        self._startable: list[int] = []  # Positions, so that a heap yields them in order.
        self._jobs: dict[PluginRef, TaskHandle[None]] = {}
        self._job_ended = anyio.Event()

    async def run(self) -> None:
        """Return when no setup is under way and none can begin any more.

        A cancellation cancels the setups under way and is passed on.
        """
        for ref, index in self._position.items():
            self._table.hold(self._table.entries[ref])
            dependencies = self._table.graph.dependencies(ref)
            inside = [other for other in dependencies if other in self._position]
            self._waiting[ref] = len(inside)
            for other in inside:
                self._unlocks[other].append(ref)
            if not inside:
                self._startable.append(index)
        try:
            async with anyio.create_task_group() as group:
                while self._startable or self._jobs:
                    await self._begin_all(group)
                    if self._jobs and not self._startable:
                        await self._job_ended.wait()
                        self._job_ended = anyio.Event()
        except BaseExceptionGroup as raised:  # A task group can raise nothing else.
            interrupts = raised.subgroup(KeyboardInterrupt)
            if interrupts is None:
                raise
            raise root_error(interrupts) from None

    async def _begin_all(self, group: TaskGroup) -> None:
        """Begin whatever may; let the event loop have a turn now and then."""
        turn_ends = monotonic() + TURN_SECONDS
        while self._startable:
            ref = self._order[heappop(self._startable)]
            if ref in self._given_up:
                continue
            self._began[ref] = perf_counter()
            try:
                setup = self._runner.begin_setup(self._table.entries[ref], self._reasons[ref])
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and is_interruption(error):
                    self._abandon(ref)
                    raise
                self._fail(ref, error)
                continue
            if setup is not None:
                self._jobs[ref] = group.start_soon(self._job, ref, setup)
                continue
            self._succeed(ref)
            if monotonic() > turn_ends:
                await anyio.lowlevel.checkpoint()
                turn_ends = monotonic() + TURN_SECONDS

    async def _job(self, ref: PluginRef, setup: Awaitable[None]) -> None:
        """Await one setup, in a task by which it can be given up."""
        error: BaseException | None = None
        try:
            await setup
        except BaseException as raised:
            if is_interruption(raised):
                self._abandon(ref)
                raise
            error = raised
        finally:
            del self._jobs[ref]
            self._job_ended.set()
        if error is None:
            self._succeed(ref)
        else:
            self._fail(ref, error)

    def _succeed(self, ref: PluginRef) -> None:
        """Note that the plugin is ready, and begin what has waited for it."""
        entry = self._table.entries[ref]
        self._runner.setup_succeeded(entry, self._reasons[ref], ms_since(self._began[ref]))
        self._ended(ref)
        for other in self._unlocks[ref]:
            self._waiting[other] -= 1
            if not self._waiting[other]:
                heappush(self._startable, self._position[other])

    def _fail(self, ref: PluginRef, error: BaseException) -> None:
        """Note that the setup raised, and give up what cannot follow."""
        trim(error)
        self.failed[ref] = error
        entry, record = self._table.entries[ref], recorded(error)
        self._report_undoing(ref)
        entry.note_failure()
        given_up = self._give_up(ref, record)
        self._table.failed(
            entry,
            record,
            Stage.SETUP,
            f"setup raised {type(error).__name__}",
            refusal=None if self._comes_back(ref) else f"its setup failed: {in_words(error)}",
            duration_ms=ms_since(self._began[ref]),
        )
        self._ended(ref)
        self._given_up.update(given_up)
        for other in given_up:
            if other in self._jobs:
                self._jobs[other].cancel()

    def _abandon(self, ref: PluginRef) -> None:
        """Note that the setup was cancelled half-way."""
        self._report_undoing(ref)
        entry = self._table.entries[ref]
        self._table.stopped(entry, "setup cancelled", ms_since(self._began[ref]))
        self._ended(ref)

    def _report_undoing(self, ref: PluginRef) -> None:
        entry = self._table.entries[ref]
        if entry.running is not None:
            self._runner.report_teardown(entry, entry.running.undo_errors)
