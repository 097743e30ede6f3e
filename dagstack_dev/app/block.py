"""The task inside an `async with`, which something in another task may have to end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio


class Block:
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
        """Cancel what runs in the block; the answer is whether there is a task to be cancelled."""
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
        """What the block has `raised`, but for the cancellation that came from here."""
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
