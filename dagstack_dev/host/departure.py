"""Several plugins about to be swapped together: until calls have ended, they still answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.host.patience import move_on_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.gate import Gate

_SILENT_SECONDS: Final = 0.05
"""How long no call may end before what is in flight counts as held by a leaving plugin itself."""


class Departure:
    """What the gates of one reload share while their plugins still answer.

    The gates close one after another, and nothing is torn down while calls end. Until then a
    call that comes from one of the plugins passes: it is part of what is waited for.

    Attributes:
        leaving: the gates that are closed, by plugin, in the order in which they closed.
        waited_at: the gates that calls have come to meanwhile.
        drained: whether calls have come to rest, and teardowns go on.
        token: stands for it where it must not be kept alive.
    """

    __slots__ = ("_awaited", "_silent", "drained", "leaving", "token", "waited_at")

    def __init__(self) -> None:
        self.leaving: dict[PluginRef, Gate] = {}
        self.waited_at: set[Gate] = set()
        self._awaited: dict[PluginRef, set[Gate]] = {}
        self._silent: set[Gate] = set()
        self.drained = False
        self.token = object()

    def add(self, gate: Gate) -> None:
        """The plugin of `gate`, which is closed, is leaving: its own calls pass from now on."""
        self.leaving[gate.ref] = gate
        for other in tuple(self._awaited.pop(gate.ref, ())):  # A thread may be adding to it.
            other.look_again()

    def note_wait(self, gate: Gate, callers: Iterable[PluginRef]) -> None:
        """A call that comes from `callers` may have to wait at `gate`. From any thread."""
        self.waited_at.add(gate)
        for ref in callers:
            if ref not in self.leaving:
                self._awaited.setdefault(ref, set()).add(gate)

    def admit(self) -> bool:
        """Let the calls that wait now go on to the instances that still answer; if any do."""
        return sum(gate.admit() for gate in tuple(self.waited_at)) > 0

    async def drain(self, gate: Gate, seconds: float) -> None:
        """Wait until no call is in flight at `gate`, or none ends any more.

        A call that does not end may be held by a task of a leaving plugin, such as one that
        reads a stream of what it depends on: only the teardown of the one ends it.
        """
        if await gate.drain(seconds, silence=_SILENT_SECONDS):
            self._silent.add(gate)

    async def come_to_rest(self, seconds: float) -> None:
        """Wait for the calls that were let in at one gate while another was drained."""
        with move_on_after(seconds):
            while left := [gate for gate in self.leaving.values() if gate.in_flight]:
                busy = [gate for gate in left if gate not in self._silent]
                if not busy:
                    return
                for gate in busy:
                    await self.drain(gate, seconds)

    def finish(self) -> None:
        """No call is in flight any more; from now on, threads are held back no longer.

        A teardown that joins a thread keeps the loop from opening the gate that the thread
        waits at.
        """
        self.drained = True
        for gate in tuple(self.waited_at):
            gate.look_again()
