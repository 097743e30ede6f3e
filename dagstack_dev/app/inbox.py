"""What waits to be dealt with by the next reload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@dataclass(slots=True)
class Batch:
    """Everything that came in since the last one.

    Attributes:
        paths: where file events were reported.
        everywhere: whether the whole disk is to be looked at, whatever was reported.
        forced: plugins that someone asked to be reloaded.
        crashed: plugins whose own task died, with what it raised.
        done: to be set once this batch has been dealt with.
    """

    paths: set[str] = field(default_factory=set)
    everywhere: bool = False
    forced: set[PluginRef] = field(default_factory=set)
    crashed: dict[PluginRef, BaseException | None] = field(default_factory=dict)
    done: list[anyio.Event] = field(default_factory=list)

    def join(self, later: Batch) -> None:
        """Take over everything of a batch that came in after this one."""
        self.paths |= later.paths
        self.everywhere |= later.everywhere
        self.forced |= later.forced
        self.crashed |= later.crashed
        self.done += later.done

    def __bool__(self) -> bool:
        return bool(self.paths or self.everywhere or self.forced or self.crashed or self.done)


class Inbox:
    """Collects what comes in until the reload loop takes it. For the loop's thread only."""

    def __init__(self) -> None:
        self._batch = Batch()
        self._filled = anyio.Event()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._batch

    def paths(self, paths: set[str]) -> None:
        """File events were reported at `paths`."""
        self._batch.paths |= paths
        self._filled.set()

    def crash(self, ref: PluginRef, error: BaseException | None) -> None:
        """The task of a ready plugin died."""
        self._batch.crashed[ref] = error
        self._filled.set()

    def request(
        self, *, everywhere: bool = False, forced: set[PluginRef] | None = None
    ) -> anyio.Event:
        """Ask for a look everywhere, or for plugins to be reloaded; the answer is set when done."""
        done = anyio.Event()
        self._batch.everywhere |= everywhere
        self._batch.forced |= forced or set()
        self._batch.done.append(done)
        self._filled.set()
        return done

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until something is there, at most `seconds`; the answer is whether it is."""
        if self.empty:
            with anyio.move_on_after(seconds if seconds is not None else float("inf")):
                await self._filled.wait()
        return not self.empty

    def take(self) -> Batch:
        """Everything that waits; afterwards nothing does."""
        batch, self._batch = self._batch, Batch()
        self._filled = anyio.Event()
        return batch
