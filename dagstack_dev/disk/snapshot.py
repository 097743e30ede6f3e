"""What is on disk, as last looked at: plugin folders, modules and single files.

File events are hints: they say where to look. What counts is the content that is found there.
"""

from __future__ import annotations

from copy import copy
from itertools import filterfalse
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from dagstack_dev.disk.faults import faults_of
from dagstack_dev.disk.plugin_folders import PluginFolders
from dagstack_dev.disk.single_files import SingleFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from dagstack_dev.core.sources import PluginSource, SourceFile
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.disk.module_source import ModuleSource
    from dagstack_dev.disk.reading import Stamp
    from dagstack_dev.disk.single_files import RunningCode

_T = TypeVar("_T")


class News(NamedTuple):
    """What differs from what was last handed on.

    Attributes:
        folders: what was handed on, by the folder of a plugin or what stands for it; None where
            there was none.
        files: likewise, by the path of a single file.
    """

    folders: dict[str, PluginSource | None]
    files: dict[str, SourceFile | None]


class Snapshot:
    """What is on disk below some roots, and single files anywhere, as last looked at.

    Args:
        roots: absolute folders with plugins, as `root_folder` returns them.
        ignore: what does not count.
        code_roots: further folders with code that plugins import.
        modules: plugins that are imported by name.
        files: absolute paths of single files, such as a configuration.
        code: what runs of the code that plugins share; its files are single files, too.

    Attributes:
        folders: the plugin folders.
        files: the single files.
        news: what has changed. Whatever is handed on is taken out of it.
    """

    def __init__(
        self,
        roots: Sequence[str],
        ignore: IgnoreRules,
        *,
        code_roots: Sequence[str] = (),
        modules: Collection[ModuleSource] = (),
        files: Iterable[str] = (),
        code: RunningCode | None = None,
    ) -> None:
        watched = (each.path for each in modules if each.is_watched and each.path)
        self.folders = PluginFolders(roots, ignore)
        self.files = SingleFiles({*files, *watched}, code, (*roots, *code_roots), ignore)
        self.news = News({}, {})
        self._modules = {each.folder: each for each in modules}
        self._of_modules: dict[str, PluginSource] = {}

    def source(self, folder: str) -> PluginSource | None:
        """Return the plugin in `folder`, or what that stands for; None where there is none."""
        return self.folders.sources.get(folder) or self._of_modules.get(folder)

    def file(self, path: str) -> SourceFile | None:
        """Return what a single file holds; None where there is none."""
        seen = self.files.seen(path)
        return None if seen is None else seen.file

    def see(self, ran: Mapping[str, Hashable]) -> set[str]:
        """Look at single files that were never looked at, so that a save of them is seen.

        Args:
            ran: their paths, each with the fingerprint of what code was run from there.

        Returns:
            Those that hold something else by now, which is news.
        """
        edited = set[str]()
        for path in filterfalse(self.files.has_seen, ran):
            file = self.file(path)
            if ran[path] != (None if file is None else file.fingerprint):
                edited.add(path)
        self.news.files.update(dict.fromkeys(edited))
        return edited

    def take_touched(self) -> set[str]:
        """Return the files that were saved since they were last read, changed or not; each once."""
        touched = self.folders.touched | self.files.touched
        self.folders.touched, self.files.touched = set(), set()
        return touched

    def knows(self, path: str) -> bool:
        """Return whether `take_touched` has whatever is saved at `path`."""
        return self.folders.plugin_at(path) is not None or self.files.has_seen(path)

    def counts(self, path: str) -> bool:
        """Return whether an event at `path` may be about a plugin's folder or shared code."""
        return self.folders.counts(path) or self.files.counts(path)

    def is_watched(self, folder: str) -> bool:
        """Return whether a plugin in `folder`, or what that stands for, would be seen."""
        return folder in self._modules or self.folders.counts(folder)

    def look(self, hints: Iterable[str] | None = None) -> News:
        """Look at what is on disk, and take it.

        Args:
            hints: absolute paths where something may have happened; None looks everywhere.

        Returns:
            `news`.
        """
        hints = None if hints is None else {*hints}
        folders = self.folders.look(hints)
        files = self.files.look(hints)
        for name, module in self._modules.items():
            if name not in self._of_modules or (module.is_watched and module.path in files):
                folders |= self._take_module(name, module)
        _add(self.news.folders, folders, self.source)
        _add(self.news.files, files, self.file)
        return self.news

    def _take_module(self, name: str, module: ModuleSource) -> dict[str, PluginSource | None]:
        before, now = self._of_modules.pop(name, None), module.source(self.file)
        if now is not None:
            self._of_modules[name] = now
        return {} if now == before else {name: before}

    def unfinished(self) -> set[str]:
        """Return where the news look as if they were still being written: where to look again.

        That is a plugin that has come or gone, and a file that has been emptied or is gone.
        """
        plugins = ((folder, old, self.source(folder)) for folder, old in self.news.folders.items())
        files = ((path, self.file(path)) for path in self.news.files)
        return {
            *(folder for folder, old, now in plugins if old is None or looks_unfinished(old, now)),
            *(path for path, now in files if now is None or now.is_empty),
        }

    def faults(self) -> dict[str, str]:
        """Find what the disk does not let us see, and what is too much to see, in the news.

        Returns:
            Messages by path.
        """
        faults = {
            folder: f"cannot be searched: {reason}; what runs from it goes on, new plugins in it "
            "are not found"
            for folder, reason in self.folders.denied.items()
        }
        for source in filter(None, map(self.source, self.news.folders)):
            faults.update({fault.path: fault.message for fault in faults_of(source)})
        return faults

    def copy(self) -> Snapshot:
        """Copy what was last looked at, without news, for looks that leave this one alone."""
        other = _copy(self)
        other.folders, other.files, other.news = (
            _copy(self.folders),
            _copy(self.files),
            News({}, {}),
        )
        return other

    def changed(self) -> dict[str, object]:
        """Return the paths that the news are of, and what is there.

        Of a plugin these are the files that differ; the folder, if it has come or gone.
        """
        found: dict[str, object] = {path: self.file(path) for path in self.news.files}
        for folder, before in self.news.folders.items():
            now = self.source(folder)
            if before is None or now is None:
                found[folder] = now
            else:
                files = before.changed_files(now)
                found |= {f"{now.home}/{path}": now.files.get(path) for path in files}
        return found

    def stamps_of_links(self) -> dict[str, Stamp]:
        """Return what was seen behind each link to a file."""
        return self.folders.stamps_of_links() | self.files.stamps_of_links()


def looks_unfinished(before: PluginSource, now: PluginSource | None) -> bool:
    """Return whether a file was emptied or has vanished, as half-way through a save."""
    files = {} if now is None else now.files
    return any(
        not old.is_empty and (path not in files or files[path].is_empty)
        for path, old in before.files.items()
    )


def _add(
    news: dict[str, _T | None], before: Mapping[str, _T | None], now: Callable[[str], _T | None]
) -> None:
    """Add to `news` what was there before; what is again as it was handed on is none."""
    for key, old in before.items():
        if news.setdefault(key, old) == now(key):
            del news[key]


def _copy(part: _T) -> _T:
    """Copy `part`, with dicts and sets of its own."""
    other = copy(part)
    own = {name: each.copy() for name, each in vars(part).items() if isinstance(each, dict | set)}
    vars(other).update(own)
    return other
