"""The gate in front of a plugin: open while it is ready, closed while it is being swapped."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from dagstack_dev.core.errors import PluginUnavailable
from dagstack_dev.host.current import current_plugin
from dagstack_dev.host.patience import move_on_after, running_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from dagstack_dev.core.errors import PluginNotSetUp
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.departure import Departure
    from dagstack_dev.host.execution import Workers

FORWARDER_FILE: Final = "<dagstack_dev proxy>"
"""The file name in the code of generated forwarding methods; tracebacks leave it out."""

_FIRST_LOOK_SECONDS: Final = 0.001
_POLL_SECONDS: Final = 0.01
"""How often a drain looks for calls that end in other threads, which cannot wake it."""

_STUCK_SECONDS: Final = 0.01
"""How long no call may end before a drain lets in those that wait: others may wait for them."""

_SILENT_LOOKS: Final = 10
"""How many looks, too, the silence of a drain has to last: on a busy machine the loop may not
have run meanwhile."""

_ADMITTING_SHARE: Final = 0.25
"""The part of a drain's time in which it lets in calls that wait; the rest is for them to end."""


class TooEarly(Protocol):
    """Tells why a call must not wait for a setup, see `PluginTable.too_early`."""

    def __call__(
        self, ref: PluginRef, callers: Sequence[PluginRef], *, can_wait: bool
    ) -> PluginNotSetUp | None:
        """That, or None."""


def _never_early(*_: object, **__: object) -> None:
    """Whoever calls a plugin may wait for it."""


_making: Final = threading.Lock()
"""Held by the one of several threads that makes what all of them wait for."""

_admitted: ContextVar[tuple[object, int] | None] = ContextVar("dagstack_admitted", default=None)
"""The departure at which a call was let in, and the frame of its forwarding method.

What the call does passes as well, or no drain would ever end: tasks that it starts inherit this,
and so does whoever reads from a stream.
"""


class Gate:
    """Knows the instance that answers, the calls in flight, and whether new ones may pass.

    Forwarding methods (see `proxy`) put a mark into `in_flight` *before* they look at `closed`,
    and `close` is set *before* the marks are counted: whichever comes first, no call slips
    through. Appending to and popping from a list are atomic, so threads need no lock.

    Args:
        ref: the plugin.
        patience: how long a call waits at the closed gate, in seconds.
        owner: what must live as long as a proxy does: without its registry, a plugin could
            import nothing any more.
        too_early: why a call that is held back here must not wait, see `PluginTable.too_early`.
    """

    __slots__ = (
        "_answers",
        "_call_ended",
        "_has_news",
        "_opened",
        "_opened_for_threads",
        "_thread",
        "admissions",
        "closed",
        "departure",
        "in_flight",
        "instance",
        "owner",
        "patience",
        "ref",
        "too_early",
        "unavailable",
        "waiting",
        "workers",
    )

    def __init__(
        self,
        ref: PluginRef,
        *,
        patience: float = 30.0,
        owner: object = None,
        too_early: TooEarly = _never_early,
    ) -> None:
        self.ref = ref
        self.owner = owner
        self.too_early = too_early
        self.instance: Any = None
        self.workers: Workers | None = None
        self.closed = False
        self.unavailable: str | None = None
        self.in_flight: list[None] = []
        self.waiting: list[None] = []
        self.admissions = 0
        self.departure: Departure | None = None
        self.patience = patience
        self._answers = True
        self._has_news = False
        self._opened: anyio.Event | None = None
        self._opened_for_threads: threading.Event | None = None
        self._call_ended: anyio.Event | None = None
        self._thread = 0

    def close(self, departure: Departure | None = None, *, answers: bool = True) -> None:
        """Hold new calls back until `open` or `give_up`. To be called on the loop's thread.

        With a `departure`, the instance still answers: calls that come from the leaving plugins
        pass, and so do synchronous ones on the loop's thread, which cannot wait. Without one,
        only the plugin's own calls do. If it no longer `answers`, calls that come from the
        leaving plugins are refused: those are not swapped before the calls end.
        """
        self.unavailable = None
        self._thread = threading.get_ident()
        self.departure = departure
        self._answers = answers
        self.closed = True
        if departure is not None:
            self.look_again()  # Calls may have waited here for something else.
            if answers:
                departure.add(self)

    def open(self) -> None:
        """Let calls pass, waiting ones included."""
        self.unavailable = None
        self.departure = None
        self.closed = False
        self.look_again()

    def give_up(self, reason: str) -> None:
        """Refuse calls, waiting ones included, with `reason`."""
        self.unavailable = reason
        self.departure = None
        self.closed = True
        self.look_again()

    @property
    def is_held(self) -> bool:
        """Whether calls wait here."""
        return self.closed and self.unavailable is None

    def admit(self) -> bool:
        """Let the calls that wait now pass, if the instance still answers and if any do."""
        if self.departure is None or not self._answers or not self.waiting:
            return False
        self.admissions += 1
        self.look_again()
        return True

    def look_again(self) -> None:
        """Have the calls that wait find out whether they may pass now."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(RuntimeError):  # Their loop has been closed, and nobody waits any more.
                opened.set()
        for_threads, self._opened_for_threads = self._opened_for_threads, None
        if for_threads is not None:
            for_threads.set()

    async def drain(self, seconds: float, *, silence: float | None = None) -> int:
        """Wait until no call is in flight; the answer is how many still are.

        The gate must be closed. When no call ends for a while, those in flight may be waiting
        for calls that are held back: then these are let in, as long as the instance answers.

        Args:
            seconds: the longest wait.
            silence: how long no call may end, in seconds, before the wait is over, too. Then
                calls are let in at all gates of the departure.
        """
        if not self.in_flight:  # Nearly always, and there may be thousands of plugins.
            return 0
        now = quiet_since = anyio.current_time()
        admit_until = now + seconds * _ADMITTING_SHARE
        pause, looks = _FIRST_LOOK_SECONDS, 0
        with move_on_after(seconds):
            while self.in_flight:
                await self._wait_for_end(pause)
                pause = min(2 * pause, _POLL_SECONDS)
                now, looks = anyio.current_time(), looks + 1
                quiet = now - quiet_since
                if self._has_news or (
                    quiet >= _STUCK_SECONDS and now < admit_until and self._admit(silence)
                ):
                    self._has_news, quiet_since, looks = False, now, 0
                elif silence is not None and quiet >= silence and looks >= _SILENT_LOOKS:
                    break
        self._call_ended = None
        return len(self.in_flight)

    def _admit(self, silence: float | None) -> bool:
        departure = self.departure
        return self.admit() if silence is None or departure is None else departure.admit()

    async def _wait_for_end(self, seconds: float) -> None:
        self._call_ended = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._call_ended.wait()

    def call_ended(self) -> None:
        """A call that began before the gate was closed has ended."""
        self._has_news = True
        ended = self._call_ended
        if threading.get_ident() != self._thread:
            return
        if ended is not None and not self.in_flight:
            ended.set()
        admitted = _admitted.get()
        if admitted is not None and admitted[1] == id(sys._getframe(1)):  # noqa: SLF001 - the frame that `wait` saw
            _admitted.set(None)

    async def wait(self) -> None:
        """Hold an asynchronous call back while the gate is closed. The call's mark is lifted.

        Raises:
            PluginUnavailable: the plugin is not coming back, or not within `patience` seconds.
        """
        elsewhere = threading.get_ident() != self._thread
        admissions = self.admissions
        deadline = running_time() + self.patience
        forwarder = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
        callers = _plugins_in(forwarder.f_back)
        while not self._may_pass(callers, admissions):
            self._refuse_at(deadline)
            self._step_back()
            try:
                if elsewhere:  # Another loop, which ours could not wake.
                    await anyio.sleep(_POLL_SECONDS)
                    continue
                opened = self._opened = self._opened or anyio.Event()
                with anyio.move_on_after(deadline - running_time()):
                    await opened.wait()
            finally:
                self._step_forward()
        departure = self.departure
        if departure is not None and self.admissions != admissions and not elsewhere:
            _admitted.set((departure.token, id(forwarder)))

    async def pass_through(self) -> None:
        """Wait as an asynchronous call would, and call nothing.

        Raises:
            PluginUnavailable: as `wait`.
        """
        self.in_flight.append(None)
        try:
            if self.closed:
                await self.wait()
        finally:
            self.in_flight.pop()
            if self.closed:
                self.call_ended()

    def wait_in_thread(self) -> None:
        """Hold a synchronous call back while the gate is closed. The call's mark is lifted.

        Raises:
            PluginUnavailable: as `wait`; and at once on the loop's own thread, where waiting
                would keep the plugin from ever coming back.
        """
        callers = _plugins_in(sys._getframe(2))  # noqa: SLF001 - there is no other way to the caller
        on_loop = threading.get_ident() == self._thread
        admissions = self.admissions
        deadline = running_time() + self.patience
        while True:
            # Before we look; whatever changes after that sets it.
            opened = None if on_loop else self._event_for_threads()
            if self._may_pass(callers, admissions):
                return
            departure = self.departure
            if departure is not None and self._answers and (on_loop or departure.drained):
                return
            self._refuse_at(deadline)
            if on_loop:
                reason = (
                    "it is being reloaded, and a synchronous call cannot wait on the event "
                    "loop's thread; make the method async, or list the plugin in depends_on"
                )
                early = self.too_early(self.ref, callers, can_wait=False)
                raise early or PluginUnavailable(self.ref, reason)
            if opened is not None:
                self._step_back()
                try:
                    opened.wait(deadline - running_time())
                finally:
                    self._step_forward()

    def _event_for_threads(self) -> threading.Event:
        """What threads wait for; it is made when the first of them comes."""
        with _making:
            if self._opened_for_threads is None:
                self._opened_for_threads = threading.Event()
            return self._opened_for_threads

    def _step_back(self) -> None:
        """Lift the mark of a call that has to wait."""
        self.waiting.append(None)
        self.in_flight.pop()

    def _step_forward(self) -> None:
        """Mark the call again; it looks at the gate after that, as any other does."""
        self.in_flight.append(None)
        self.waiting.pop()

    def _may_pass(self, callers: Sequence[PluginRef], admissions: int) -> bool:
        """Whether a call, marked already, may go on.

        For whatever is answered here, the mark is counted before the instance is torn down.

        Args:
            callers: the plugins that the call comes from, the innermost first.
            admissions: how many there were here before it came.

        Raises:
            PluginUnavailable: it comes from a leaving plugin, and nothing here can answer it; or
                from a setup that must not wait for the one of this plugin.
        """
        departure = self.departure
        if departure is not None:
            departure.note_wait(self, callers)  # Before we look: whatever changes then wakes us.
        if not self.closed:
            return True
        if self._is_awaited(callers, departure):
            if departure is not None and not self._answers:
                raise self._refusal("it has failed, and what calls it is being reloaded, too")
            return True
        if departure is None and self.unavailable is None:
            error = self.too_early(self.ref, callers, can_wait=True)
            if error is not None:
                raise error
        return self.departure is not None and self.admissions != admissions

    def early_error(self) -> PluginNotSetUp | None:
        """Why the plugin lacks what is asked of it, if that is asked in the setup of another."""
        callers = _plugins_in(sys._getframe(2))  # noqa: SLF001 - there is no other way to the caller
        if not self.is_held or self.ref in callers:
            return None
        return self.too_early(self.ref, callers, can_wait=False)

    def _is_awaited(self, callers: Sequence[PluginRef], departure: Departure | None) -> bool:
        """Whether the swap waits for the call, so that the call must not wait for the swap.

        That holds for a leaving plugin's lifecycle, for a call that came through such a plugin,
        and for what was let in.
        """
        if self.unavailable is not None and self.instance is None:
            return False
        if departure is None:
            return self.ref in callers
        admitted = _admitted.get()
        let_in = admitted is not None and admitted[0] is departure.token
        return let_in or not departure.leaving.keys().isdisjoint(callers)

    def _refuse_at(self, deadline: float) -> None:
        if self.closed and (self.unavailable is not None or running_time() >= deadline):
            raise self._refusal(f"it is being reloaded, and was for {self.patience:g} s")

    def _refusal(self, reason: str) -> PluginUnavailable:
        return PluginUnavailable(self.ref, self.unavailable or reason)


def _plugins_in(frame: FrameType | None) -> list[PluginRef]:
    """The plugins that a call comes from, whose caller is `frame`, the innermost first.

    Those with a forwarding method further up the stack, for they are in flight themselves, and
    whose lifecycle or task it is.
    """
    found: dict[PluginRef, None] = {}
    while frame is not None:
        if frame.f_code.co_filename == FORWARDER_FILE:
            gate = frame.f_locals.get("_dagstack_gate")
            if gate is not None:
                found[gate.ref] = None
        frame = frame.f_back
    own = current_plugin.get()
    return [*found] if own is None else [*found, own]
