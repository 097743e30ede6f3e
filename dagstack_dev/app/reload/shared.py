"""Code that plugins import and that is none of them: what of it differs from what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.plan import SharedNews
from dagstack_dev.disk.reading import has_changed
from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.disk.snapshot import Snapshot
    from dagstack_dev.host.plugins.entry import Revision
    from dagstack_dev.runtimes.shared.change import SharedChange
    from dagstack_dev.runtimes.shared.shared_code import SharedCode


class SharedFiles:
    """The files of shared code that differ from what runs.

    Args:
        code: the code itself, as far as it runs.
        snapshot: what is on disk.
        roots: absolute folders with shared code; those of the plugins are among them.
        ignore: what does not count below them.

    Attributes:
        known: what of it was found to differ, by path, each with its content and the number of
            the batch in which that was first seen; derived, and kept so that it is looked at again.
    """

    def __init__(
        self, code: SharedCode, snapshot: Snapshot, roots: Sequence[str], ignore: IgnoreRules
    ) -> None:
        self._snapshot = snapshot
        self._code = code
        self.known: dict[str, tuple[bytes | None, int]] = {}
        self._added = [root for root in roots if self._code.add_root(root, ignore.excludes)]

    def close(self) -> None:
        """Import nothing from the roots any more, but for what the registry discovered."""
        for root in self._added:
            self._code.remove_root(root)

    def is_meant(self, path: str) -> bool:
        """Return whether some module is imported from `path`, or would be."""
        return self._code.is_meant(path)

    def differing(self, paths: Iterable[str] | None) -> dict[str, SourceFile | None]:
        """Return what differs at `paths`, or anywhere for None, and what differed the last time.

        Likewise what runs, and came too late for a plugin that imports it.
        """
        files = self._snapshot.files
        found = files.differing(None if paths is None else {*paths, *self.known})
        return self._code.modules.late() | found

    def changed_on_disk(self) -> set[str]:
        """Return the files that differ on disk by now. May run in a thread of its own."""
        known = ((path, self._code.fingerprint(path)) for path in self._code.known())
        return {path for path, runs in known if has_changed(path, runs)}

    def news(self, contents: Mapping[str, SourceFile | None]) -> dict[str, SourceFile | None]:
        """Return those of `contents` that are neither what runs nor what they were last time."""
        return {
            path: file
            for path, file in contents.items()
            if not self._is_known(path, file) and self._code.fingerprint(path) != _fingerprint(file)
        }

    def news_at(self, paths: Iterable[str]) -> dict[str, SourceFile | None]:
        """Return the same of the files at `paths`."""
        return self.news(self._snapshot.files.differing(paths))

    def _is_known(self, path: str, file: SourceFile | None) -> bool:
        return path in self.known and self.known[path][0] == _fingerprint(file)

    def importers(self, paths: Iterable[str]) -> frozenset[PluginRef]:
        """Return the plugins that import any of the files at these paths."""
        return self._code.plugins_at(paths)

    def prepare(
        self, contents: Mapping[str, SourceFile | None], batch: int, *, is_quiet: bool
    ) -> dict[str, SharedChange]:
        """Compile `contents`; what no plugin imports is in force as soon as it is quiet.

        Args:
            contents: what differs, by path.
            batch: the number of what has come in, which says what has been on disk longer.
            is_quiet: whether no plugin is being built.

        Returns:
            The changes that are for plugins, by name.
        """
        self.known = {
            path: self.known[path] if self._is_known(path, file) else (_fingerprint(file), batch)
            for path, file in contents.items()
        }
        return {change.name: change for change in self._code.prepare(contents, is_quiet=is_quiet)}

    def news_of(self, change: SharedChange, revisions: Mapping[PluginRef, Revision]) -> SharedNews:
        """`change` for the planner.

        Args:
            change: one of those that `prepare` has returned.
            revisions: what the candidates of this reload are to be loaded from.
        """
        contents = {path: self.known[path] for path in change.files}
        revised = change.plugins & revisions.keys()
        # They would import it beside a transaction that may roll it back again.
        naming = {
            ref for ref in revisions.keys() - change.plugins if _names(revisions[ref], change)
        }
        return SharedNews(
            change.name,
            change.plugins | naming,
            frozenset(naming),
            reason=change.reason,
            files={path: known[0] for path, known in contents.items()},
            seen=max(seen for _, seen in contents.values()),
            free=frozenset(
                ref for ref in revised if change.is_broken and not _names(revisions[ref], change)
            ),
            error_for=change.error_for,
        )

    def look_at(self, news: Iterable[SharedNews]) -> None:
        """Look which of what differed does so still, `news` that were tried included."""
        for each in news:
            for path, content in each.files.items():
                if isinstance(content, bytes | None):
                    self.known.setdefault(path, (content, each.seen))
        self.known = {path: self.known[path] for path in self._differing()}

    def _differing(self) -> list[str]:
        """Return the paths of what is known, but for what runs and is late for some plugin."""
        known = self.known.items()
        return [path for path, (content, _) in known if self._code.fingerprint(path) != content]

    @property
    def behind(self) -> frozenset[PluginRef]:
        """The plugins that run with other shared code than is on disk, or without it."""
        return self.importers(self._differing()) | self._code.modules.without_late()

    def imported_by(
        self, ref: PluginRef, paths: Iterable[str]
    ) -> tuple[dict[str, bytes | None], dict[str, bytes | None]]:
        """Return the fingerprints of what `ref` imports at `paths`: of what runs, and on disk."""
        runs = {path: self._code.fingerprint(path) for path in paths}
        known = self.known.items()
        differs = {path: content for path, (content, _) in known if ref in self.importers([path])}
        return runs, runs | differs

    @property
    def differs(self) -> bool:
        """Whether anything differs, or has come too late for a plugin that imports it."""
        return bool(self.known or self._code.imports.late)

    def is_undone(self, contents: Mapping[str, SourceFile | None]) -> bool:
        """Return whether anything that differed last time is not in `contents`, all that does."""
        return not self.known.keys() <= contents.keys()


def _names(revision: Revision, change: SharedChange) -> bool:
    """Return whether `revision` may import what has changed, as far as its text says."""
    code = revision.prepared
    return isinstance(code, InProcessCode) and code.names_any_of(change.modules)


def _fingerprint(file: SourceFile | None) -> bytes | None:
    return None if file is None else file.fingerprint
