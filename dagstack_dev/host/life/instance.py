"""One instance from setup to teardown, in one task where anything in it is asynchronous."""

from __future__ import annotations

import inspect
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import anyio
import anyio.lowlevel

from dagstack_dev.core.errors.life import (
    ONE_LOOP,
    PluginCancelled,
    SetupPreempted,
    SetupTimeout,
    TeardownTimeout,
    Unfinished,
)
from dagstack_dev.core.lifecycle import Operation, OperationKind
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.calls.current import become_plugin
from dagstack_dev.host.life.jobs import cancelled_by_itself
from dagstack_dev.host.life.life_task import LifeTask
from dagstack_dev.host.life.methods import Methods
from dagstack_dev.host.life.scope import Scope, gone
from dagstack_dev.host.loop.limits import running_time
from dagstack_dev.host.loop.stacks import calls_through
from dagstack_dev.host.loop.tasks import (
    context_of_task,
    is_closed,
    is_current,
    is_interruption,
    on_loop,
    spawn,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.calls.gate import Gate
    from dagstack_dev.host.loop.watchdog import Watchdog


class PluginInstance:
    """Runs `setup` and `teardown` of one plugin object, and undoes what it owns.

    Both run in one task of its own, and share its cancel scopes and context variables: a task group
    entered in one can be left in the other. A plugin whose methods are plain functions needs no
    task; its methods are called at once, in a context of their own. Cancellations are decided here,
    so that teardown keeps its order.

    To be made in the event loop that it is to run in.

    Args:
        gate: what calls of it go through; it knows the plugin object, which need not have either
            method.
        manifest: for the ref, the timeouts and the execution model.
        folder: where its code lies, to name the line that blocks.
        watchdog: watches its synchronous methods.
        carry: what its context offers as `carry`.
        on_dying: called when it is about to be torn down for a crash: a task or thread that it owns
            raised, or its own scope was cancelled, as by a task in a group of its own.
        on_crash: called when that is done, with this and what was raised.
        on_loop_end: called with this and the name of what ended with the event loop.

    Attributes:
        began: when its setup was due, or its teardown began, in running time.
        undo_errors: what went wrong in undoing a failed setup, or after a crash, as records.
        requires_restart: whether `teardown` returned False: something stays that only a new
            process is rid of.
        token: of its event loop.
        grace_seconds: how long what has been cancelled may take to end before it is left behind.
    """

    grace_seconds: ClassVar[float] = 2.0
    _context: Context | None = None
    _task: LifeTask | None = None
    _owned: Scope | None = None
    _dying: anyio.Event | None = None
    _died_of: BaseException | None = None
    _preempted_by: SetupPreempted | None = None
    _is_ending = False
    _is_awaited = False
    _is_over = False
    _being_undone: Scope | None = None
    undo_errors: tuple[BaseException, ...] = ()
    requires_restart = False

    def __init__(
        self,
        gate: Gate,
        *,
        manifest: PluginManifest,
        folder: str | None,
        watchdog: Watchdog,
        carry: MutableMapping[str, Any],
        on_dying: Callable[[], object],
        on_crash: Callable[[PluginInstance, BaseException | None], None],
        on_loop_end: Callable[[PluginInstance, str], None],
    ) -> None:
        plugin = gate.instance
        self.carry = carry
        self._manifest = manifest
        self._ref = manifest.ref
        self._module = type(plugin).__module__
        self._folder = folder
        self._watchdog = watchdog
        self._gate = gate
        self._on_dying = on_dying
        self._on_crash = on_crash
        self._on_loop_end = partial(on_loop_end, self)
        self.token = anyio.lowlevel.current_token()
        self.began = running_time()
        self._methods = Methods(plugin, manifest, folder=folder, watchdog=watchdog)

    # Set up

    def set_up(self, context: object) -> Awaitable[None] | None:
        """Run a synchronous `setup` right here, or start a task and wait until it has ended there.

        Returns:
            None when that is all; what remains to be awaited when something of the plugin is
            asynchronous, or when `setup` failed and owns something by now. That raises as this.

        Raises:
            Exception: whatever the plugin raised, unwrapped.
            SetupTimeout: it took longer than `startup_timeout_sec`; it has been cancelled.
        """
        if self._methods.must_be_awaited():
            return self._supervise_setup(partial(self._methods.call, "setup", context))
        self._context = copy_context()
        self._context.run(become_plugin, self._ref, self._module)
        try:
            result = self._methods.begin("setup", self._context, context)
        except BaseException as error:  # noqa: BLE001 - raised there, or by what is returned
            return self.refuse(error)
        if not inspect.isawaitable(result):
            return None
        return self._supervise_setup(partial(self._methods.wait_for, result))

    def refuse(self, error: BaseException) -> Awaitable[None]:
        """Let the setup fail with `error`, as where what it was to be given could not be made.

        Returns:
            What undoes what has been made by then, and raises `error`.

        Raises:
            BaseException: `error`, right here, where nothing has been made.
        """
        if self._owned is None:
            self._let_go()
            raise error
        self._context = self._context or copy_context()
        return self._fail(error)

    async def _supervise_setup(self, setup: Callable[[], Awaitable[object]]) -> None:
        task = self._task = LifeTask(self._ref, self._cancelled, self._scope_ended)
        self._spawn(partial(self._live, task, setup))
        self.began = running_time()
        try:
            has_ended = await task.wait_for_setup(self._left_for_setup)
        except anyio.get_cancelled_exc_class() as error:
            if task.setup_ended.is_set() and not task.has_failed:
                return  # It will have to be torn down; our next await is cancelled.
            await task.cancel(self.grace_seconds)
            with suppress(PluginCancelled):
                await self._fail(cancelled_by_itself(self._ref, "setup", error))
            raise
        if not has_ended:
            at, seconds = [self._methods.unfinished("setup")], self._manifest.startup_timeout_sec
            overdue = self._preempted_by or SetupTimeout(self._ref, seconds, at)
            await task.cancel(self.grace_seconds)
            await self._fail(overdue)
        if (failure := task.take_error()) is not None:
            await self._fail(failure)

    async def _live(self, task: LifeTask, setup: Callable[[], Awaitable[object]]) -> None:
        assert self._context is not None  # noqa: S101 - set by _spawn
        self._context = context_of_task(self._context)
        become_plugin(self._ref, self._module)
        await task.live(setup, partial(self._methods.call, "teardown"))

    def _left_for_setup(self) -> float:
        """Return the seconds that the setup may still take."""
        if self._preempted_by is not None:
            return 0.0
        seconds = self._manifest.startup_timeout_sec + self._methods.uncounted()
        return self.began + seconds - running_time()

    def preempt(self, error: SetupPreempted) -> None:
        """Break off the setup, under way or yet to come, if it can be: it fails with `error`."""
        self._preempted_by = self._preempted_by or error
        if self._task is not None:
            self._task.look_again()

    async def _fail(self, error: BaseException) -> NoReturn:
        """Undo what a setup that failed got to own, and raise `error`.

        One that has gone to its end all the same, as when the last thing it did cannot be
        cancelled, is torn down.
        """
        if self._task is not None and self._task.is_set_up:
            undo_errors = await self._tear_down(error)
        else:
            undo_errors = await self._undo(error, self._manifest.teardown_timeout_sec)
        self.undo_errors = (*map(recorded, undo_errors),)
        self._died_of = None
        raise error

    def _spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the plugin's task, in the context of the method that ran without one, if any."""
        self._context = self._context or copy_context()
        spawn(function, f"dagstack plugin {self._ref}", self._context)

    # Tear down

    async def tear_down(self) -> list[BaseException]:
        """Run `teardown`, then undo what the plugin owns; a crash under way is waited for.

        Returns:
            What went wrong, in order: whatever the plugin raised, unwrapped, and a
            `TeardownTimeout` for what took longer than `teardown_timeout_sec`.
        """
        if self._dying is None:
            return await self._tear_down()
        self._is_awaited = True
        with anyio.CancelScope(shield=True):
            await self._dying.wait()
        died_of = [] if self._died_of is None else [self._died_of]
        self._died_of = None
        return [*died_of, *self.undo_errors]

    async def _tear_down(self, failure: BaseException | None = None) -> list[BaseException]:
        self._is_ending = True
        self.began = began = running_time()
        errors: list[BaseException] = []
        try:
            await self._run_teardown()
        except BaseException as error:
            if is_interruption(error):
                raise
            errors.append(error)
        if is_closed(self.token):
            for raised in errors:
                raised.add_note(f"it was set up in an event loop that has been closed; {ONE_LOOP}")
        left = self._manifest.teardown_timeout_sec - (running_time() - began)
        failure = failure or self._died_of or next(iter(errors), None)
        return errors + await self._undo(failure, max(left, self.grace_seconds))

    async def _run_teardown(self) -> None:
        task = self._task_that_tears_down
        if task is None:
            result = self._methods.begin("teardown", self._context or copy_context())
            if not inspect.isawaitable(result):
                self.requires_restart = result is False
                return
            task = self._task = LifeTask(self._ref, self._cancelled, self._scope_ended)
            self._spawn(partial(task.finish, partial(self._methods.wait_for, result)))
        seconds = self._manifest.teardown_timeout_sec
        with anyio.CancelScope(shield=True):
            if not await task.tear_down(seconds):
                at = self._methods.unfinished("teardown")
                overdue = TeardownTimeout(self._ref, seconds, [at])
                await task.cancel(self.grace_seconds)
                raise overdue
        self.requires_restart = task.answer is False  # It says that something stays (ADR-1).
        if (error := task.take_error()) is not None:
            raise error

    @property
    def _task_that_tears_down(self) -> LifeTask | None:
        """The task that `setup` ran in, if it is there to run `teardown` or has done so."""
        task = self._task
        if task is None or task.is_torn_down:
            return task
        return None if task.ended.is_set() or is_closed(self.token) else task

    def ended_with_loop(self) -> str | None:
        """Return what of it has ended because its event loop has been closed; None for nothing."""
        return None if self._owned is None else self._owned.ended_with_loop()

    @property
    def is_elsewhere(self) -> bool:
        """Whether it goes on in another event loop than the running one."""
        goes_on = self._task_that_tears_down or (self._owned is not None and self._owned.is_busy)
        return bool(goes_on) and not is_closed(self.token) and not is_current(self.token)

    # What it owns

    @property
    def scope(self) -> Scope:
        """What the plugin owns, from when it first owns anything.

        Raises:
            RuntimeError: it has been torn down.
        """
        if self._owned is None and not self._is_over:
            on_loop(self.token, self._open_scope)
        if self._owned is None:
            raise gone(self._ref)
        return self._owned

    def _open_scope(self) -> None:
        if self._owned is None and not self._is_over:
            self._owned = Scope(
                self._ref,
                folder=self._folder,
                in_threads=self._methods.in_threads,
                watchdog=self._watchdog,
                on_failure=self._job_failed,
                on_loop_end=self._on_loop_end,
            )

    def under_way(self) -> Unfinished:
        """Return what of its setup or teardown is under way, and at which line that is."""
        undone = self._being_undone.under_way() if self._being_undone is not None else []
        if undone:
            return undone[0]
        return self._methods.unfinished("teardown" if self._is_ending else "setup")

    def in_flight(self) -> tuple[Operation, ...]:
        """See `PluginContext.in_flight`."""
        if self._is_over:
            raise gone(self._ref)
        return on_loop(self.token, self._in_flight)

    def _in_flight(self) -> tuple[Operation, ...]:
        jobs = () if self._owned is None else self._owned.operations()
        calls = calls_through(self._gate, self._folder)
        found = (Operation(OperationKind.CALL, each.what, each.path, each.line) for each in calls)
        return (*found, *jobs)

    async def _undo(self, failure: BaseException | None, seconds: float) -> list[BaseException]:
        """Undo what the plugin owns, let go of it, and return what went wrong."""
        owned, context = self._owned, self._context
        self._let_go()
        if owned is None:
            return []
        assert context is not None  # noqa: S101 - set when anything begins
        self._being_undone = owned
        grace = self.grace_seconds
        late = await owned.undo(failure, seconds=seconds, grace=grace, context=context)
        self._being_undone = None
        if late:
            allowed = self._manifest.teardown_timeout_sec
            owned.errors.append(TeardownTimeout(self._ref, allowed, late))
        return owned.errors

    def _let_go(self) -> None:
        """Hold nothing of the plugin any more: its context may be kept for longer."""
        self._is_over = True
        self._owned = self._context = None
        self._methods.forget()

    def _job_failed(self, error: BaseException) -> None:
        """Fail the setup, or tear the plugin down, for a task or thread that it owns raised."""
        if self._died_of is not None or self._is_ending:
            if self._owned is not None:
                self._owned.errors.append(error)
            return
        self._died_of = error
        if self._task is not None and not self._task.setup_ended.is_set():
            self._task.fail_setup(error)
        else:
            self._begin_dying()

    def _cancelled(self) -> None:
        """Finish what the cancellation of the plugin's own scope has begun, while it was ready."""
        if self._task is not None and not self._is_ending:
            self._died_of = self._task.take_error()
            self._begin_dying()

    def _scope_ended(self) -> None:
        if not self._is_ending:
            self._on_loop_end("cancel scope or task group, which its setup has opened")

    def _begin_dying(self) -> None:
        self._is_ending = True  # From here, what else fails is no crash of its own.
        self._dying = dying = anyio.Event()
        self._on_dying()
        spawn(partial(self._die, dying), f"dagstack plugin {self._ref}: ending")

    async def _die(self, dying: anyio.Event) -> None:
        self.undo_errors = (*map(recorded, await self._tear_down()),)
        dying.set()
        if not self._is_awaited:
            died_of, self._died_of = self._died_of, None
            self._on_crash(self, died_of)

    @property
    def is_ending(self) -> bool:
        """Whether its teardown has begun, or it is over."""
        return self._is_ending or self._is_over

    @property
    def is_dying(self) -> bool:
        """Whether it crashed, and is being torn down for that."""
        return self._dying is not None
