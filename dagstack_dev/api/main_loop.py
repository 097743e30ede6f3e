"""The way into the event loop of the plugins, from the API's own; whether that loop answers."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from dagstack_dev.api.patience import have_ended
from dagstack_dev.api.problems import ServerEnded
from dagstack_dev.core.blame import innermost_of_plugins
from dagstack_dev.host.loop.tasks import is_interruption, spawn

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable

PATIENCE_SECONDS: Final = 0.5
"""How long the loop may take to answer before it counts as blocked: a busy machine is no block."""


class Blocked(NamedTuple):
    """That the loop does not answer.

    Attributes:
        seconds: for how long it has not.
        is_at_least: whether it may be longer: it is only known when it had not answered.
        at: the line that it is at, as `path:line`; empty where that is unknown.
        ref: the plugin whose file that is, if any.
    """

    seconds: float
    is_at_least: bool
    at: str
    ref: PluginRef | None


class MainLoopLink:
    """The way into the event loop of the plugins. Made there, used in the API's thread.

    Never waits for that loop in a way that would block the API's: it may be blocked itself.

    Args:
        call_soon: calls a function in that loop, from any thread.
        table: the plugins; knows whose a file is, and for how long the loop has been busy.
    """

    def __init__(self, call_soon: Callable[..., object], table: PluginTable) -> None:
        self._call_soon = call_soon
        self._table = table
        self._context = copy_context()
        self._thread = threading.get_ident()
        self._question: asyncio.Future[None] | None = None
        self._asked = 0.0
        self._under_way: set[Future[Any]] = set()
        self._has_ended = False

    def end(self) -> None:
        """Break off all calls, and take no more. In the loop of the plugins."""
        self._has_ended = True
        for future in [*self._under_way]:
            _set(future.set_exception, ServerEnded())

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in the event loop of the plugins, and await it if need be.

        Raises:
            ServerEnded: nothing can be called there any more, or the call was broken off.
            Exception: what `function` raises.
        """
        future = Future[Any]()
        try:
            self._call_soon(self._take, future, partial(function, *args))
        except RuntimeError as error:  # That loop has ended.
            raise ServerEnded from error
        return await asyncio.wrap_future(future)

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call `function` in the event loop of the plugins soon; it is not waited for."""
        with suppress(RuntimeError):  # That loop has ended.
            self._call_soon(function, *args)

    def _take(self, future: Future[Any], function: Callable[[], Any]) -> None:
        """Take a call in the loop of the plugins."""
        if self._has_ended:
            _set(future.set_exception, ServerEnded())
            return
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        spawn(partial(self._run, future, function), "dagstack-dev call", self._context.copy())

    async def _run(self, future: Future[Any], function: Callable[[], Any]) -> None:
        """Run in the loop of the plugins, until the API does not wait any more."""
        with anyio.CancelScope() as scope:

            def end(_: Future[Any]) -> None:
                with suppress(RuntimeError):  # That loop has ended.
                    self._call_soon(scope.cancel)

            future.add_done_callback(end)
            try:
                result = function()
                result = await result if inspect.isawaitable(result) else result
            except BaseException as error:
                if is_interruption(error):
                    _set(future.set_exception, ServerEnded())
                    raise
                _set(future.set_exception, error)  # Raised where it was asked for.
            else:
                _set(future.set_result, result)

    async def look(self) -> Blocked | None:
        """Return since when the loop has not answered, and where it is; None when it does."""
        if self._question is None or self._question.done():
            answer = Future[None]()
            self._question, self._asked = asyncio.wrap_future(answer), time.monotonic()
            with suppress(RuntimeError):  # That loop has ended, and does not answer.
                self._call_soon(answer.set_result, None)
        if await have_ended([self._question], PATIENCE_SECONDS):
            return None
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - there is no other way
        of_plugin = innermost_of_plugins(frame)
        ref = self._table.code.plugin_at(of_plugin.f_code.co_filename) if of_plugin else None
        frame = of_plugin or frame
        at = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        busy, is_at_least = self._table.watchdog.busy_seconds()
        seconds = max(busy, time.monotonic() - self._asked) if is_at_least else busy
        return Blocked(seconds, is_at_least, at, ref)


def _set(set_outcome: Callable[[Any], None], outcome: Any) -> None:
    """Set the outcome of a future, unless it has been cancelled meanwhile, in another thread."""
    with suppress(InvalidStateError):
        set_outcome(outcome)
