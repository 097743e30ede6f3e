"""Keeps a background task from setup to teardown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from dagstack_dev import PluginContext


class Pulse:
    beats = 0
    _tasks: TaskGroup

    async def setup(self, ctx: PluginContext) -> None:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._beat)
        ctx.logger.info("beating")

    async def teardown(self) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def _beat(self) -> None:
        while True:
            self.beats += 1
            await anyio.sleep(0.01)
