"""From file events to changes that can be believed: the first step of a reload."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from dagstack_dev.app.outputs import OwnWrites
from dagstack_dev.disk.settling import GitLocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.app.inbox import Batch, Inbox
    from dagstack_dev.disk.snapshot import DiskChanges, DiskView

MANY_FOLDERS: Final = 2
"""Changed folders from which a batch is taken for a part of something larger."""

DOUBT_LIMIT_SECONDS: Final = 3.0
"""How long a batch may be held back in all because it looks unfinished."""


class Collector:
    """Looks at the disk until what it sees is what there is.

    Args:
        disk: what is compared with.
        inbox: where more may come in meanwhile.
        doubt_seconds: how long something unfinished is given to go on.
        later: called with a folder and seconds, to have the folder looked at again then.
        on_problem: called with a path and a message for the user.
    """

    def __init__(
        self,
        disk: DiskView,
        inbox: Inbox,
        *,
        doubt_seconds: float,
        later: Callable[[str, float], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._disk = disk
        self._inbox = inbox
        self._doubt_seconds = doubt_seconds
        self._git = GitLocks(disk.roots, on_problem)
        self.own_writes = OwnWrites(later=later, on_problem=on_problem)

    async def collect(self, batch: Batch) -> DiskChanges:
        """What `batch` has changed on disk; accepted, so that it is not seen again.

        A save that looks unfinished, or looks like part of something larger such as a branch
        switch, is given time to go on, again and again while more comes in, which joins `batch`.
        """
        give_up_at = perf_counter() + DOUBT_LIMIT_SECONDS
        while True:
            believe = perf_counter() >= give_up_at
            if await self._git.released(give_up_at):
                await self._more(batch, self._doubt_seconds)
            hints = {path for path in batch.paths if self._disk.counts(path)}
            changes = self._disk.look(None if batch.everywhere else hints, believe=believe)
            if believe:
                break
            if changes.unsettled:
                more = await self._more(batch, self._doubt_seconds)
            elif len(changes.changed) >= MANY_FOLDERS:
                more = await self._more(batch, self._doubt_seconds / 5)
            else:
                break
            if not more:
                give_up_at = 0.0  # It has been quiet: what is seen is what there is.
        changes = self.own_writes.without_held(changes)
        self._disk.accept(changes)
        return changes

    async def _more(self, batch: Batch, seconds: float) -> bool:
        """Let what comes in within `seconds` join `batch`; the answer is whether anything did."""
        if not await self._inbox.wait(seconds):
            return False
        batch.join(self._inbox.take())
        return True
