"""Tasks that belong to no task group."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from anyio.lowlevel import EventLoopToken, RunVar

T = TypeVar("T")

MOST_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)
"""How many worker threads one thing may have at the same time; what is more waits."""

ctrl_c_raises: ContextVar[bool] = ContextVar("dagstack_ctrl_c_raises", default=True)
"""Whether Ctrl-C raises a `KeyboardInterrupt`; not where a signal handler of the host takes it."""


def is_interruption(error: BaseException) -> bool:
    """Return whether `error` is meant for us and not a plugin's failure: a cancellation or Ctrl-C.

    Anything else that plugin code raises, `SystemExit` included, is that plugin's failure.
    """
    if isinstance(error, KeyboardInterrupt):
        return ctrl_c_raises.get()
    return isinstance(error, anyio.get_cancelled_exc_class())


def is_stray(error: BaseException) -> bool:
    """Return whether `error`, just caught, is a cancellation that was not asked for.

    So it is when plugin code awaits a task that was cancelled. It is that code's failure, and let
    through, it would cancel the whole task group that it comes to.
    """
    if not isinstance(error, anyio.get_cancelled_exc_class()):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # On trio, none comes but by a cancel scope.
        return False
    is_cancelled = anyio.current_effective_deadline() == float("-inf")
    return task is not None and not task.cancelling() and not is_cancelled


_running: set[asyncio.Task[None]] = set()
"""Event loops hold their tasks weakly; this keeps ours alive until they end."""


def spawn(
    function: Callable[[], Coroutine[Any, Any, None]], name: str, context: Context | None = None
) -> None:
    """Run `function` in a task of the running event loop that outlives its caller's scopes.

    A task group would wrap each task in a cancel scope of its own and fail as a whole when a
    plugin leaves one of *its* scopes open in that task; it would also tie `setup_all` and
    `teardown_all` to one block. `function` must not raise.

    Args:
        function: what to run.
        name: the task's.
        context: for the task's context variables, a copy of the current ones by default. It is
            not copied, except by trio: see `context_of_task`.
    """
    context = copy_context() if context is None else context
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - only where trio runs the loop, and then it is there

        trio.lowlevel.spawn_system_task(_contain, function, name, context=context)
        return
    task = new_task(function(), loop, name=name, context=context)
    _running.add(task)
    task.add_done_callback(_running.discard)


def new_task(
    coroutine: Coroutine[Any, Any, T],
    loop: asyncio.AbstractEventLoop,
    *,
    name: str | None = None,
    context: Context | None = None,
) -> asyncio.Task[T]:
    """Return a task that begins with the next turn of `loop`.

    `loop.create_task` may run it at once: that is what `asyncio.eager_task_factory` is for.
    """
    return asyncio.Task(coroutine, loop=loop, name=name, context=context)


async def run_to_the_end(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await `function()`, which no cancellation of the caller breaks off: that comes after it.

    A shielded scope holds back those of anyio and trio, but not asyncio's own `Task.cancel`, as
    `asyncio.wait_for` and the end of `asyncio.run` use it.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # On trio.
            return await function()
        task = new_task(function(), loop)
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    try:
        result = task.result()
    finally:
        del task  # What it has raised leads to this frame, which must not lead back.
    if cancelled is not None:
        raise cancelled
    return result


def thread_limiter(variable: RunVar[anyio.CapacityLimiter]) -> anyio.CapacityLimiter:
    """Return the limit of the running event loop: loops cannot wake each other."""
    limiter = variable.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(MOST_THREADS)
        variable.set(limiter)
    return limiter


def is_closed(token: EventLoopToken | None) -> bool:
    """Return whether the event loop of `token` has ended for good."""
    loop: Any = None if token is None else token.native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    try:
        if loop is not None:  # It is trio's, which shows it in no other way.
            loop.run_sync_soon(int)
    except RuntimeError:
        return True
    return False


def is_current(token: EventLoopToken) -> bool:
    """Return whether the event loop of `token` is the one that runs here."""
    try:
        current = anyio.lowlevel.current_token()
    except RuntimeError:  # None does.
        return False
    return token.native_token is current.native_token


def on_loop(token: EventLoopToken, function: Callable[..., T], *args: Any) -> T:
    """Call `function` in the event loop of `token`; at once, where that is the one that runs."""
    if is_current(token):
        return function(*args)
    return anyio.from_thread.run_sync(function, *args, token=token)


async def _contain(function: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Run `function` below a nursery of its own, for trio.

    Trio fails a task that ends with a nursery of its own open, and ends the program over a
    system task that fails. What `function` runs may well leave one open.
    """
    import trio  # noqa: PLC0415 - only where trio runs the loop, and then it is there

    with suppress(ExceptionGroup):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function, name=name)


def context_of_task(given: Context) -> Context:
    """Return the context of the running task, which was spawned with `given`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - only where trio runs the loop, and then it is there

        return trio.lowlevel.current_task().context
    return given
