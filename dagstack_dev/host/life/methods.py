"""Calls `setup` and `teardown` of one plugin, in whichever of three ways they want to be called."""

from __future__ import annotations

import inspect
import threading
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from dagstack_dev.core.errors.life import (
    BlockedOutdated,
    BlockedTooLong,
    PluginCancelled,
    SetupPreempted,
    SetupTimeout,
    TeardownTimeout,
    Unfinished,
)
from dagstack_dev.core.manifest.fields import ExecutionModel
from dagstack_dev.host.life.signatures import check_method
from dagstack_dev.host.loop.stacks import frame_of, running_at, suspended_at
from dagstack_dev.host.loop.tasks import thread_limiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.loop.watchdog import Watchdog


_LIFECYCLES: Final[RunVar[anyio.CapacityLimiter]] = RunVar("dagstack_lifecycle_threads")
"""How many setups and teardowns run in threads at once; apart from what the app's may."""


class Methods:
    """Calls `setup` and `teardown` of a plugin, and knows where the call under way is.

    Args:
        plugin: the plugin object, which need not have either.
        manifest: for the ref, the timeouts and whether plain functions run in a worker thread.
        folder: where its code lies, to name lines of it.
        watchdog: watches those that run on the loop.

    Attributes:
        in_threads: whether plain functions run in a worker thread.
    """

    _awaiting: Awaitable[object] | None = None
    _thread: threading.Thread | None = None

    def __init__(
        self, plugin: object, manifest: PluginManifest, *, folder: str | None, watchdog: Watchdog
    ) -> None:
        self._manifest = manifest
        self._ref = manifest.ref
        self._folder = folder
        self.in_threads = manifest.execution_model is ExecutionModel.THREAD_CPU_BOUND
        self._watchdog = watchdog
        self._plugin: object = plugin
        self._methods: dict[str, Callable[..., object]] = {
            name: method
            for name in ("setup", "teardown")
            if (method := getattr(plugin, name, None)) is not None
        }

    def forget(self) -> None:
        """Let go of the plugin, of which nothing will be called any more."""
        self._plugin = None
        self._methods.clear()

    def must_be_awaited(self) -> bool:
        """Return whether a call of either has anything to wait for, as far as can be seen."""
        return any(map(self._waits, self._methods.values()))

    def _waits(self, method: Callable[..., object]) -> bool:
        if self.in_threads:
            return True
        code = getattr(method, "__code__", None)  # `inspect` takes ten times as long.
        is_plain = code is not None and not code.co_flags & inspect.CO_COROUTINE
        return not is_plain and inspect.iscoroutinefunction(method)

    def begin(self, name: str, context: Context, *args: object) -> Awaitable[object] | object:
        """Call a method at once where that can be done; return what it does, or is to be awaited.

        A method that is called at once cannot be cancelled, so any cancellation is its own.
        """
        method = self._methods.get(name)
        if method is None:
            return None
        if self.in_threads:
            return self.call(name, *args)
        try:
            return self._watched(name, partial(context.run, method, *args))
        except TypeError:
            check_method(self._ref, name, method)
            raise
        except anyio.get_cancelled_exc_class() as error:
            raise PluginCancelled(self._ref, name) from error

    async def call(self, name: str, *args: object) -> object:
        """Call a method, await what it returns if that can be awaited, and return the result.

        Raises:
            SignatureMismatch: the method takes other arguments.
            Exception: what it raised.
        """
        method = self._methods.get(name)
        if method is None:
            return None
        try:
            if inspect.iscoroutinefunction(method):
                return await self.wait_for(method(*args))
            if self.in_threads:
                return await self._call_in_thread(partial(method, *args))
            result = self._watched(name, partial(method, *args))
            return await self.wait_for(result) if inspect.isawaitable(result) else result
        except TypeError:
            check_method(self._ref, name, method)
            raise

    def _watched(self, name: str, function: Callable[[], object]) -> object:
        """Run a plain `setup` or `teardown`, for no longer than it may."""
        manifest = self._manifest
        timeout: type[SetupTimeout | TeardownTimeout] = SetupTimeout
        seconds = manifest.startup_timeout_sec
        if name != "setup":
            timeout, seconds = TeardownTimeout, manifest.teardown_timeout_sec
        try:
            with self._watchdog.calling(self._ref, name, self._folder, seconds):
                return function()
        except BlockedOutdated as error:
            raise SetupPreempted(self._ref) from error
        except BlockedTooLong as error:
            at = Unfinished(f"{name}()", error.path, error.line)
            raise timeout(self._ref, seconds, [at]) from error

    async def wait_for(self, awaitable: Awaitable[object]) -> object:
        """Await it, with an eye on where it is."""
        self._awaiting = awaitable
        try:
            return await awaitable
        finally:
            self._awaiting = None

    async def _call_in_thread(self, function: Callable[[], object]) -> object:
        context = copy_context()

        def run() -> object:
            self._thread = threading.current_thread()
            try:
                return context.run(function)
            finally:
                self._thread = None

        try:
            async with thread_limiter(_LIFECYCLES):
                # What is abandoned may never end. It keeps the limiter of its own, on trio, and no
                # place that others need.
                alone = anyio.CapacityLimiter(1)
                return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=alone)
        finally:
            _take_over(context)

    def unfinished(self, name: str) -> Unfinished:
        """Return where the method is that has not ended, and what it waits for elsewhere."""
        thread = self._thread
        if thread is not None:
            what = f"{name}() in thread {thread.name!r}"
            return running_at(what, frame_of(thread.ident), self._folder)
        # A plugin that runs elsewhere says which calls its teardown waits for.
        waits_for = getattr(type(self._plugin), "_dagstack_waits_for", None)
        calls = waits_for(self._plugin) if waits_for is not None else ()
        behind = f", which waits for {', '.join(calls)}" if calls else ""
        return suspended_at(f"{name}(){behind}", self._awaiting, self._folder)

    def uncounted(self) -> float:
        """Return the seconds of the setup that are not the plugin's, as its runtime says."""
        uncounted = getattr(type(self._plugin), "_dagstack_uncounted", None)
        return 0.0 if uncounted is None else uncounted(self._plugin)


def _take_over(context: Context) -> None:
    """Set the context variables of the running task to what they are in `context`."""
    for variable, value in context.items():
        if variable.get(None) is not value:
            variable.set(value)
