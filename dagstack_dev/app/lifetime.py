"""The life of a server: a task of its own, for a block or from one call to another."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from dagstack_dev.host.loop.tasks import spawn
from dagstack_dev.host.services.guarding import report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Lifetime:
    """Runs something in a task of its own, from start to end: neither is tied to another task.

    Args:
        run: what runs until it is cancelled. It is given a stack for the steps of its end, each of
            which runs whatever the others raise, and what to call when it is up.

    Attributes:
        failure: what it has failed with.
        was_cut_short: whether it ends for a failure, or because its user was cancelled.
    """

    def __init__(
        self, run: Callable[[AsyncExitStack, Callable[[], None]], Awaitable[None]]
    ) -> None:
        self.failure: BaseException | None = None
        self.was_cut_short = False
        self._function = run
        self._loop_token: object = None
        self._block: _Block | None = None
        self._is_stopping = False
        self._was_raised = False

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and nothing has it end yet.

        Raises:
            RuntimeError: it has not been started, or runs in another event loop.
        """
        if not self._is_stopping:
            self._check_loop()
        return not self._is_stopping

    async def start(self) -> None:
        """Run it until it is up.

        Raises:
            RuntimeError: it has been started before.
            BaseException: what it has failed with, if it has not come up.
        """
        if self._loop_token is not None:
            raise RuntimeError("a DevServer can be started once; make a new one")
        self._is_up, self._is_over = anyio.Event(), anyio.Event()
        self._scope = anyio.CancelScope()
        self._loop_token = anyio.lowlevel.current_token()
        spawn(self._run, "dagstack-dev server")
        try:
            await self._is_up.wait()
        except BaseException:
            self.was_cut_short = True
            await self._end()
            raise
        if self.failure is not None:
            await self._end()
            self._was_raised = True
            raise _the_only_one(self.failure)

    async def stop(self) -> None:
        """Have it end, wait until it has, and raise what it has failed with, once."""
        await self._end()
        failure = self.failure
        if failure is not None and not self._was_raised and not _is_cancellation(failure):
            self._was_raised = True
            raise failure

    def enter_block(self) -> None:
        """Let a failure cancel the running task from now on."""
        self._block = _Block()

    async def leave_block(self, raised: BaseException | None) -> None:
        """As `stop`, for what has begun with `enter_block` and has `raised` something."""
        self._is_stopping, given = True, raised
        try:
            raised = raised if self._block is None else await self._block.leave(raised)
            if raised is not None and _is_cancellation(raised):
                self.was_cut_short = True
        finally:
            await self._end()
        failure, self._was_raised = self.failure, True
        if failure is None or failure is given or (raised and _is_cancellation(failure)):
            return  # What the block raised is to come out of it as it is.
        if raised is None or _is_cancellation(raised):
            raise failure
        of_server = failure.exceptions if isinstance(failure, BaseExceptionGroup) else (failure,)
        raise BaseExceptionGroup("the block and the server have failed", [raised, *of_server])

    def check(self) -> None:
        """Raise a `RuntimeError` if it has failed, unless the block is cancelled for that."""
        if self.failure is not None and (self._block is None or not self._block.is_cancelled):
            raise RuntimeError("the DevServer has ended by itself") from self.failure

    def _check_loop(self) -> None:
        if self._loop_token is None:
            raise RuntimeError("this DevServer has not been started")
        if anyio.lowlevel.current_token() != self._loop_token:
            raise RuntimeError("this DevServer runs in another event loop; use it there")

    async def _end(self) -> None:
        self._is_stopping = True
        if self._loop_token is None or self._is_over.is_set():
            return
        self._check_loop()
        self._scope.cancel()
        cancellation: BaseException | None = None
        with anyio.CancelScope(shield=True):
            while not self._is_over.is_set():
                try:
                    await self._is_over.wait()
                except asyncio.CancelledError as error:  # `Task.cancel` gets through the shield.
                    cancellation = error
        if cancellation is not None:
            raise cancellation

    async def _run(self) -> None:
        steps = AsyncExitStack()
        try:
            with self._scope:
                await self._function(steps, self._is_up.set)
        except BaseException as error:  # noqa: BLE001 - it is raised where this is ended
            self._fail(error)
        try:
            with anyio.CancelScope(shield=True):
                await steps.aclose()
        except BaseException as error:  # noqa: BLE001 - likewise
            self._fail(error)
        self._is_up.set()
        self._is_over.set()

    def _fail(self, error: BaseException) -> None:
        """Let the app know that it ends for a reason of its own."""
        self.failure = self.failure or error
        self.was_cut_short = True
        was_stopping, self._is_stopping = self._is_stopping, True
        if was_stopping or not self._is_up.is_set():
            return  # What waits for that raises it.
        if (self._block is None or not self._block.cancel()) and not _is_cancellation(error):
            report("the DevServer has ended by itself; server.stop() raises this, too", error)


class _Block:
    """The running task, from `__aenter__` to `__aexit__`, if that runs in the same task.

    On asyncio this is a task that is cancelled as `asyncio.timeout` does it: a cancel scope would
    tie the end of the block to the task that has entered it, and a fixture of pytest-asyncio or a
    hook of a framework leaves it in another. On trio it is a scope, for there is nothing else.

    Attributes:
        is_cancelled: whether that has been asked for.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self._before = 0
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[object] | None = None
        try:
            self._task = asyncio.current_task()
        except RuntimeError:  # The loop is trio's.
            self._scope = anyio.CancelScope().__enter__()

    def cancel(self) -> bool:
        """Cancel what runs in the block, and return whether there is anything to cancel."""
        if self._scope is not None:
            self._scope.cancel()
        elif self._task is None or self._task.done():
            return False
        else:
            self._before = self._task.cancelling()
            self._task.cancel()
        self.is_cancelled = True
        return True

    async def leave(self, raised: BaseException | None) -> BaseException | None:
        """Return what the block has `raised`, except the cancellation that came from here."""
        if self._scope is not None:
            kind, traceback = (type(raised), raised.__traceback__) if raised else (None, None)
            return None if self._scope.__exit__(kind, raised, traceback) else raised
        task = self._task
        if not self.is_cancelled or asyncio.current_task() is not self._task:
            return raised
        if not isinstance(raised, asyncio.CancelledError):  # It may not have come through yet.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if task is not None and task.uncancel() > self._before:
            return raised or asyncio.CancelledError()  # Someone else has cancelled it, too.
        return None if isinstance(raised, asyncio.CancelledError) else raised


def _is_cancellation(error: BaseException) -> bool:
    """Return whether the task was cancelled."""
    return isinstance(error, anyio.get_cancelled_exc_class())


def _the_only_one(error: BaseException) -> BaseException:
    """Return what a task group has wrapped, if it is one error."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return error.exceptions[0]
    return error
