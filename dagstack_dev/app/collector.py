"""From file events to changes that can be believed: the first step of a reload."""

from __future__ import annotations

import os
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
        on_problem: called with a path and a message for the user.
    """

    def __init__(
        self,
        disk: DiskView,
        inbox: Inbox,
        *,
        doubt_seconds: float,
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._disk = disk
        self._inbox = inbox
        self._doubt_seconds = doubt_seconds
        self._on_problem = on_problem
        self._git = GitLocks(disk.roots)
        self.own_writes = OwnWrites()

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
        changes = self._without_outputs(changes)
        self._disk.accept(changes)
        return changes

    async def _more(self, batch: Batch, seconds: float) -> bool:
        """Let what comes in within `seconds` join `batch`; the answer is whether anything did."""
        if not await self._inbox.wait(seconds):
            return False
        batch.join(self._inbox.take())
        return True

    def _without_outputs(self, changes: DiskChanges) -> DiskChanges:
        outputs = self.own_writes.found_in(changes)
        if not outputs:
            return changes
        for path in outputs:
            self._disk.mute(path)
            name = os.path.basename(path)  # noqa: PTH119 - a string is all there is
            self._on_problem(
                path,
                "its plugin writes this file on every setup; ignoring it from now on "
                f"(--ignore {name!r} to ignore it from the start)",
            )
        return self._disk.look([now.folder for _, now in changes.changed])
