"""What threads do to a registry in the midst of its changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import PluginContext, PluginRegistry, SetupTimeout
from dagstack_dev.core.lifecycle import OperationKind

Put = Callable[..., Any]


async def test_a_thread_with_an_event_loop_of_its_own_may_use_the_context(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    log: list[tuple[str, int]] = []

    class Threading:
        def setup(self, ctx: PluginContext) -> None:
            self.ctx = ctx

        async def use(self) -> None:
            async def run() -> None:
                log.append(("task", threading.get_ident()))

            self.ctx.start_soon(run)
            self.ctx.callback(lambda: log.append(("callback", threading.get_ident())))
            assert {each.kind for each in self.ctx.in_flight()} <= {OperationKind.TASK}

    plugin = Threading()
    put(plugin)
    await registry.setup_all(ctx)
    await anyio.to_thread.run_sync(anyio.run, plugin.use)
    await registry.teardown_all()
    here = threading.get_ident()
    assert sorted(log) == [("callback", here), ("task", here)]


async def test_what_a_thread_enters_while_the_plugin_is_torn_down_is_left(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    entering, torn_down = threading.Event(), threading.Event()
    log: list[str] = []

    @contextmanager
    def slow() -> Iterator[None]:
        log.append("entered")
        entering.set()
        assert torn_down.wait(GUARD_SECONDS)
        try:
            yield
        finally:
            log.append("left")

    class Plugin:
        def setup(self, ctx: PluginContext) -> None:
            self.ctx = ctx
            ctx.callback(log.append, "callback")

    plugin = Plugin()
    put(plugin)
    await registry.setup_all(ctx)

    def enter() -> None:
        with pytest.raises(RuntimeError, match="demo/it: the context of an instance that has"):
            plugin.ctx.enter(slow())

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, enter)
        await anyio.to_thread.run_sync(entering.wait)
        await registry.teardown_all()
        torn_down.set()
    assert log == ["entered", "callback", "left"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_setup_that_hangs_in_a_thread_leaves_the_apps_own_thread_limit_alone(
    registry: PluginRegistry, ctx: PluginContext, put: Put, backend: str
) -> None:
    release = threading.Event()

    class Stuck:
        def setup(self, _: PluginContext) -> None:
            release.wait(GUARD_SECONDS)

    put(Stuck(), execution_model="thread_cpu_bound", startup_timeout_sec=1)

    async def main() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        allowed = limiter.total_tokens
        with pytest.raises(SetupTimeout):
            await registry.setup_all(ctx)
        assert (limiter.total_tokens, limiter.borrowed_tokens) == (allowed, 0)
        release.set()

    anyio.run(main, backend=backend)
