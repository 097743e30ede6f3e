"""One instance from setup to teardown, in one task where anything in it is asynchronous."""

from __future__ import annotations

import inspect
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from dagstack_dev.core.errors import PluginCancelled, SetupTimeout, TeardownTimeout
from dagstack_dev.core.manifest import ExecutionModel, PluginManifest
from dagstack_dev.host.context import become_plugin
from dagstack_dev.host.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from dagstack_dev.host.context import PluginContext
    from dagstack_dev.host.watchdog import Watchdog

GRACE_SECONDS: Final = 2.0
"""How long a cancelled plugin may take to end before it is left behind."""


class PluginInstance:
    """Runs `setup` and `teardown` of one plugin object.

    A task of its own runs `setup`, says that it is ready, waits to be told to stop and runs
    `teardown`. Both thus share task, cancel scopes and context variables: a task group entered in
    one can be left in the other. A plugin whose methods are plain functions needs no task; its
    methods are called at once, in a context of their own.

    The task's scope is shielded: a cancellation of the host never reaches the plugin by itself.
    Whoever supervises decides, so that teardown keeps its order.

    Args:
        plugin: the object; either method may be missing.
        manifest: for the ref, the timeouts and the execution model.
        folder: where its code lies, to name the line that blocks.
        watchdog: watches its synchronous methods.
        on_crash: called when the plugin's own scope was cancelled while it was ready, as by a
            background task that raised; with the exception that its teardown then raised.
    """

    def __init__(
        self,
        plugin: object,
        *,
        manifest: PluginManifest,
        folder: str | None,
        watchdog: Watchdog,
        on_crash: Callable[[BaseException | None], None],
    ) -> None:
        self.plugin = plugin
        self._manifest = manifest
        self._ref = manifest.ref
        self._folder = folder
        self._watchdog = watchdog
        self._on_crash = on_crash
        self._setup: Callable[[PluginContext], object] | None = getattr(plugin, "setup", None)
        self._teardown: Callable[[], object] | None = getattr(plugin, "teardown", None)
        self._threaded = manifest.execution_model is ExecutionModel.THREAD_CPU_BOUND
        self._context: Context | None = None
        self._scope: anyio.CancelScope | None = None
        self._settled: anyio.Event | None = None
        self._stop: anyio.Event | None = None
        self._ended: anyio.Event | None = None
        self._setup_error: BaseException | None = None
        self._teardown_error: BaseException | None = None

    @property
    def needs_task(self) -> bool:
        """Whether `set_up` has anything to wait for."""
        return any(
            method is not None and (self._threaded or inspect.iscoroutinefunction(method))
            for method in (self._setup, self._teardown)
        )

    def set_up_at_once(self, context: PluginContext) -> Awaitable[None] | None:
        """Run a synchronous `setup` right here; only for a plugin that needs no task.

        Returns:
            None when that is all; what remains to be awaited when `setup`, though a plain
            function, returned an awaitable.

        Raises:
            Exception: whatever the plugin raised, unwrapped.
        """
        self._context = copy_context()
        self._context.run(become_plugin, self._ref)
        if self._setup is None:
            return None
        result = self._call_at_once("setup", partial(self._setup, context))
        return self._supervise_setup(result) if inspect.isawaitable(result) else None

    async def set_up(self, context: PluginContext) -> None:
        """Start the plugin's task and wait until its `setup` has ended.

        Raises:
            Exception: whatever the plugin raised, unwrapped.
            SetupTimeout: it took longer than `startup_timeout_sec`; it has been cancelled.
        """
        await self._supervise_setup(context)

    async def _supervise_setup(self, argument: PluginContext | Awaitable[object]) -> None:
        self._settled, self._stop, self._ended = anyio.Event(), anyio.Event(), anyio.Event()
        self._scope = anyio.CancelScope(shield=True)
        self._spawn(partial(self._live, argument))
        seconds = self._manifest.startup_timeout_sec
        try:
            with anyio.move_on_after(seconds):
                await self._settled.wait()
        except anyio.get_cancelled_exc_class():
            if not self._settled.is_set() or self._setup_error is not None:
                await self._cancel()
                raise
            return  # It is set up and will have to be torn down; our next await is cancelled.
        if not self._settled.is_set():
            await self._cancel()
            raise SetupTimeout(self._ref, seconds)
        if self._setup_error is not None:
            error, self._setup_error = self._setup_error, None
            raise error

    def _spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the plugin's task, in the context of the method that ran without one, if any."""
        context = self._context or copy_context()
        context.run(spawn, function, f"dagstack plugin {self._ref}")

    async def tear_down(self) -> None:
        """Run `teardown` and wait for it to end.

        Raises:
            Exception: whatever the plugin raised, unwrapped.
            TeardownTimeout: it took longer than `teardown_timeout_sec`; it has been cancelled.
        """
        if self._ended is None or self._stop is None:
            result = self._tear_down_at_once()
            if not inspect.isawaitable(result):
                return
            self._scope, self._ended = anyio.CancelScope(shield=True), anyio.Event()
            self._spawn(partial(self._finish, result))
        else:
            self._stop.set()
        seconds = self._manifest.teardown_timeout_sec
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(seconds):
                await self._ended.wait()
            if not self._ended.is_set():
                await self._cancel()
                raise TeardownTimeout(self._ref, seconds)
        if self._teardown_error is not None:
            error, self._teardown_error = self._teardown_error, None
            raise error

    def _tear_down_at_once(self) -> object:
        if self._teardown is None:
            return None
        return self._call_at_once("teardown", self._teardown)

    def _call_at_once(self, name: str, method: Callable[[], object]) -> object:
        """Call a plain method. Nobody can cancel it, so that any cancellation is its own."""
        context = self._context or copy_context()
        try:
            with self._watchdog.calling(self._ref, name, self._folder):
                return context.run(method)
        except anyio.get_cancelled_exc_class() as error:
            raise PluginCancelled(self._ref, name) from error

    async def _finish(self, rest: Awaitable[object]) -> None:
        """Await what a plain `teardown` returned, in a task as `_live` is one."""
        assert self._scope is not None  # noqa: S101 - set by tear_down
        assert self._ended is not None  # noqa: S101
        self._scope.__enter__()
        try:
            await rest
        except anyio.get_cancelled_exc_class() as error:
            if not self._scope.cancel_called:
                self._teardown_error = self._cancelled("teardown", error)
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits tear_down
            self._teardown_error = error
        finally:
            _leave(self._scope)
            self._ended.set()

    async def _cancel(self) -> None:
        """Cancel all that the plugin has open, and give it a moment to end."""
        assert self._scope is not None  # noqa: S101 - only called once a task exists
        assert self._ended is not None  # noqa: S101
        self._scope.cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(GRACE_SECONDS):
            await self._ended.wait()
            # Tasks in scopes that the plugin left open get their cancellation a turn later.
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()

    async def _live(self, argument: PluginContext | Awaitable[object]) -> None:
        """The plugin's task, from setup to teardown."""
        assert self._scope is not None  # noqa: S101 - set by _supervise_setup
        assert self._settled is not None  # noqa: S101
        assert self._ended is not None  # noqa: S101
        become_plugin(self._ref)
        self._scope.__enter__()
        try:
            await self._run(argument)
        finally:
            _leave(self._scope)
            self._settled.set()
            self._ended.set()

    async def _run(self, argument: PluginContext | Awaitable[object]) -> None:
        assert self._settled is not None  # noqa: S101 - set by _supervise_setup
        assert self._stop is not None  # noqa: S101
        assert self._scope is not None  # noqa: S101
        cancelled = anyio.get_cancelled_exc_class()
        try:
            if inspect.isawaitable(argument):
                await argument
            else:
                await self._call("setup", self._setup, argument)
        except cancelled as error:
            if not self._scope.cancel_called:
                self._setup_error = self._cancelled("setup", error)
                self._scope.cancel()
            return
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits set_up
            self._setup_error = error
            self._scope.cancel()
            return
        self._settled.set()
        crashed = False
        try:
            await self._stop.wait()
        except cancelled:
            if self._scope.cancel_called or not _scope_of_plugin_cancelled():
                raise
            crashed = True
        try:
            await self._call("teardown", self._teardown)
        except cancelled as error:
            if not self._scope.cancel_called and not crashed:
                self._teardown_error = self._cancelled("teardown", error)
                self._scope.cancel()
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits tear_down
            self._teardown_error = error
            self._scope.cancel()
        if crashed:
            died_of, self._teardown_error = self._teardown_error, None
            self._on_crash(died_of)

    def _cancelled(self, method: str, error: BaseException) -> PluginCancelled:
        """The failure of a method that ended with a cancellation which is not ours."""
        failure = PluginCancelled(self._ref, method)
        failure.__cause__ = error
        return failure

    async def _call(self, name: str, method: Callable[..., object] | None, *args: object) -> None:
        if method is None:
            return
        if inspect.iscoroutinefunction(method):
            await method(*args)
        elif self._threaded:
            self._context = self._context or copy_context()
            await anyio.to_thread.run_sync(self._context.run, method, *args, abandon_on_cancel=True)
        else:
            with self._watchdog.calling(self._ref, name, self._folder):
                result = method(*args)
            if inspect.isawaitable(result):
                await result


def _scope_of_plugin_cancelled() -> bool:
    """Whether the cancellation just caught belongs to a scope of anyio.

    Otherwise the task itself was cancelled natively, as when an event loop shuts down.
    """
    return anyio.current_effective_deadline() == float("-inf")


def _leave(scope: anyio.CancelScope) -> Any:
    """Leave the task's scope, even when the plugin has left scopes of its own open inside.

    Then the scopes are not nested any more and anyio refuses; cancelled, they are harmless, for
    the task ends here.
    """
    scope.cancel()
    try:
        scope.__exit__(None, None, None)
    except RuntimeError:
        return
