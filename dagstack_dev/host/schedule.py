"""Setting up many plugins at once, each as soon as what it depends on is ready."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from dagstack_dev.host.tasks import is_interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

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
    position = {ref: index for index, ref in enumerate(order)}
    waiting: dict[PluginRef, int] = {}
    unlocks: defaultdict[PluginRef, list[PluginRef]] = defaultdict(list)
    startable: list[int] = []
    for ref, index in position.items():
        inside = [other for other in dependencies(ref) if other in position]
        waiting[ref] = len(inside)
        for other in inside:
            unlocks[other].append(ref)
        if not inside:
            startable.append(index)
    heapify(startable)
    jobs: dict[PluginRef, anyio.CancelScope] = {}
    send, receive = anyio.create_memory_object_stream[
        tuple["PluginRef", BaseException | None, bool]
    ](inf)

    def settle(ref: PluginRef, error: BaseException | None) -> None:
        if error is None:
            steps.succeeded(ref)
            progress.ready.append(ref)
            for other in unlocks[ref]:
                waiting[other] -= 1
                if not waiting[other]:
                    heappush(startable, position[other])
            return
        progress.failed[ref] = error
        for other in steps.failed(ref, error):
            progress.given_up.add(other)
            if other in jobs:
                jobs[other].cancel()

    async def job(ref: PluginRef, setup: Awaitable[None]) -> None:
        error: BaseException | None = None
        ended = False
        try:
            with jobs[ref]:
                try:
                    await setup
                except BaseException as raised:
                    if is_interruption(raised):
                        raise
                    error = raised
                ended = True
        finally:
            del jobs[ref]
            if not ended:
                steps.abandoned(ref)
            send.send_nowait((ref, error, ended))

    with send, receive:
        async with anyio.create_task_group() as group:
            turn_ends = monotonic() + TURN_SECONDS
            while startable or jobs:
                while startable:
                    ref = order[heappop(startable)]
                    if ref in progress.given_up:
                        continue
                    try:
                        setup = steps.begin(ref)
                    except BaseException as error:
                        if is_interruption(error):
                            raise
                        settle(ref, error)
                        continue
                    if setup is None:
                        settle(ref, None)
                        if monotonic() > turn_ends:
                            await anyio.sleep(0)
                            turn_ends = monotonic() + TURN_SECONDS
                    else:
                        jobs[ref] = anyio.CancelScope()
                        group.start_soon(job, ref, setup)
                if jobs:
                    ref, raised, ended = await receive.receive()
                    turn_ends = monotonic() + TURN_SECONDS
                    if ended:
                        settle(ref, raised)
            while receive.statistics().current_buffer_used:  # pragma: no branch
                ref, raised, ended = receive.receive_nowait()
                if ended:
                    settle(ref, raised)
