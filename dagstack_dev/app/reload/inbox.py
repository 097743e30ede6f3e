"""What waits to be dealt with by the next reload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.errors import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef


@dataclass(slots=True)
class Batch:
    """Everything that came in since the last one.

    Attributes:
        paths: where file events were reported.
        everywhere: whether the whole disk is to be looked at, whatever was reported.
        forced: plugins that someone asked to be reloaded.
        crashed: plugins whose own task died, with what it raised.
        retried: plugins that failed and whose pause is over.
        unhealthy: plugins that have failed their health check too often, with the last failure.
        again: folders of plugins that are to be tried again as if they had been saved.
        done: to be set once this batch has been dealt with, each with the plugins that it was asked
            for with; None for a look everywhere.
    """

    paths: set[str] = field(default_factory=set)
    everywhere: bool = False
    forced: set[PluginRef] = field(default_factory=set)
    crashed: dict[PluginRef, BaseException | None] = field(default_factory=dict)
    retried: set[PluginRef] = field(default_factory=set)
    unhealthy: dict[PluginRef, PluginRegistryError] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    done: list[tuple[anyio.Event, frozenset[PluginRef] | None]] = field(default_factory=list)

    def join(self, later: Batch) -> None:
        """Take over everything of a batch that came in after this one."""
        self.paths |= later.paths
        self.everywhere |= later.everywhere
        self.forced |= later.forced
        self.crashed |= later.crashed
        self.retried |= later.retried
        self.unhealthy |= later.unhealthy
        self.again |= later.again
        self.done += later.done

    def __bool__(self) -> bool:
        return self.brings_news or bool(self.retried or self.unhealthy)

    @property
    def brings_news(self) -> bool:
        """Whether there is more in it than plugins to be tried again or given up."""
        return bool(
            self.paths or self.everywhere or self.forced or self.crashed or self.again or self.done
        )


class Inbox:
    """Collects what comes in until the reload loop takes it. For the loop's thread only.

    Args:
        on_filled: called with what has come in.
    """

    def __init__(self, on_filled: Callable[[Batch], None] = lambda _: None) -> None:
        self._batch = Batch()
        self._filled = anyio.Event()
        self._on_filled = on_filled
        self._asked: set[anyio.Event] = set()

    @property
    def waiting(self) -> Batch:
        """All that waits."""
        return self._batch

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._batch

    def paths(self, paths: set[str]) -> None:
        """File events were reported at `paths`."""
        self.put(Batch(paths=paths))

    def request(
        self, *, everywhere: bool = False, forced: set[PluginRef] | None = None
    ) -> anyio.Event:
        """Ask for a look everywhere, or for plugins to be reloaded; the answer is set when done."""
        done = anyio.Event()
        self._asked = {each for each in self._asked if not each.is_set()} | {done}
        refs = None if everywhere else frozenset(forced or ())
        self.put(Batch(everywhere=everywhere, forced=forced or set(), done=[(done, refs)]))
        return done

    def put(self, news: Batch) -> None:
        """Something has come in."""
        self._batch.join(news)
        self._filled.set()
        self._on_filled(news)

    def answer_all(self) -> None:
        """Whoever has asked for anything is to wait no longer."""
        for done in self._asked:
            done.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until something is there, at most `seconds`; the answer is whether it is.

        What has been put in may have been nothing.
        """
        if self.empty:
            with anyio.move_on_after(seconds if seconds is not None else float("inf")):
                await self._filled.wait()
        if self.empty:
            self._filled = anyio.Event()
        return not self.empty

    def take(self) -> Batch:
        """Everything that waits; afterwards nothing does."""
        batch, self._batch = self._batch, Batch()
        self._filled = anyio.Event()
        return batch
