"""From file events to changes that can be believed: the first step of a reload."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio.to_thread

from dagstack_dev.app.own_writes import OwnWrites
from dagstack_dev.app.reload.inbox import Batch, Request
from dagstack_dev.core.manifest_forms import MANIFEST_NAMES
from dagstack_dev.core.timeline import Edit, Look, bounded, edits_between
from dagstack_dev.disk.git_locks import GitLocks
from dagstack_dev.disk.snapshot import looks_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.app.reload.inbox import Inbox
    from dagstack_dev.app.reload.shared import SharedFiles
    from dagstack_dev.core.sources import PluginSource, SourceFile
    from dagstack_dev.disk.snapshot import Snapshot

MANY_FOLDERS: Final = 2
"""Changed folders from which a batch is taken for a part of something larger."""

EDITED: Final = (
    *(".py", ".toml", ".js", ".mjs", ".cjs", ".ts", ".go", ".rs", ".rb", ".sh"),
    *MANIFEST_NAMES,
)
"""How the names of files end that people edit. Others change by themselves too, as logs do."""

DEBOUNCE_LIMIT_SECONDS: Final = 3.0
"""How long a batch may wait in all because it looks unfinished."""


class Collected(NamedTuple):
    """What a batch has changed on disk.

    Attributes:
        plugins: what the places now hold where a plugin has changed; None where it is gone.
        files: single files.
        shared: what differs from what runs of the code that plugins share.
        saved: the files that were saved, changed or not.
        edits: the files that have changed, as far as they are kept.
        looks: how the time went by until all this was read.
    """

    plugins: Mapping[str, PluginSource | None]
    files: AbstractSet[str]
    shared: Mapping[str, SourceFile | None]
    saved: set[str]
    edits: tuple[Edit, ...] = ()
    looks: tuple[Look, ...] = ()


class Collector:
    """Looks at the disk until what it sees is what there is.

    Args:
        snapshot: what is looked at.
        shared: what runs of code that is no plugin's.
        inbox: where more may come in meanwhile.
        debounce_seconds: how long something unfinished is given to go on.
        imported: what plugins have come to import and is not looked at yet; see
            `PluginFolders.add_imported`.
        later: called with seconds and a function, to have the function called then.
        on_problem: called with a path and a message for the user.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        shared: SharedFiles,
        inbox: Inbox,
        *,
        debounce_seconds: float,
        imported: Callable[[], Mapping[tuple[str, str], SourceFile | None]],
        later: Callable[[float, Callable[[], None]], None],
        on_problem: Callable[[str, str], None],
    ) -> None:
        self._snapshot = snapshot
        self._shared = shared
        self._inbox = inbox
        self._debounce_seconds = debounce_seconds
        self._imported = imported
        self._on_problem = on_problem
        self._reported: dict[str, str] = {}
        self._git = GitLocks(snapshot.folders.roots, on_problem)
        self.own_writes = OwnWrites(later=later, look=inbox.put_paths, on_problem=on_problem)

    async def first_look(self) -> Collected:
        """Return everything that is on disk."""
        await anyio.to_thread.run_sync(self._snapshot.look)
        self._report_faults()
        return self._hand_on(Batch(requests=[Request(None)]))

    def edited(self, batch: Batch) -> tuple[set[str], set[str]]:
        """Look at what a batch that waits has changed, and hand nothing on.

        Returns:
            The folders of plugins whose code differs or that are gone, and the single files that
            differ. What has just been emptied counts for neither: it is being saved. Nor does
            what the plugin has written itself, as while it is set up.
        """
        news = self._snapshot.look(None if batch.everywhere else batch.paths)
        folders = {
            folder for folder, before in news.folders.items() if before and self._is_edit(before)
        }
        return folders, news.files.keys() - self._snapshot.unfinished()

    def differing(self, paths: Iterable[str]) -> frozenset[str]:
        """Return the paths at or below `paths` where something differs; take nothing of it.

        Data that a plugin has written itself is left out, as it reloads nothing.
        """
        now = self._snapshot.copy()
        now.look(paths)
        return frozenset(path for path in now.changed() if not self._is_own(path, now))

    def _is_own(self, path: str, now: Snapshot) -> bool:
        folder = now.folders.plugin_at(path)
        if folder in {None, path} or path.endswith(EDITED):
            return False
        relative = path.removeprefix(f"{folder}/")
        return self.own_writes.has_written(folder, relative, now.folders.seen(folder))

    def _is_edit(self, before: PluginSource) -> bool:
        folder, now = before.folder, self._snapshot.source(before.folder)
        if now is None or folder in self.own_writes.waiting:
            return now is None
        seen = self._snapshot.folders.seen(folder)
        edited = (path for path in before.changed_files(now) if path.endswith(EDITED))
        is_own = all(self.own_writes.has_written(folder, path, seen) for path in edited)
        return not is_own and not looks_unfinished(before, now)

    async def collect(self, batch: Batch) -> Collected:
        """Return what `batch` has changed on disk; handed on once.

        A save that looks unfinished, or looks like part of something larger such as a branch
        switch, is given time to go on, again and again while more comes in, which joins `batch`.
        """
        give_up_at = perf_counter() + DEBOUNCE_LIMIT_SECONDS
        todo = Batch(paths={*batch.paths}, requests=[*batch.requests])
        looks: list[Look] = []
        while True:
            of_git = await self._git.released(give_up_at)
            looks.append(Look("debounce", perf_counter()))
            self._snapshot.folders.add_imported(self._imported())
            news = self._snapshot.look(None if todo.everywhere else todo.paths)
            self._report_faults()
            looks.append(Look("read", perf_counter()))
            todo = Batch(paths=self._snapshot.unfinished() - self.own_writes.waiting)
            if perf_counter() >= give_up_at:
                break
            is_part = of_git or len(news.folders.keys() - self.own_writes.waiting) >= MANY_FOLDERS
            if not todo and not is_part:
                break
            seconds = self._debounce_seconds / (1 if todo else 5)
            if not await self._more(seconds, batch, todo):
                give_up_at = 0.0  # It has been quiet: what is seen is what there is.
        news = self._snapshot.news
        before, files = dict(news.folders), dict(news.files)
        collected = self._hand_on(batch)
        edits = self._edits({each: before[each] for each in collected.plugins}, files)
        return collected._replace(edits=(*bounded(edits),), looks=(*looks,))

    def _edits(
        self,
        plugins: Mapping[str, PluginSource | None],
        files: Mapping[str, SourceFile | None],
    ) -> Iterator[Edit]:
        """Yield the files that differ from what was there before."""
        for path, old in sorted(files.items()):
            yield Edit(path, old, self._snapshot.file(path))
        for folder, before in plugins.items():
            yield from edits_between(before, self._snapshot.source(folder))

    async def _more(self, seconds: float, *batches: Batch) -> bool:
        """Let what comes in within `seconds` join `batches`; whether anything did."""
        if not await self._inbox.wait(seconds):
            return False
        later = self._inbox.take()
        for batch in batches:
            batch.join(later)
        return True

    def _hand_on(self, batch: Batch) -> Collected:
        """Return the news, but for what plugins have written themselves or has to wait."""
        news = self._snapshot.news
        saved = self._snapshot.take_touched()
        plugins: dict[str, PluginSource | None] = {}
        for folder in sorted(news.folders):
            before, now = news.folders[folder], self._snapshot.source(folder)
            if before is None or now is None:
                plugins[folder] = now
            else:
                seen = self._snapshot.folders.seen(folder)
                is_meant = self.own_writes.is_to_be_reloaded(before, now, seen)
                if is_meant is None:
                    continue
                if is_meant:
                    plugins[folder] = now
                else:
                    own = {f"{folder}/{path}" for path in before.changed_files(now)}
                    saved -= own
                    batch.paths -= own
            del news.folders[folder]
        files = frozenset(news.files)
        news.files.clear()
        shared = self._shared.differing(None if batch.everywhere else files)
        return Collected(plugins, files, shared, saved)

    def _report_faults(self) -> None:
        """Report what the disk does not let us see, and what is too much to see, once each."""
        for path, message in self._snapshot.faults().items():
            if self._reported.get(path) != message:
                self._reported[path] = message
                self._on_problem(path, message)
