"""The gate in front of a plugin: open while it is ready, closed while it is being swapped."""

from __future__ import annotations

import inspect
import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from dagstack_dev.core.defaults import CALL_PATIENCE
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.timeline import Call
from dagstack_dev.host.calls.current import plugins_calling
from dagstack_dev.host.calls.drain import POLL_SECONDS, Calls
from dagstack_dev.host.loop.limits import running_time
from dagstack_dev.host.loop.stacks import gate_of, is_of_app
from dagstack_dev.host.loop.tasks import thread_limiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from anyio import CapacityLimiter

    from dagstack_dev.core.errors.calls import PluginNotSetUp
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.calls.drain import Drain


class TooEarly(Protocol):
    """Tells why a call must not wait for a setup, as `host.plugins.early_calls` does."""

    def __call__(
        self, ref: PluginRef, callers: Sequence[PluginRef], *, can_wait: bool
    ) -> PluginNotSetUp | None:
        """Return that, or None."""


@dataclass(slots=True)
class GateRules:
    """What holds for all gates of a registry.

    Attributes:
        too_early: why a call that is held back must not wait.
        patience: how long a call waits at a closed gate, in seconds.
        owner: what must live as long as a proxy does: without its registry, a plugin could
            import nothing any more.
    """

    too_early: TooEarly
    patience: float = CALL_PATIENCE
    owner: object = None


_re_entrant: ContextVar[tuple[object, int] | None] = ContextVar("dagstack_re_entrant", default=None)
"""The drain at which a call was let in, and the frame of its forwarding method.

What the call does passes as well, or no drain would ever end: tasks that it starts inherit this,
and so does what reads from a stream.
"""


class Gate:
    """Knows the instance that answers, and whether new calls may pass.

    Forwarding methods (see `proxy`) put a mark into `calls.in_flight` *before* they look at
    `closed`, and that is set *before* the marks are counted: whichever comes first, no call slips
    through.

    Args:
        ref: the plugin.
        rules: what holds for all gates of the registry.

    Attributes:
        ref: the plugin.
        rules: what holds for all gates of the registry.
        calls: those in flight, and those that wait here.
        instance: what calls go to.
        closed: whether new calls wait, or are refused.
        refusal: why calls are refused; None while they are not.
        in_threads: whether public plain methods run in worker threads, and not where the caller is.
    """

    __slots__ = (
        "_answers",
        "_limit",
        "_thread",
        "calls",
        "closed",
        "in_threads",
        "instance",
        "ref",
        "refusal",
        "rules",
    )

    def __init__(self, ref: PluginRef, rules: GateRules) -> None:
        self.ref = ref
        self.rules = rules
        self.calls = Calls(ref)
        self.instance: Any = None
        self.in_threads = False
        self._limit: RunVar[CapacityLimiter] = RunVar("dagstack_threads")
        self.closed = False
        self.refusal: str | None = None
        self._answers = True
        self._thread = 0

    def close(self, drain: Drain | None = None, *, answers: bool = True) -> None:
        """Hold new calls back until `open` or `refuse`. To be called on the loop's thread.

        In a `drain`, the instance still answers: calls that come from the leaving plugins pass,
        and so do synchronous ones on the loop's thread, which cannot wait. Without one, only the
        plugin's own calls do.

        Args:
            drain: what waits for the calls in flight, as long as the instance answers.
            answers: whether it does. If not, calls that come from the leaving plugins are refused:
                those are not swapped before the calls end.
        """
        self.refusal = None
        self._thread = threading.get_ident()
        self.calls.drain = drain
        self._answers = answers
        self.closed = True
        if drain is not None:
            self.calls.look_again()  # Calls may have waited here for something else.

    def open(self) -> None:
        """Let calls pass, waiting ones included."""
        self.refusal = None
        self.calls.drain = None
        self.closed = False
        self.calls.look_again()

    def refuse(self, reason: str) -> None:
        """Refuse calls, waiting ones included, with `reason`."""
        self.refusal = reason
        self.calls.drain = None
        self.closed = True
        self.calls.look_again()

    @property
    def is_held(self) -> bool:
        """Whether calls wait here."""
        return self.closed and self.refusal is None

    def call_ended(self) -> None:
        """Note that a call has ended that began before the gate was closed."""
        drain, is_on_loop = self.calls.drain, threading.get_ident() == self._thread
        forwarder = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
        if drain is not None:
            drain.has_news = True
            if not self.calls.in_flight:
                drain.note_end(self.ref, self._call_by(forwarder))
                if is_on_loop:
                    drain.wake()
        if not is_on_loop:
            return
        re_entrant = _re_entrant.get()
        if re_entrant is not None and re_entrant[1] == id(forwarder):  # It is the one `wait` saw.
            _re_entrant.set(None)

    def _call_by(self, forwarder: FrameType) -> Call | None:
        """Return the call that a frame forwards; None for one that does not."""
        if gate_of(forwarder) is not self:
            return None
        method, site = forwarder.f_code.co_name, forwarder.f_back
        caller = next(iter(plugins_calling(site)), None)
        if site is None or not is_of_app(site):
            return Call(method, caller)
        return Call(method, caller, site.f_code.co_filename, site.f_lineno)

    async def wait(self) -> None:
        """Hold an asynchronous call back while the gate is closed. The call's mark is lifted.

        Raises:
            PluginUnavailable: the plugin is not coming back, or not within `patience` seconds.
        """
        calls, elsewhere = self.calls, threading.get_ident() != self._thread
        times_let_in = calls.times_let_in
        deadline = running_time() + self.rules.patience
        forwarder = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
        callers = plugins_calling(forwarder.f_back)
        while not self._may_pass(callers, times_let_in):
            self._refuse_at(deadline)
            with calls.held_back():
                if elsewhere:  # Another loop, which ours could not wake.
                    await anyio.sleep(POLL_SECONDS)
                    continue
                with anyio.move_on_after(deadline - running_time()):
                    await calls.change().wait()
        if calls.drain is not None and calls.times_let_in != times_let_in and not elsewhere:
            _re_entrant.set((calls.drain.token, id(forwarder)))

    async def pass_through(self) -> None:
        """Wait as an asynchronous call would, and call nothing.

        Raises:
            PluginUnavailable: as `wait`.
        """
        self.calls.in_flight.append(None)
        try:
            if self.closed:
                await self.wait()
        finally:
            self.calls.in_flight.pop()
            if self.closed:
                self.call_ended()

    def wait_in_thread(self) -> None:
        """Hold a synchronous call back while the gate is closed. The call's mark is lifted.

        Raises:
            PluginUnavailable: as `wait`; and at once on the loop's own thread, where waiting
                would keep the plugin from ever coming back.
        """
        callers = plugins_calling(sys._getframe(2))  # noqa: SLF001 - there is no other way to the caller
        on_loop = threading.get_ident() == self._thread
        times_let_in = self.calls.times_let_in
        deadline = running_time() + self.rules.patience
        while True:
            # Before we look; whatever changes after that sets it.
            change = None if on_loop else self.calls.change_for_threads()
            if self._may_pass(callers, times_let_in):
                return
            drain = self.calls.drain
            if drain is not None and self._answers and (on_loop or drain.is_over):
                return
            self._refuse_at(deadline)
            if change is None:
                reason = (
                    "it is being reloaded, and a synchronous call cannot wait on the event "
                    "loop's thread; make the method async, or list the plugin in depends_on"
                )
                early = self.rules.too_early(self.ref, callers, can_wait=False)
                raise early or PluginUnavailable(self.ref, reason)
            with self.calls.held_back():
                change.wait(deadline - running_time())

    def _may_pass(self, callers: Sequence[PluginRef], times_let_in: int) -> bool:
        """Return whether a call, marked already, may go on.

        For whatever is answered here, the mark is counted before the instance is torn down. What
        the swap itself waits for passes, as it must not wait for the swap: a leaving plugin's
        lifecycle, a call that came through such a plugin, and what was let in.

        Args:
            callers: the plugins that the call comes from, the innermost first.
            times_let_in: how many there were here before it came.

        Raises:
            PluginUnavailable: it comes from a leaving plugin, and nothing here can answer it; or
                from a setup that must not wait for the one of this plugin.
        """
        drain = self.calls.drain
        if not self.closed:
            return True
        if drain is None:
            if self.ref in callers and (self.refusal is None or self.instance is not None):
                return True
            if self.refusal is None:
                error = self.rules.too_early(self.ref, callers, can_wait=True)
                if error is not None:
                    raise error
            return False
        re_entrant = _re_entrant.get()
        let_in = re_entrant is not None and re_entrant[0] is drain.token
        if not let_in and drain.draining.isdisjoint(callers):
            return self._answers and self.calls.times_let_in != times_let_in
        if not self._answers:
            raise self._unavailable("it has failed, and what calls it is being reloaded, too")
        return True

    def early_error(self) -> PluginNotSetUp | None:
        """Return why the plugin lacks what is asked of it in the setup of another."""
        callers = plugins_calling(sys._getframe(2))  # noqa: SLF001 - there is no other way to the caller
        if not self.is_held or self.ref in callers:
            return None
        return self.rules.too_early(self.ref, callers, can_wait=False)

    def _refuse_at(self, deadline: float) -> None:
        if self.closed and (self.refusal is not None or running_time() >= deadline):
            raise self._unavailable(f"it is being reloaded, and was for {self.rules.patience:g} s")

    def _unavailable(self, reason: str) -> PluginUnavailable:
        return PluginUnavailable(self.ref, self.refusal or reason)

    async def call_in_thread(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a worker thread, in a copy of the caller's context variables.

        What it returns is awaited here when that can be: a decorator may hide an `async def`.

        A plugin has a limit of its own, so that one whose calls hang takes no thread from others.
        It outlives `threads`: who waited at the gate, or has kept a method, still comes here.

        As with anyio and trio themselves, the cancellation of a caller waits until its thread has
        ended. One that asyncio's own `Task.cancel` brings about cannot be held back; therefore a
        thread has a mark besides that of its caller, and a drain counts it to its end.
        """
        is_abandoned = False

        def run() -> Any:
            self.calls.in_flight.append(None)  # Before it looks: either mark covers the call.
            try:
                return None if is_abandoned else function()
            finally:
                self.calls.in_flight.pop()
                if self.closed:
                    self.call_ended()

        try:
            result = await anyio.to_thread.run_sync(run, limiter=thread_limiter(self._limit))
        except BaseException:
            is_abandoned = True  # Before the caller's mark is lifted.
            raise
        return await result if inspect.isawaitable(result) else result
