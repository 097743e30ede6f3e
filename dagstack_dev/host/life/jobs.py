"""What a plugin may own that goes on by itself: a task, a thread, an entered context manager."""

from __future__ import annotations

import inspect
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from dagstack_dev.core.errors.life import PluginCancelled
from dagstack_dev.host.calls.current import become_plugin
from dagstack_dev.host.loop.stacks import frame_of, running_at, suspended_at
from dagstack_dev.host.loop.tasks import is_stray

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from contextvars import Context

    from anyio.lowlevel import EventLoopToken

    from dagstack_dev.core.errors.life import Unfinished
    from dagstack_dev.core.refs import PluginRef

_JOIN_SECONDS = 1.0
"""How long a thread that has said its last word may take to be gone."""

_LOOK_SECONDS = 0.01
"""How often a thread is looked at that cannot report its end."""


class Job:
    """Something that goes on until it is stopped.

    Attributes:
        name: for reports.
        ended: set when it is over.
        error: what it raised, if anything.
    """

    kind = "job"

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = anyio.Event()
        self.error: BaseException | None = None

    def stop(self, failure: BaseException | None) -> None:
        """Ask it to end; `failure` is what the plugin ends for, if it fails."""
        raise NotImplementedError

    def abort(self) -> None:
        """Make it end, if that can be done, for its time is up."""

    async def wait(self) -> None:
        """Wait for its end."""
        await self.ended.wait()

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    def unfinished(self, folder: str | None) -> Unfinished:
        """Return what it is, and the line that it is at."""
        raise NotImplementedError


class TaskJob(Job):
    """Something asynchronous, in a task and a cancel scope of its own; `run` is what runs there."""

    def __init__(self, name: str, ref: PluginRef) -> None:
        super().__init__(name)
        self._ref = ref
        self._scope = anyio.CancelScope()
        self._awaiting: Awaitable[object] | None = None

    def abort(self) -> None:
        """Cancel it."""
        self._scope.cancel()

    def unfinished(self, folder: str | None) -> Unfinished:
        """See `Job.unfinished`."""
        return suspended_at(str(self), self._awaiting, folder)

    async def run(self) -> None:
        """Do it. Nothing is raised but cancellations that are not ours, and Ctrl-C."""
        become_plugin(self._ref)
        try:
            with self._scope:
                self._awaiting = self._begin()
                await self._awaiting
        except (KeyboardInterrupt, anyio.get_cancelled_exc_class()) as error:
            self.error = error
            if not is_stray(error):
                raise
            self.error = cancelled_by_itself(self._ref, str(self), error)
        except BaseException as error:  # noqa: BLE001 - kept in `error`
            self.error = error
        finally:
            self._awaiting = None
            self.ended.set()

    def _begin(self) -> Awaitable[object]:
        raise NotImplementedError


class BackgroundTask(TaskJob):
    """An asynchronous function that runs until it is cancelled."""

    kind = "background task"

    def __init__(
        self, name: str, ref: PluginRef, function: Callable[[], Awaitable[object]]
    ) -> None:
        super().__init__(name, ref)
        self._function = function

    def stop(self, failure: BaseException | None) -> None:  # noqa: ARG002 - there is no way to pass it on
        """Cancel it."""
        self._scope.cancel()

    def _begin(self) -> Awaitable[object]:
        awaitable = self._function()
        if not inspect.isawaitable(awaitable):
            raise TypeError("start_soon takes an async function; for a plain one, use run_thread")
        return awaitable


class HeldManager(TaskJob):
    """An asynchronous context manager, entered and left in one task of its own.

    So it may open cancel scopes and task groups: they end where they began, and nest with
    nothing else that the plugin has open.

    Attributes:
        entered: set when `value` is there, or will never be.
        value: what the manager yields.
    """

    kind = "context manager"

    def __init__(
        self, name: str, ref: PluginRef, manager: AbstractAsyncContextManager[Any, Any]
    ) -> None:
        super().__init__(name, ref)
        self._manager = manager
        self._leave = anyio.Event()
        self._failure: BaseException | None = None
        self.is_entered = False
        self.entered = anyio.Event()
        self.value: Any = None

    def take_error(self) -> BaseException | None:
        """Return what kept the manager from being entered, if anything, kept here no longer."""
        error, self.error = self.error, None
        return error

    def stop(self, failure: BaseException | None) -> None:
        """Have the manager left, with `failure` if there is one."""
        self._failure = failure
        if self.is_entered:
            self._leave.set()
        else:
            self._scope.cancel()

    async def run(self) -> None:
        """As that of any task; `entered` is set in the end whatever happens."""
        try:
            await super().run()
        finally:
            self._failure = None
            self.entered.set()

    async def _begin(self) -> None:
        try:
            async with self._manager as self.value:
                self.is_entered = True
                self.entered.set()
                await self._leave.wait()
                if self._failure is not None:
                    raise self._failure  # noqa: TRY301 - the manager is to see it
        except BaseException as error:
            if self._failure is None or _differs(error, self._failure):
                raise


class OwnedThread(Job):
    """A daemon thread with a stop signal.

    Args:
        function: called with the signal.
        context: what the thread's context variables are.
        on_end: called on the event loop when it has ended.
    """

    kind = "thread"
    _is_moved = False

    def __init__(
        self,
        name: str,
        function: Callable[[threading.Event], object],
        *,
        context: Context,
        token: EventLoopToken,
        on_end: Callable[[Job], object],
    ) -> None:
        super().__init__(name)
        self._function = function
        self._stop = threading.Event()
        self._token = token
        self._on_end = on_end
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name=name, daemon=True
        )

    def start(self) -> None:
        """Let it run."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def stop(self, failure: BaseException | None) -> None:  # noqa: ARG002 - there is no way to pass it on
        """Set its signal."""
        self._stop.set()

    def move(self, token: EventLoopToken) -> None:
        """Look for its end in another loop from now on, for the one to report it to is gone."""
        self._token, self._is_moved = token, True
        self.ended = anyio.Event()

    async def wait(self) -> None:
        """Wait for its end, and a moment for the thread to be gone."""
        while self._is_moved and self._thread.is_alive():
            await anyio.sleep(_LOOK_SECONDS)
        if self._is_moved and not self.ended.is_set():
            self._end()
        await super().wait()
        self._thread.join(_JOIN_SECONDS)

    def unfinished(self, folder: str | None) -> Unfinished:
        """See `Job.unfinished`."""
        return running_at(str(self), frame_of(self._thread.ident), folder)

    def _run(self) -> None:
        try:
            self._function(self._stop)
        except BaseException as error:  # noqa: BLE001 - kept in `error`
            self.error = error
        with suppress(RuntimeError):  # The loop has ended before the thread.
            anyio.from_thread.run_sync(self._end, token=self._token)

    def _end(self) -> None:
        self.ended.set()
        self._on_end(self)


def _differs(error: BaseException, failure: BaseException) -> bool:
    """Return whether `error` holds anything besides `failure`, which a task group wraps."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(lambda each: each is failure)[1] is not None
    return error is not failure


def cancelled_by_itself(ref: PluginRef, what: str, error: BaseException) -> PluginCancelled:
    """Return the failure of `what`, which ended with `error`, a stray cancellation."""
    failure = PluginCancelled(ref, what)
    failure.__cause__ = error
    return failure
