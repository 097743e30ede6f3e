"""What waits to be dealt with by the next reload."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.timeline import Edit, Look

CRASHED: Final = "a task of its own ended it"
UNHEALTHY: Final = "unhealthy"
TRIED_AGAIN: Final = "tried again"
"""Why plugins are reloaded that have not been edited."""


class Happening(NamedTuple):
    """What has happened to a plugin other than an edit.

    Attributes:
        ref: the plugin.
        reason: `CRASHED`, `UNHEALTHY` or `TRIED_AGAIN`.
        error: what is wrong with what runs; None where a pause before a retry is over.
    """

    ref: PluginRef
    reason: str
    error: PluginRegistryError | None = None


@dataclass(eq=False, slots=True)
class Request:
    """What the app has asked for.

    Attributes:
        refs: the plugins to be reloaded; None for a look at the whole disk.
        is_taken_in: whether it has been part of a batch.
        done: set once it has been dealt with.
    """

    refs: frozenset[PluginRef] | None
    is_taken_in: bool = False
    done: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class Batch:
    """Everything that came in since the last one.

    Attributes:
        paths: where file events were reported.
        requests: what was asked for.
        happened: what has happened to plugins by itself.
        again: why plugins are to be tried again, as if they had been saved, by folder.
        since: when the first of it came in, on the clock of `time.perf_counter`.
    """

    paths: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    happened: list[Happening] = field(default_factory=list)
    again: dict[str, str] = field(default_factory=dict)
    since: float = inf

    def join(self, later: Batch) -> None:
        """Take over everything of a batch that came in after this one."""
        self.paths |= later.paths
        self.requests += later.requests
        self.happened += later.happened
        self.again |= later.again
        self.since = min(self.since, later.since)

    def __bool__(self) -> bool:
        return bool(self.paths or self.requests or self.happened or self.again)

    @property
    def everywhere(self) -> bool:
        """Whether the whole disk is to be looked at, whatever was reported."""
        return any(each.refs is None for each in self.requests)

    @property
    def asked(self) -> set[PluginRef]:
        """The plugins that are to be reloaded though nothing may have changed."""
        return {ref for each in self.requests for ref in each.refs or ()}


@dataclass(frozen=True, slots=True)
class Occasion:
    """What has come in, for which a reload is under way.

    Attributes:
        number: of what has come in.
        paths: where that was.
        began: when the reload began, on the clock of `time.perf_counter`.
        edits: the files that have changed, as far as they are kept.
        looks: how the time went by until all was read.
        is_first: whether this is the first start, which is no reload.
    """

    number: int
    paths: Sequence[str] = ()
    began: float = 0.0
    edits: tuple[Edit, ...] = ()
    looks: tuple[Look, ...] = ()
    is_first: bool = False

    def going_on(self) -> Occasion:
        """Return the same for a further reload, which begins now with what is left of it."""
        return replace(self, began=perf_counter(), looks=())


class Inbox:
    """Collects what comes in until the reload loop takes it. For the loop's thread only.

    Args:
        on_filled: called with what has come in.
        on_held: called when something is held back, and when nothing is any more.

    Attributes:
        waiting: all that waits.
        deferred: what has been taken, and has to wait for what is being built.
        requests: what was asked for and is not answered yet.
        held: the paths that file events have reported since it was paused; None when it is not.
    """

    def __init__(
        self,
        on_filled: Callable[[Batch], None] = lambda _: None,
        on_held: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_filled = on_filled
        self._on_held = on_held
        self.waiting = Batch()
        self.deferred = Batch()
        self.requests: list[Request] = []
        self.held: frozenset[str] | None = None
        self._filled = anyio.Event()

    def pause(self, *, paused: bool) -> None:
        """Hold back what file events report, or take in what was held back."""
        held = self.held or frozenset()
        self.held = held if paused else None
        if held and not paused:
            self.put_paths({*held})
            self._on_held()

    @property
    def empty(self) -> bool:
        """Whether nothing waits, but for what is deferred."""
        return not self.waiting

    def put_paths(self, paths: set[str]) -> None:
        """Take in that file events were reported at `paths`."""
        if self.held is not None:
            self.held |= paths
            self._on_held()
        else:
            self.put(Batch(paths=paths))

    def request(self, refs: Iterable[PluginRef] | None) -> anyio.Event:
        """Ask for plugins to be reloaded, or for a look everywhere.

        Returns:
            Set when that has been done.
        """
        request = Request(None if refs is None else frozenset(refs))
        self.requests.append(request)
        self.put(Batch(requests=[request]))
        return request.done

    def happens(
        self, ref: PluginRef, reason: str, error: PluginRegistryError | None = None
    ) -> None:
        """Take in what has happened to a plugin; see `Happening`."""
        self.put(Batch(happened=[Happening(ref, reason, error)]))

    def put(self, news: Batch) -> None:
        """Take in `news`; `wait` ends even if there is nothing in it."""
        news.since = perf_counter()
        self.waiting.join(news)
        self._filled.set()
        self._on_filled(news)

    def put_deferred(self) -> None:
        """Let what was deferred wait with the rest; `wait` ends even if nothing was."""
        deferred, self.deferred = self.deferred, Batch()
        self.put(deferred)

    async def wait(self, seconds: float | None) -> bool:
        """Wait until something is put in, at most `seconds`; False when they are over."""
        with anyio.move_on_after(seconds if seconds is not None else float("inf")):
            await self._filled.wait()
        return self._filled.is_set()

    def take(self) -> Batch:
        """Take out all that waits."""
        batch, self.waiting = self.waiting, Batch()
        self._filled = anyio.Event()
        return batch

    def answer(self, is_due: Callable[[Request], bool]) -> None:
        """Answer the requests that have been taken in, but for those that are still `is_due`."""
        for each in self.requests:
            if each.is_taken_in and not is_due(each):
                each.done.set()
        self.requests = [each for each in self.requests if not each.done.is_set()]

    def answer_all(self) -> None:
        """Answer every request, for nothing will be done any more."""
        for each in self.requests:
            each.done.set()
