"""Which shared modules are there, what each of them runs, and who imports it."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from dagstack_dev.core.graph import reach
from dagstack_dev.core.ports import Imported
from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes.code import CodeFile, compile_file
from dagstack_dev.runtimes.shared.static_imports import with_parents
from dagstack_dev.runtimes.shared.unloading import Unloaded, restore, unload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.shared.imports import ImportGraph


class UnloadedModule(NamedTuple):
    """A shared module that imports find no more.

    Attributes:
        path: the file that it runs.
        is_stale: whether it was out of date.
        unloaded: the module, unless it could not be loaded, and what was known of it.
    """

    path: str
    is_stale: bool
    unloaded: Unloaded


class Reach(NamedTuple):
    """Some modules and what has imported them, directly or through others."""

    modules: frozenset[str]
    plugins: frozenset[PluginRef]


class SharedModules:
    """Shared modules by name, by file and by the package they are in.

    Args:
        imports: who imports whom.
        plugin_of: returns the plugin that owns what is known by this owner in `imports`, or None.

    Attributes:
        stale: modules that are out of date, as is whatever imports them; no plugin does.
    """

    def __init__(self, imports: ImportGraph, plugin_of: Callable[[str], PluginRef | None]) -> None:
        self.imports = imports
        self.stale: set[str] = set()
        self._plugin_of = plugin_of
        self._running: dict[str, CodeFile] = {}
        self._paths: dict[str, str] = {}
        self._at: defaultdict[str, set[str]] = defaultdict(set)
        self._inside: defaultdict[str, set[str]] = defaultdict(set)

    def run(self, module: str, path: str) -> None:
        """Note that `module` is about to run the file at `path`."""
        self._add(module, path)
        self.imports.follow(module, module)

    def _add(self, name: str, path: str) -> None:
        self._remove(name)
        self._paths[name] = path
        self._at[path].add(name)
        for package in list(with_parents(name))[1:]:
            self._inside[package].add(name)

    def _remove(self, name: str) -> str | None:
        """Forget a module; return the file that it ran, None if it is no shared module."""
        path = self._paths.pop(name, None)
        if path is not None:
            self._at[path].discard(name)
            for package in list(with_parents(name))[1:]:
                self._inside[package].discard(name)
        return path

    # What runs

    def files(self) -> Mapping[str, CodeFile]:
        """Return the files that run, and those that have been asked for, by path."""
        return self._running

    def paths(self) -> Collection[str]:
        """Return the files of all modules, those included that have none of their own."""
        return self._paths.values()

    def at(self, path: str) -> AbstractSet[str]:
        """Return the modules that run the file at `path`."""
        return self._at.get(path, frozenset())

    def file_of(self, module: str) -> CodeFile | None:
        """Return what `module` runs; None for one without a file of its own."""
        return self._running.get(self._paths[module])

    def file(self, path: str) -> CodeFile:
        """Return the compiled file at `path` as it runs; it is read when it is asked for first.

        Raises:
            OSError: it cannot be read.
        """
        known = self._running.get(path)
        if known is None:
            with open(path, "rb") as file:  # noqa: PTH123 - every import
                known = compile_file(path, SourceFile.of(file.read()))
            self._running[path] = known
        return known

    def fingerprint(self, path: str) -> bytes | None:
        """Return the fingerprint of what runs of the file at `path`; None when nothing does."""
        file = self._running.get(path)
        return None if file is None else file.source.fingerprint

    def late(self) -> dict[str, SourceFile | None]:
        """Return what runs, by path, and was not there yet when a module tried to import it."""
        paths = {self._paths[name] for name in self.imports.late if name in self._paths}
        running = {path: self._running.get(path) for path in paths}
        return {path: None if file is None else file.source for path, file in running.items()}

    def without_late(self) -> frozenset[PluginRef]:
        """Return the plugins that run without a module which was not there yet for them."""
        importers = set[str]().union(*self.imports.late.values())
        owned = {each: self._plugin_of(self.imports.owner(each)) for each in importers}
        shared = (each for each, plugin in owned.items() if plugin is None)
        return self.reach(shared).plugins.union(filter(None, owned.values()))

    def reach(self, modules: Iterable[str]) -> Reach:
        """Return `modules`, what is in them, and the shared ones and plugins that import any."""
        plugins: set[PluginRef] = set()
        reached: set[str] = set()
        todo = list(modules)
        while todo:
            module = todo.pop()
            if module in reached:
                continue
            reached.add(module)
            for importer in self.imports.importers(module):
                plugin = self._plugin_of(self.imports.owner(importer))
                if plugin is None:
                    todo.append(importer)
                else:
                    plugins.add(plugin)
            todo += self._parts(module)
        return Reach(frozenset(reached), frozenset(plugins))

    def importers_of(self, package: str) -> frozenset[PluginRef]:
        """Return the plugins that import `package`, a plugin's, directly or through shared code."""
        kind = package.rpartition(".")[0]
        return self.reach([package, kind, kind.rpartition(".")[0]]).plugins

    def _parts(self, package: str) -> Collection[str]:
        """Return the modules in a shared package, at any depth: they are bound to that package."""
        return self._inside.get(package, ()) if package in self._paths else ()

    def imported_by(self, package: str) -> Imported:
        """Return what the plugin with this package has imported or tried to, itself included."""
        names = self.imports.reached_by(package)
        plugins = (self._plugin_of(".".join(each.split(".")[:3])) for each in names)
        code: dict[str | PluginRef, bytes | None] = dict.fromkeys(filter(None, plugins))
        code |= {path: self.fingerprint(path) for path in filter(None, map(self._paths.get, names))}
        return Imported(code, frozenset(filter(self.imports.is_absent, names)))

    # Changing it

    def release(self, files: Mapping[str, CodeFile | None], modules: Iterable[str]) -> None:
        """Take changes that no plugin imports: `modules` are renewed when a plugin does."""
        self.exchange(files)
        self.stale |= self._paths.keys() & modules
        self.accept(files)

    def accept(self, paths: Iterable[str]) -> None:
        """Note that whatever was late for the files at `paths` has had its chance."""
        for path in paths:
            for name in self._at.get(path, ()):
                self.imports.accept(name)

    def renew(self, importer: str, modules: Iterable[str]) -> None:
        """Take `modules`, which are out of date and which `importer` is about to import, away.

        A plugin gets new ones, and whatever holds the old ones goes with them. Code that no plugin
        reaches gets what it would get without us.
        """
        users = self.reach([importer])
        if users.plugins or self.imports.is_plugins(importer):
            self.unload(self.reach(modules).modules)
        else:
            self.stale |= users.modules

    def drop_parts(self, names: Iterable[str]) -> None:
        """Take out of `sys.modules` what those packages have loaded of themselves that failed.

        The import system leaves it there: the next import of it would do without the package,
        which it did not at first.

        Args:
            names: what has just been imported in vain.
        """
        failed = {name for name in names if name in self._paths and name not in sys.modules}
        importers, others = self.imports.importers, self._paths.keys() - failed
        parts = [part for name in failed for part in self._parts(name)]
        for name in reach(parts, lambda part: others & {*importers(part)}):
            sys.modules.pop(name, None)

    def exchange(self, files: Mapping[str, CodeFile | None]) -> dict[str, CodeFile | None]:
        """Let these files be what runs, by path; return what did."""
        before = {path: self._running.get(path) for path in files}
        for path, file in files.items():
            if file is None:
                self._running.pop(path, None)
            else:
                self._running[path] = file
                file.pin_lines_again()
        return before

    def forget(self, paths: Iterable[str]) -> None:
        """Forget the files at `paths` that no module runs."""
        for path in paths:
            if not self._at.get(path):
                self._running.pop(path, None)

    def unload(self, names: Iterable[str]) -> dict[str, UnloadedModule]:
        """Take shared modules out of `sys.modules`; return what to restore."""
        taken = {}
        for name in sorted(names):
            path = self._remove(name)
            if path is not None:
                unloaded = unload([name], name, self.imports)
                if name in unloaded.imports:
                    taken[name] = UnloadedModule(path, name in self.stale, unloaded)
                self.stale.discard(name)
        return taken

    def restore(self, taken: Mapping[str, UnloadedModule]) -> None:
        """Reverse `unload`."""
        for name, (path, is_stale, unloaded) in taken.items():  # Packages before their parts.
            self._add(name, path)
            restore(unloaded, name, self.imports)
            if is_stale:
                self.stale.add(name)

    def unload_importers(self, package: str) -> dict[str, UnloadedModule]:
        """As `unload`, for the shared modules that import a plugin's package."""
        return self.unload(self.reach([package]).modules)
