"""The task in which one instance of a plugin lives, from setup to teardown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from dagstack_dev.host.life.jobs import cancelled_by_itself
from dagstack_dev.host.loop.limits import move_on_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dagstack_dev.core.refs import PluginRef

    Method = Callable[[], Awaitable[object]]


class LifeTask:
    """Runs `setup`, waits for `stop`, and runs `teardown`; or only the latter.

    Its scope is shielded: a cancellation of the host never reaches the plugin by itself.

    Args:
        ref: the plugin.
        on_crash: called when the plugin's own scope was cancelled while it was ready, as by a
            background task in a group of its own, and its teardown has run.
        on_loop_end: called when it ends with something that its setup has left open, which can
            only be because its event loop ends.

    Attributes:
        setup_ended: set when `setup` has ended.
        stop: set when `teardown` is to run.
        ended: set when it is over.
        is_set_up: whether `setup` has gone to its end.
        is_torn_down: whether `teardown` has begun.
        answer: what that has returned.
    """

    def __init__(
        self,
        ref: PluginRef,
        on_crash: Callable[[], None],
        on_loop_end: Callable[[], None],
    ) -> None:
        self._ref = ref
        self._on_crash = on_crash
        self._on_loop_end = on_loop_end
        self._scope = anyio.CancelScope(shield=True)
        self._waiting: anyio.CancelScope | None = None
        self._error: BaseException | None = None
        self._failed_by: BaseException | None = None
        self.setup_ended, self.stop, self.ended = anyio.Event(), anyio.Event(), anyio.Event()
        self.is_set_up = self.is_torn_down = False
        self.answer: object = None

    @property
    def has_failed(self) -> bool:
        """Whether `take_error` has anything to return."""
        return self._error is not None

    def take_error(self) -> BaseException | None:
        """Return what `setup` or `teardown` has failed with, if it has, kept here no longer."""
        error, self._error = self._error, None
        return error

    def fail_setup(self, error: BaseException) -> None:
        """Have the setup that is under way fail with `error`."""
        self._failed_by = error
        self._scope.cancel()

    async def wait_for_setup(self, left: Callable[[], float]) -> bool:
        """Wait for the end of the setup for as long as any of its seconds are `left`.

        Returns:
            Whether it has ended.
        """
        while not self.setup_ended.is_set() and (seconds := left()) > 0:
            with move_on_after(seconds) as self._waiting:
                await self.setup_ended.wait()
        return self.setup_ended.is_set()

    def look_again(self) -> None:
        """Have `wait_for_setup` ask anew how much time is left."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def tear_down(self, seconds: float) -> bool:
        """Have `teardown` run, and return whether all has ended within `seconds`."""
        self.stop.set()
        with move_on_after(seconds):
            await self.ended.wait()
        return self.ended.is_set()

    async def cancel(self, grace: float) -> None:
        """Cancel all that the plugin has open, and give it `grace` seconds to end."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(grace):
            await self.ended.wait()
            # Tasks in scopes that the plugin left open get their cancellation a turn later.
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()

    async def live(self, setup: Method, teardown: Method) -> None:
        """Run both; nothing is raised, see `take_error`."""
        self._scope.__enter__()
        try:
            if await self._set_up(setup):
                self.setup_ended.set()
                await self._wait_and_tear_down(teardown)
        finally:
            if not self._leave() and not self.is_torn_down:
                self._on_loop_end()
            self.setup_ended.set()
            self.ended.set()

    async def finish(self, teardown: Method) -> None:
        """Run only `teardown`, where the task of `setup` has ended or never was."""
        self._scope.__enter__()
        try:
            await self._tear_down(teardown)
        finally:
            self._leave()
            self.ended.set()

    async def _set_up(self, setup: Method) -> bool:
        """Return whether it ended well; if not, `take_error` has why, unless it was cancelled."""
        try:
            await setup()
        except anyio.get_cancelled_exc_class() as error:
            if not self._scope.cancel_called:
                self._error = cancelled_by_itself(self._ref, "setup", error)
        except BaseException as error:  # noqa: BLE001 - see `take_error`
            self._error = error
        else:
            self.is_set_up = True
            if not self._scope.cancel_called:
                return True
        self._error = self._error or self._failed_by
        self._failed_by = None
        self._scope.cancel()
        return False

    async def _wait_and_tear_down(self, teardown: Method) -> None:
        scope, is_crashed = self._scope, False
        scope.shield = False  # On trio, the end of the loop comes as a cancellation.
        try:
            await self.stop.wait()
        except anyio.get_cancelled_exc_class():
            scope.shield = True
            if scope.cancel_called or not _scope_of_plugin_cancelled():
                raise
            is_crashed = True
        scope.shield = True
        await self._tear_down(teardown, is_crashed=is_crashed)
        if is_crashed:
            self._on_crash()

    async def _tear_down(self, teardown: Method, *, is_crashed: bool = False) -> None:
        self.is_torn_down = True
        try:
            self.answer = await teardown()
        except anyio.get_cancelled_exc_class() as error:
            if not self._scope.cancel_called and not is_crashed:
                self._error = cancelled_by_itself(self._ref, "teardown", error)
                self._scope.cancel()
        except BaseException as error:  # noqa: BLE001 - see `take_error`
            self._error = error
            self._scope.cancel()

    def _leave(self) -> bool:
        """Leave the scope, even when the plugin has left scopes of its own open inside.

        Then the scopes are not nested any more and anyio refuses; cancelled, they are harmless, for
        the task ends here.

        Returns:
            Whether none was open.
        """
        self._scope.cancel()
        try:
            self._scope.__exit__(None, None, None)
        except RuntimeError:
            return False
        return True


def _scope_of_plugin_cancelled() -> bool:
    """Return whether the cancellation just caught belongs to a scope of anyio.

    Otherwise the task itself was cancelled natively, as when an event loop shuts down.
    """
    return anyio.current_effective_deadline() == float("-inf")
