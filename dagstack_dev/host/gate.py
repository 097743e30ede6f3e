"""The gate in front of a plugin: open while it is ready, closed while it is being swapped."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import anyio

from dagstack_dev.core.errors import PluginUnavailable
from dagstack_dev.host.context import current_plugin

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef

FORWARDER_FILE: Final = "<dagstack_dev proxy>"
"""The file name in the code of generated forwarding methods; tracebacks leave it out."""

_POLL_SECONDS: Final = 0.01
"""How often a drain looks for calls that end in other threads, which cannot wake it."""


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
    """

    __slots__ = (
        "_call_ended",
        "_opened",
        "_opened_for_threads",
        "_thread",
        "closed",
        "in_flight",
        "instance",
        "owner",
        "patience",
        "ref",
        "unavailable",
    )

    def __init__(self, ref: PluginRef, *, patience: float = 30.0, owner: object = None) -> None:
        self.ref = ref
        self.owner = owner
        self.instance: Any = None
        self.closed = False
        self.unavailable: str | None = None
        self.in_flight: list[None] = []
        self.patience = patience
        self._opened: anyio.Event | None = None
        self._opened_for_threads: threading.Event | None = None
        self._call_ended: anyio.Event | None = None
        self._thread = 0

    def close(self) -> None:
        """Hold new calls back until `open` or `give_up`. To be called on the loop's thread."""
        self.unavailable = None
        if self._opened is None:  # It was open, or had given up.
            self._thread = threading.get_ident()
            self._opened = anyio.Event()
            self._opened_for_threads = threading.Event()
        self.closed = True

    def open(self) -> None:
        """Let calls pass, waiting ones included."""
        self.unavailable = None
        self.closed = False
        self._release()

    def give_up(self, reason: str) -> None:
        """Refuse calls, waiting ones included, with `reason`."""
        self.unavailable = reason
        self.closed = True
        self._release()

    def _release(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.set()
        for_threads, self._opened_for_threads = self._opened_for_threads, None
        if for_threads is not None:
            for_threads.set()

    async def drain(self, seconds: float) -> int:
        """Wait until no call is in flight, at most `seconds`; the answer is how many still are.

        The gate must be closed.
        """
        if self.in_flight:
            with anyio.move_on_after(seconds):
                while self.in_flight:
                    self._call_ended = anyio.Event()
                    with anyio.move_on_after(_POLL_SECONDS):
                        await self._call_ended.wait()
            self._call_ended = None
        return len(self.in_flight)

    def call_ended(self) -> None:
        """A call that began before the gate was closed has ended."""
        ended = self._call_ended
        if ended is not None and not self.in_flight and threading.get_ident() == self._thread:
            ended.set()

    async def wait(self) -> None:
        """Hold an asynchronous call back while the gate is closed. The call's mark is lifted.

        Raises:
            PluginUnavailable: the plugin is not coming back, or not within `patience` seconds.
        """
        if self._is_own_call():
            return
        self.in_flight.pop()
        try:
            with anyio.move_on_after(self.patience):
                while self.closed and self._opened is not None:
                    await self._opened.wait()
        finally:
            self.in_flight.append(None)
        if self.closed:
            raise self._refusal(f"it is being reloaded, and was for {self.patience:g} s")

    def wait_in_thread(self) -> None:
        """Hold a synchronous call back while the gate is closed. The call's mark is lifted.

        Raises:
            PluginUnavailable: as `wait`; and at once on the loop's own thread, where waiting
                would keep the plugin from ever coming back.
        """
        if self._is_own_call():
            return
        if threading.get_ident() == self._thread and self.unavailable is None:
            reason = (
                "it is being reloaded, and a synchronous call cannot wait on the event loop's "
                "thread; make the method async, or list the plugin in depends_on"
            )
            raise PluginUnavailable(self.ref, reason)
        self.in_flight.pop()
        try:
            waiting = self._opened_for_threads
            while self.closed and waiting is not None and waiting.wait(self.patience):
                waiting = self._opened_for_threads
        finally:
            self.in_flight.append(None)
        if self.closed:
            raise self._refusal(f"it is being reloaded, and was for {self.patience:g} s")

    def _refusal(self, reason: str) -> PluginUnavailable:
        return PluginUnavailable(self.ref, self.unavailable or reason)

    def _is_own_call(self) -> bool:
        """Whether the caller is the plugin's own lifecycle, or a call that is in flight already.

        The latter holds when a forwarding method of this very gate is further up the stack: such
        a call must end before the plugin can be swapped, so it must not wait for the swap.
        """
        if self.unavailable is not None and self.instance is None:
            return False
        if current_plugin.get() == self.ref:
            return True
        frame = sys._getframe(2).f_back  # noqa: SLF001 - beyond the forwarder that asks
        while frame is not None:
            if (
                frame.f_code.co_filename == FORWARDER_FILE
                and frame.f_locals.get("_dagstack_gate") is self
            ):
                return True
            frame = frame.f_back
        return False
