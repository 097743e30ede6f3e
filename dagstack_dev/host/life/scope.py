"""What one instance of a plugin owns, undone in reverse order when its life ends."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel

from dagstack_dev.core.errors.base import PluginRegistryError, add_note
from dagstack_dev.core.errors.life import Unfinished
from dagstack_dev.core.lifecycle import Operation, OperationKind
from dagstack_dev.host.life.jobs import (
    BackgroundTask,
    HeldManager,
    Job,
    OwnedThread,
    TaskJob,
    cancelled_by_itself,
)
from dagstack_dev.host.loop.limits import move_on_after
from dagstack_dev.host.loop.stacks import suspended_at
from dagstack_dev.host.loop.tasks import (
    is_closed,
    is_current,
    is_interruption,
    is_stray,
    on_loop,
    spawn,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from contextvars import Context

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.loop.watchdog import Watchdog

T = TypeVar("T")


class Scope:
    """Takes what a plugin opens, and undoes it.

    Tasks, threads and asynchronous context managers are jobs: each runs by itself, and undoing
    is no more than to stop it and wait for it. Each has a task or thread of its own, so that
    nothing here nests with scopes that the plugin opens by hand, and all of it works the same from
    `setup`, from a worker thread and later on.

    To be made on the event loop's thread.

    Args:
        ref: the plugin.
        folder: where its code lies, to name lines of it.
        in_threads: whether its plain functions are for worker threads and not for the loop.
        watchdog: watches its plain functions on the loop.
        on_failure: called on the loop when one of its jobs raised while the plugin was alive.
        on_loop_end: called with the name of one of its jobs when their loop ends before they do.

    Attributes:
        errors: what was raised in undoing, in order.
    """

    def __init__(
        self,
        ref: PluginRef,
        *,
        folder: str | None,
        in_threads: bool,
        watchdog: Watchdog,
        on_failure: Callable[[BaseException], None],
        on_loop_end: Callable[[str], None],
    ) -> None:
        self._ref = ref
        self._folder = folder
        self._in_threads = in_threads
        self._watchdog = watchdog
        self._on_failure = on_failure
        self._on_loop_end = on_loop_end
        self._token = anyio.lowlevel.current_token()
        self._owned: dict[object, Callable[[], Awaitable[object]]] = {}  # What undoes each.
        self._context: Context | None = None  # Set, as the next three, when undoing begins.
        self._failure: BaseException | None = None
        self._seconds = 0.0
        self._calling: tuple[str, Awaitable[object] | None] | None = None
        self._undoing = anyio.CancelScope(shield=True)
        self._undone = anyio.Event()
        self._has_tasks = False
        self._cancelled = ""  # The last task that was cancelled from outside.
        self._closed = anyio.Event()
        self.errors: list[BaseException] = []

    # What a plugin may do

    def start_soon(
        self, function: Callable[..., Awaitable[object]], *args: object, name: str | None
    ) -> None:
        """See `PluginContext.start_soon`."""
        label = name or _name_of(function)
        on_loop(self._token, self._start, BackgroundTask, label, partial(function, *args))

    def run_thread(self, function: Callable[..., object], *args: object, name: str | None) -> None:
        """See `PluginContext.run_thread`."""
        label, context = name or _name_of(function), copy_context()

        def start() -> None:
            thread = OwnedThread(
                label,
                lambda stop: function(stop, *args),
                context=context,
                token=self._token,
                on_end=self._job_ended,
            )
            self._add(thread)
            thread.start()

        on_loop(self._token, start)

    def enter(self, manager: AbstractContextManager[T, Any]) -> T:
        """See `PluginContext.enter`."""
        self._check_open()
        _check_protocol(manager, "__enter__", "__aenter__", "await ctx.enter_async(...)")
        inside = ExitStack()
        value = inside.enter_context(manager)
        name = f"leaving {_name_of(manager)}"
        try:
            on_loop(
                self._token, self._push, name, lambda: inside.__exit__(*_exc_info(self._failure))
            )
        except BaseException as error:  # The undoing began meanwhile, and does not know of it.
            inside.__exit__(*_exc_info(error))
            raise
        return value

    async def enter_async(self, manager: AbstractAsyncContextManager[T, Any]) -> T:
        """See `PluginContext.enter_async`."""
        if not is_current(self._token):
            raise RuntimeError(
                "enter_async is for the event loop's thread; from another one, call "
                "anyio.from_thread.run(ctx.enter_async, manager)"
            )
        _check_protocol(manager, "__aenter__", "__enter__", "ctx.enter(...)")
        held: HeldManager = self._start(HeldManager, _name_of(manager), manager)
        try:
            await held.entered.wait()
        except anyio.get_cancelled_exc_class():
            held.abort()
            with anyio.CancelScope(shield=True):
                await held.ended.wait()
            raise
        if not held.is_entered:
            raise held.take_error() or gone(self._ref)
        value: T = held.value
        return value

    def callback(self, function: Callable[[], object]) -> Callable[[], object]:
        """See `PluginContext.callback`; call what is returned to have it called no more."""
        return on_loop(self._token, self._push, f"callback {_name_of(function)}", function)

    # Keeping

    def _check_open(self) -> None:
        if self._context is not None:
            raise gone(self._ref)

    def _push(self, name: str, function: Callable[[], object]) -> Callable[[], object]:
        self._check_open()
        key = object()
        self._owned[key] = partial(self._call_back, name, function)
        return lambda: self._owned.pop(key, None)

    def _add(self, job: Job) -> None:
        self._check_open()
        self._owned[job] = partial(self._stop, job)

    @property
    def _jobs(self) -> list[Job]:
        """Those that have not ended, oldest first."""
        return [each for each in self._owned if isinstance(each, Job)]

    def _start(self, kind: Callable[..., Any], name: str, subject: object) -> Any:
        """Start a new job in a task, in the context variables of this moment."""
        job: TaskJob = kind(name, self._ref, subject)
        self._add(job)

        async def run() -> None:
            try:
                await job.run()
            finally:
                self._job_ended(job)

        if not self._has_tasks:
            self._has_tasks = True
            spawn(self._note_loop_end, f"dagstack plugin {self._ref}: what it owns")
        spawn(run, f"{self._ref} {name}")
        return job

    async def _note_loop_end(self) -> None:
        """Tell the end of the event loop from a task that the plugin itself has cancelled.

        `asyncio.run` cancels all tasks in the end, and so this one, which nothing else cancels.
        """
        try:
            await self._undone.wait()
        except anyio.get_cancelled_exc_class():
            left = (str(each) for each in self._jobs if isinstance(each, TaskJob))
            ended = next(left, self._cancelled)  # Those of the plugin may have ended before.
            if self._context is None and ended:
                self._on_loop_end(ended)
            raise

    def _job_ended(self, job: Job) -> None:
        del self._owned[job]
        self._close_when_undone()
        error = job.error
        if error is None:
            return
        if is_interruption(error):
            self._cancelled = str(job) if isinstance(job, TaskJob) else self._cancelled
            return
        if isinstance(job, HeldManager) and not job.is_entered:
            return  # It is raised where it was to be entered.
        is_ours = isinstance(error, PluginRegistryError) and error.ref == self._ref
        if not is_ours:  # Else it says itself what it is.
            add_note(error, f"raised in {job}")
        job.error = None
        if self._context is None:
            self._on_failure(error)
        else:
            self.errors.append(error)

    # Undoing

    async def undo(
        self, failure: BaseException | None, *, seconds: float, grace: float, context: Context
    ) -> list[Unfinished]:
        """Undo everything, newest first. Using the scope raises from now on.

        Done in a task of its own, so that nothing in it can hold up the caller.

        Args:
            failure: what the plugin ends for, if it fails; context managers get it.
            seconds: how long it may take. Then all that is left is cancelled at once.
            grace: how long that may take to end, in seconds, before it is left behind.
            context: in which plain functions are called.

        Returns:
            What held it up when its time was over, and what is still there after the grace.
        """
        self._context, self._failure, self._seconds = context, failure, seconds
        if is_closed(self._token):
            self._move()
        traceback = failure.__traceback__ if failure is not None else None
        spawn(self._undo_all, f"dagstack plugin {self._ref}: undoing", context.copy())
        unfinished: dict[str, Unfinished] = {}
        with anyio.CancelScope(shield=True):
            with move_on_after(seconds):
                await self._closed.wait()
            if not self._closed.is_set():
                unfinished |= {each.what: each for each in self.under_way()[:1]}
                self._abort()
                with anyio.move_on_after(grace):
                    await self._closed.wait()
                for each in () if self._closed.is_set() else self.under_way():
                    unfinished.setdefault(each.what, each)
        self._failure = None
        if failure is not None:
            failure.__traceback__ = traceback  # Without the frames of those that got it.
        return [*unfinished.values()]

    def _move(self) -> None:
        """Do the rest in this event loop: the one of the tasks has ended, and they with it."""
        self._token = anyio.lowlevel.current_token()
        self._undone, self._closed = anyio.Event(), anyio.Event()
        for job in self._jobs:
            if isinstance(job, OwnedThread):
                job.move(self._token)
            else:  # It has not even been cancelled.
                del self._owned[job]

    def ended_with_loop(self) -> str | None:
        """Return the name of what has ended with the event loop; None for nothing."""
        if not is_closed(self._token):
            return None
        ended = (
            each for each in self._jobs if not isinstance(each, OwnedThread) or not each.is_alive
        )
        return next(map(str, ended), None)

    @property
    def is_busy(self) -> bool:
        """Whether anything of it goes on by itself."""
        return bool(self._jobs)

    async def _undo_all(self) -> None:
        interrupted: BaseException | None = None
        with self._undoing:
            for owned, undo in [*reversed(self._owned.items())]:
                try:
                    if owned in self._owned:
                        await undo()
                except BaseException as error:  # noqa: BLE001 - a cancellation, or Ctrl-C
                    interrupted = error  # When the time is up, the rest is not waited for.
            try:
                if interrupted is not None:
                    raise interrupted
            finally:
                del interrupted  # Its traceback leads here.
        self._undone.set()
        self._close_when_undone()

    def _close_when_undone(self) -> None:
        if self._undone.is_set() and not any(isinstance(job, TaskJob) for job in self._owned):
            self._closed.set()

    def _abort(self) -> None:
        self._undoing.cancel()
        for job in self._jobs:
            job.stop(self._failure)
            job.abort()

    def operations(self) -> list[Operation]:
        """Return the background tasks and threads that have not ended, oldest first."""
        kinds = {BackgroundTask: OperationKind.TASK, OwnedThread: OperationKind.THREAD}
        return [
            Operation(kinds[type(job)], job.name, at.path, at.line)
            for job in self._jobs
            if type(job) in kinds
            for at in (job.unfinished(self._folder),)
        ]

    def under_way(self) -> list[Unfinished]:
        """Return what is being undone, and what else has not ended, newest first."""
        jobs = [job.unfinished(self._folder) for job in reversed(self._jobs)]
        if self._calling is None:
            return jobs
        return [suspended_at(*self._calling, self._folder), *jobs]

    async def _stop(self, job: Job) -> None:
        job.stop(self._failure)
        await job.wait()

    async def _call_back(self, name: str, function: Callable[[], object]) -> None:
        self._calling = name, None
        try:
            result = await self._call(name, function)
            if inspect.isawaitable(result):
                self._calling = name, result
                await result
        except BaseException as error:
            if is_stray(error):
                self.errors.append(cancelled_by_itself(self._ref, name, error))
            elif is_interruption(error):
                raise
            elif error is not self._failure:
                add_note(error, f"raised in {name}")
                self.errors.append(error)
        self._calling = None

    async def _call(self, name: str, function: Callable[[], object]) -> object:
        assert self._context is not None  # noqa: S101 - set by undo
        if not self._in_threads or inspect.iscoroutinefunction(function):
            with self._watchdog.calling(self._ref, name, self._folder, self._seconds):
                return self._context.run(function)
        # A thread of its own and no worker thread, for it may never end.
        ended: list[object] = []
        thread = OwnedThread(
            name,
            lambda _: ended.append(function()),
            context=self._context.copy(),
            token=self._token,
            on_end=self._owned.pop,
        )
        self._calling = None
        self._owned[thread] = partial(self._stop, thread)
        thread.start()
        await thread.wait()
        if thread.error is not None:
            raise thread.error
        return ended[0]


def gone(ref: PluginRef) -> RuntimeError:
    """Return the error for a context that was kept for longer than its plugin lived."""
    return RuntimeError(
        f"{ref}: the context of an instance that has been torn down owns nothing any more; use "
        "the one that the next setup is given"
    )


def _exc_info(error: BaseException | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


def _check_protocol(manager: object, has: str, other: str, cure: str) -> None:
    """Raise a TypeError with the `cure` where a manager is of the other sort only."""
    kind = type(manager)
    if hasattr(kind, other) and not hasattr(kind, has):
        sort = "an asynchronous" if other == "__aenter__" else "no asynchronous"
        raise TypeError(f"{kind.__name__} is {sort} context manager; write: {cure}")


def _name_of(subject: object) -> str:
    """Return how a function or a context manager is called in reports."""
    while isinstance(subject, partial):
        subject = subject.func
    func = getattr(subject, "func", None)  # A manager made by `contextlib.contextmanager`.
    named = func if func is not None and hasattr(subject, "gen") else subject
    name = getattr(named, "__qualname__", None) or type(named).__qualname__
    return str(name).rpartition("<locals>.")[2]
