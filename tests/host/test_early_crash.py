"""A plugin whose own task dies before its setup has been noted as ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from command_runs import GUARD_SECONDS

from dagstack_dev import PluginContext, PluginRef, PluginRegistry, State, TeardownErrors
from dagstack_dev.core.events import Fact, Transition
from dagstack_dev.core.lifecycle import Stage
from dagstack_dev.host.reload import schedule


class Doomed:
    """Its background task raises as soon as it runs."""

    group: TaskGroup

    def __init__(self) -> None:
        self.gone = False

    async def setup(self, ctx: PluginContext) -> None:
        self.group = await anyio.create_task_group().__aenter__()
        self.group.start_soon(self.serve)

    async def serve(self) -> None:
        raise LookupError("bang")

    async def teardown(self) -> None:
        self.gone = True
        await self.group.__aexit__(None, None, None)


class Busy:
    """Keeps the loop for a moment."""

    def setup(self, ctx: PluginContext) -> None:
        time.sleep(0.002)


async def test_a_crash_before_ready_is_noted_makes_the_plugin_failed(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    ref, doomed = PluginRef("demo", "doomed"), Doomed()
    put(doomed, ref.name, priority=1)
    for number in range(200):
        put(Busy(), f"busy{number}")
    await registry.setup_all(ctx)
    while not doomed.gone:
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
    status = registry.statuses()[ref]
    assert (status.state, status.stage) == (State.FAILED, Stage.RUN)
    assert isinstance(status.error, BaseExceptionGroup)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    assert caught.value.failures == ((ref, status.error),)


async def test_a_setup_that_has_ended_is_noted_while_others_still_begin(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule, "TURN_SECONDS", 0.0)
    seen: list[State] = []
    first = PluginRef("demo", "first")

    class Quick:
        async def setup(self, ctx: PluginContext) -> None:
            return

    class Looking:
        def setup(self, ctx: PluginContext) -> None:
            seen.append(registry.statuses()[first].state)

    put(Quick(), "first", priority=1)
    for number in range(20):
        put(Looking(), f"looking{number}")
    await registry.setup_all(ctx)
    assert seen[-1] is State.READY
    await registry.teardown_all()


@pytest.mark.parametrize("later", range(8))
async def test_a_plugin_that_dies_of_two_things_at_once_dies_once(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], later: int
) -> None:
    """Its own task group and a task that its context owns fail within a few turns."""
    ref, lost, log = PluginRef("demo", "twice"), anyio.Event(), []

    async def fail(*, turns: int) -> None:
        await lost.wait()
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        raise ConnectionError("lost")

    async def close() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("closed")

    class Twice:
        async def setup(self, ctx: PluginContext) -> None:
            ctx.callback(close)
            ctx.start_soon(partial(fail, turns=later))
            self.group = await anyio.create_task_group().__aenter__()
            self.group.start_soon(partial(fail, turns=0))

        async def teardown(self) -> None:
            await self.group.__aexit__(None, None, None)

    def note(fact: Fact) -> None:
        if isinstance(fact, Transition) and fact.to_state is State.FAILED:
            log.append("failed")

    put(Twice(), ref.name)
    registry.observe(note)
    await registry.setup_all(ctx)
    lost.set()
    with anyio.fail_after(GUARD_SECONDS):
        while registry.statuses()[ref].state is not State.FAILED:
            await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
    assert log == ["closed", "failed"]
