"""From file events to changes that can be believed: the first step of a reload."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio.to_thread

from dagstack_dev.app.outputs import OwnWrites
from dagstack_dev.app.write_log import WriteLog
from dagstack_dev.core.manifest_forms import MANIFEST_NAMES, differing_forms
from dagstack_dev.disk.changes import looks_unfinished
from dagstack_dev.disk.settling import GitLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.app.inbox import Batch, Inbox
    from dagstack_dev.app.shared import SharedCatalog
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.changes import DiskChanges
    from dagstack_dev.disk.modules import ModuleView
from dagstack_dev.disk.snapshot import DiskView

MANY_FOLDERS: Final = 2
"""Changed folders from which a batch is taken for a part of something larger."""

EDITED: Final = (
    *(".py", ".toml", ".js", ".mjs", ".cjs", ".ts", ".go", ".rs", ".rb", ".sh"),
    *MANIFEST_NAMES,
)
"""How the names of files end that people edit. Others change by themselves too, as logs do."""

CROWD: Final = 10_000
"""Files from which a plugin is told to hold something that is no source."""

DOUBT_LIMIT_SECONDS: Final = 3.0
"""How long a batch may be held back in all because it looks unfinished."""


class Collected(NamedTuple):
    """What a batch has changed on disk: of plugins, and of the shared code that they import."""

    plugins: DiskChanges
    shared: Mapping[str, SourceFile | None]


class Collector:
    """Looks at the disk until what it sees is what there is.

    Args:
        disk: what is compared with.
        modules: likewise, for plugins that are imported by name.
        shared: likewise, for code that is no plugin's.
        inbox: where more may come in meanwhile.
        doubt_seconds: how long something unfinished is given to go on.
        imported: what plugins have come to import that nobody has looked at yet; see
            `DiskView.add_imported`.
        later: called with a folder and seconds, to have the folder looked at again then.
        on_problem: called with a path and a message for the user.
    """

    def __init__(
        self,
        disk: DiskView,
        modules: ModuleView,
        shared: SharedCatalog,
        inbox: Inbox,
        *,
        doubt_seconds: float,
        imported: Callable[[], Mapping[tuple[str, str], SourceFile | None]],
        later: Callable[[str, float], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._disk = disk
        self._modules = modules
        self._shared = shared
        self._inbox = inbox
        self._doubt_seconds = doubt_seconds
        self._imported = imported
        self._on_problem = on_problem
        self._told: dict[str, str] = {}
        self._git = GitLocks(disk.roots, on_problem)
        self.writes = WriteLog()
        self.own_writes = OwnWrites(writes=self.writes, later=later, on_problem=on_problem)

    async def first_look(self) -> DiskChanges:
        """Everything that is on disk; accepted."""
        changes = await anyio.to_thread.run_sync(self._disk.look)
        self._tell_of_faults(changes)
        self._disk.accept(changes)
        imported = self._modules.look()
        self._modules.accept(imported)
        return changes.and_also(imported)

    def edited(self, batch: Batch) -> tuple[set[str], Mapping[str, SourceFile | None]]:
        """Look at what a batch that waits has changed, and accept nothing.

        Returns:
            The folders of plugins whose code differs or that are gone, and the shared code that
            differs. What has just been emptied counts for neither: it is being saved. Nor does
            what the plugin has written itself, as while it is set up.
        """
        named = None if batch.everywhere else batch.paths
        changes = self._disk.look(named).and_also(self._modules.look(named))
        folders = {source.folder for source in changes.removed}
        for before, now in changes.changed:
            edited = (path for path in before.changed_files(now) if path.endswith(EDITED))
            seen = changes.seen(now.folder)
            is_own = all(self.own_writes.has_written(now.folder, path, seen) for path in edited)
            if not is_own and not looks_unfinished(before, now):
                folders.add(now.folder)
        shared = self._shared.news(self._shared.view.look(named))
        return folders, {} if self._shared.looks_unfinished(shared) else shared

    async def collect(self, batch: Batch) -> Collected:
        """What `batch` has changed on disk; accepted, so that it is not seen again.

        A save that looks unfinished, or looks like part of something larger such as a branch
        switch, is given time to go on, again and again while more comes in, which joins `batch`.
        """
        give_up_at = perf_counter() + DOUBT_LIMIT_SECONDS
        while True:
            believe = perf_counter() >= give_up_at
            if await self._git.released(give_up_at):
                await self._more(batch, self._doubt_seconds)
            self._disk.add_imported(self._imported())
            hints = self._disk.counting(batch.paths)
            changes = self._disk.look(None if batch.everywhere else hints, believe=believe)
            named = None if batch.everywhere else batch.paths
            imported = self._modules.look(named, believe=believe)
            shared = self._shared.look(named)
            if believe:
                break
            doubtful = changes.unsettled or imported.unsettled
            if doubtful or self._shared.looks_unfinished(shared):
                more = await self._more(batch, self._doubt_seconds)
            elif len(changes.changed) >= MANY_FOLDERS:
                more = await self._more(batch, self._doubt_seconds / 5)
            else:
                break
            if not more:
                give_up_at = 0.0  # It has been quiet: what is seen is what there is.
        self._tell_of_faults(changes)
        changes, outputs = self.own_writes.sorted_out(changes)
        self._disk.accept(changes.and_also(outputs))
        for before, now in outputs.changed:
            batch.paths -= {f"{now.folder}/{path}" for path in before.changed_files(now)}
        self._modules.accept(imported)
        return Collected(changes.and_also(imported), shared)

    async def _more(self, batch: Batch, seconds: float) -> bool:
        """Let what comes in within `seconds` join `batch`; the answer is whether anything did."""
        if not await self._inbox.wait(seconds):
            return False
        batch.join(self._inbox.take())
        return True

    def _tell_of_faults(self, changes: DiskChanges) -> None:
        """Report what the disk does not let us see, and what is too much to see, once each."""
        faults = {
            folder: f"cannot be searched: {reason}; what runs from it goes on, new plugins in it "
            "are not found"
            for folder, reason in changes.denied.items()
        }
        for source in (*changes.added, *(now for _, now in changes.changed)):
            for path, file in source.files.items():
                if file.error is not None and not path.endswith((".py", source.manifest_name)):
                    faults[f"{source.folder}/{path}"] = (
                        f"cannot be read: {file.error}; the plugin is taken without it"
                    )
            if len(MANIFEST_NAMES & source.files.keys()) > 1:
                for name in differing_forms(source.manifest_text):
                    faults[f"{source.folder}/{name}"] = (
                        f"holds a manifest that does not count: {source.manifest_name} beside it "
                        "takes precedence and says something else"
                    )
            if len(source.files) > CROWD:
                faults[source.folder] = (
                    f"holds more than {CROWD:,} files, and all of them count as its source; "
                    "name those that are data in `ignore` of its manifest, or --ignore them"
                )
        for path, message in faults.items():
            if self._told.get(path) != message:
                self._told[path] = message
                self._on_problem(path, message)
