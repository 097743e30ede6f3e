"""A teardown that returns False says that only a new process is rid of what it leaves (ADR-1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
import structlog
from command_runs import GUARD_SECONDS

from dagstack_dev import PluginContext, PluginRef, PluginRegistry, PluginRequiresRestart
from dagstack_dev.core.events import Fact

Put = Callable[..., Any]
Run = Callable[[Callable[[], Awaitable[None]]], None]
REF = PluginRef("demo", "it")


class Plain:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def teardown(self) -> object:
        return self.answer


class Async(Plain):
    async def setup(self, ctx: PluginContext) -> None:
        pass

    async def teardown(self) -> object:
        await anyio.lowlevel.checkpoint()
        return self.answer


class Hidden(Plain):
    """A plain function that returns something to be awaited."""

    def teardown(self) -> object:
        async def rest() -> object:
            return self.answer

        return rest()


SHAPES = {
    "plain": (Plain, "sync"),
    "async": (Async, "async"),
    "awaitable": (Hidden, "sync"),
    "in a thread": (Plain, "thread_cpu_bound"),
}


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's `main` on one of the event loops."""
    return partial(anyio.run, backend=request.param)


def new_context(registry: PluginRegistry) -> PluginContext:
    return PluginContext(config={}, logger=structlog.get_logger(), registry=registry)


@pytest.mark.parametrize(("shape", "model"), SHAPES.values(), ids=SHAPES.keys())
def test_false_is_reported_once_and_stays(
    registry: PluginRegistry, facts: list[Fact], put: Put, run: Run, shape: type, model: str
) -> None:
    put(shape(False), execution_model=model)

    async def main() -> None:
        for _ in range(2):
            await registry.setup_all(new_context(registry))
            await registry.teardown_all()

    run(main)
    assert registry.statuses()[REF].requires_restart
    (fact,) = [each for each in facts if isinstance(each, PluginRequiresRestart)]
    assert fact.ref == REF


@pytest.mark.parametrize("answer", [None, True, 0, ""])
@pytest.mark.parametrize(("shape", "model"), SHAPES.values(), ids=SHAPES.keys())
async def test_anything_else_says_nothing(
    registry: PluginRegistry, put: Put, shape: type, model: str, answer: object
) -> None:
    put(shape(answer), execution_model=model)
    await registry.setup_all(new_context(registry))
    await registry.teardown_all()
    assert not registry.statuses()[REF].requires_restart


async def test_a_plugin_that_crashes_may_say_so_too(
    registry: PluginRegistry, facts: list[Fact], put: Put
) -> None:
    class Crashes(Plain):
        def setup(self, ctx: PluginContext) -> None:
            ctx.start_soon(self.fail)

        async def fail(self) -> None:
            raise RuntimeError("gone")

    put(Crashes(False))
    await registry.setup_all(new_context(registry))
    with anyio.fail_after(GUARD_SECONDS):
        while not any(isinstance(each, PluginRequiresRestart) for each in facts):
            await anyio.sleep(0.001)
    assert registry.statuses()[REF].requires_restart
