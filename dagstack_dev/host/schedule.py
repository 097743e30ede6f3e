"""Setting up many plugins at once, each as soon as what it depends on is ready."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.lowlevel

from dagstack_dev.core.blame import root_error
from dagstack_dev.core.recorded import trim
from dagstack_dev.host.tasks import is_interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from anyio import TaskHandle
    from anyio.abc import TaskGroup

    from dagstack_dev.core.refs import PluginRef

TURN_SECONDS: Final = 0.02
"""How long synchronous setups may follow one another before the event loop gets a turn."""


class Steps(Protocol):
    """What the schedule does with one plugin; see `host.conductor`."""

    def begin(self, ref: PluginRef) -> Awaitable[None] | None:
        """Start a setup; None when it has ended already. May raise what the plugin raised."""

    def succeeded(self, ref: PluginRef) -> None:
        """The setup ended well."""

    def failed(self, ref: PluginRef, error: BaseException) -> Collection[PluginRef]:
        """The setup raised `error`; the answer is what to give up because of that."""

    def abandoned(self, ref: PluginRef) -> None:
        """The setup was cancelled half-way."""


@dataclass(slots=True)
class Progress:
    """How far a schedule has come; valid after a cancellation too."""

    ready: list[PluginRef] = field(default_factory=list)
    failed: dict[PluginRef, BaseException] = field(default_factory=dict)
    given_up: set[PluginRef] = field(default_factory=set)


async def bring_up(
    order: Sequence[PluginRef],
    dependencies: Callable[[PluginRef], Iterable[PluginRef]],
    steps: Steps,
    progress: Progress,
) -> None:
    """Set up the plugins of `order`, a topological order, into `progress`.

    A plugin begins when all of its `dependencies` within `order` are ready; whatever may begin
    does, in the order given. What depends on a failure never begins. Plugins that wait for
    something run at the same time, each in a job of its own.

    A cancellation cancels the setups under way and is passed on; `progress` then tells what is
    ready and has to be torn down.
    """
    try:
        await _Schedule(order, dependencies, steps, progress).run()
    except BaseExceptionGroup as group:  # A task group can raise nothing else.
        interrupts = group.subgroup(KeyboardInterrupt)
        if interrupts is None:
            raise
        raise root_error(interrupts) from None


class _Schedule:
    """One call of `bring_up`.

    `startable` holds positions in the order, so that a heap yields them in that order; `waiting`
    counts the dependencies of each plugin that are not ready yet.
    """

    def __init__(
        self,
        order: Sequence[PluginRef],
        dependencies: Callable[[PluginRef], Iterable[PluginRef]],
        steps: Steps,
        progress: Progress,
    ) -> None:
        self._order = order
        self._steps = steps
        self._progress = progress
        self._position = {ref: index for index, ref in enumerate(order)}
        self._waiting: dict[PluginRef, int] = {}
        self._unlocks: defaultdict[PluginRef, list[PluginRef]] = defaultdict(list)
        self._startable: list[int] = []
        self._jobs: dict[PluginRef, TaskHandle[None]] = {}
        self._job_ended = anyio.Event()
        for ref, index in self._position.items():
            inside = [other for other in dependencies(ref) if other in self._position]
            self._waiting[ref] = len(inside)
            for other in inside:
                self._unlocks[other].append(ref)
            if not inside:
                self._startable.append(index)

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            while self._startable or self._jobs:
                await self._begin_all(group)
                if self._jobs and not self._startable:
                    await self._job_ended.wait()
                    self._job_ended = anyio.Event()

    async def _begin_all(self, group: TaskGroup) -> None:
        """Begin whatever may; let the event loop have a turn now and then."""
        turn_ends = monotonic() + TURN_SECONDS
        while self._startable:
            ref = self._order[heappop(self._startable)]
            if ref in self._progress.given_up:
                continue
            try:
                setup = self._steps.begin(ref)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and is_interruption(error):
                    self._steps.abandoned(ref)
                    raise
                self._settle(ref, error)
                continue
            if setup is not None:
                self._jobs[ref] = group.start_soon(self._job, ref, setup)
                continue
            self._settle(ref, None)
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
                self._steps.abandoned(ref)
                raise
            error = raised
        finally:
            del self._jobs[ref]
            self._job_ended.set()
        self._settle(ref, error)

    def _settle(self, ref: PluginRef, error: BaseException | None) -> None:
        """A setup ended: release what waited for it, or give up what cannot follow."""
        if error is None:
            self._steps.succeeded(ref)
            self._progress.ready.append(ref)
            for other in self._unlocks[ref]:
                self._waiting[other] -= 1
                if not self._waiting[other]:
                    heappush(self._startable, self._position[other])
            return
        trim(error)
        self._progress.failed[ref] = error
        for other in self._steps.failed(ref, error):
            self._progress.given_up.add(other)
            if other in self._jobs:
                self._jobs[other].cancel()
