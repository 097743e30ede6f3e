"""Tasks that belong to no task group."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


def is_interruption(error: BaseException) -> bool:
    """Whether `error` is meant for us and not a plugin's failure: a cancellation or Ctrl-C.

    Anything else that plugin code raises, `SystemExit` included, is that plugin's failure.
    """
    return isinstance(error, KeyboardInterrupt | anyio.get_cancelled_exc_class())


_running: set[asyncio.Task[None]] = set()
"""Event loops hold their tasks weakly; this keeps ours alive until they end."""


def spawn(function: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Run `function` in a task of the running event loop that outlives its caller's scopes.

    A task group would wrap each task in a cancel scope of its own and fail as a whole when a
    plugin leaves one of *its* scopes open in that task; it would also tie `setup_all` and
    `teardown_all` to one block. `function` must not raise.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - only where trio runs the loop, and then it is there

        trio.lowlevel.spawn_system_task(function, name=name, context=copy_context())
        return
    task = loop.create_task(function(), name=name)
    _running.add(task)
    task.add_done_callback(_running.discard)
