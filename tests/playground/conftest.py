"""The main playground, for tests that edit it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from playgrounds import Copy, LogBook, Playground

from dagstack_dev import DevServer, PluginContext, PluginRegistry, Settings


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A copy on disk; nothing runs."""
    return Copy(tmp_path)


@pytest.fixture
async def playground(copy: Copy) -> AsyncIterator[Playground]:
    """A copy that runs."""
    running: asyncio.Future[Playground] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def run() -> None:
        log = LogBook()
        merge = structlog.contextvars.merge_contextvars
        logger = structlog.wrap_logger(None, processors=[merge, log])
        registry = PluginRegistry()
        context = PluginContext(config={}, logger=logger, registry=registry)
        settings = Settings(config_file=copy.config)
        async with DevServer(copy.plugins, context=context, settings=settings) as server:
            running.set_result(Playground(server, copy, log))
            await stop.wait()

    # A task of its own: a server has to be left in the task that entered it, and the two halves
    # of an asynchronous fixture run in two tasks.
    task = asyncio.create_task(run())
    either: list[asyncio.Future[Any]] = [task, running]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    yield running.result()
    stop.set()
    await task
