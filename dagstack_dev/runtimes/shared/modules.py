"""Which shared modules are there, what each of them runs, and who imports it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes.code import CodeFile, compile_file
from dagstack_dev.runtimes.shared.static_imports import with_parents
from dagstack_dev.runtimes.shared.unloading import Unloaded, restore, unload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.shared.imports import ImportLog


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


class Imported(NamedTuple):
    """What a plugin had imported, or tried to, when it failed.

    Attributes:
        code: the paths of shared code, and other plugins.
        absent: the modules that were not there.
    """

    code: AbstractSet[str | PluginRef] = frozenset()
    absent: AbstractSet[str] = frozenset()


class Reach(NamedTuple):
    """Some modules and what has imported them, directly or through others."""

    modules: frozenset[str]
    plugins: frozenset[PluginRef]


class SharedModules:
    """Shared modules by name, by file and by the package they are in.

    Args:
        log: who imports whom.
        plugin_of: the plugin that owns what the log knows by this owner, or None.
    """

    def __init__(self, log: ImportLog, plugin_of: Callable[[str], PluginRef | None]) -> None:
        self.log = log
        self._at_failure: dict[PluginRef, Imported] = {}
        log.renew = self._renew
        self._plugin_of = plugin_of
        self._running: dict[str, CodeFile] = {}
        self._paths: dict[str, str] = {}
        self._at: defaultdict[str, set[str]] = defaultdict(set)
        self._inside: defaultdict[str, set[str]] = defaultdict(set)

    def run(self, module: str, path: str) -> None:
        """`module` is about to run the file at `path`."""
        self._add(module, path)
        self.log.follow(module, module)

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

    def running(self) -> Collection[CodeFile]:
        """Return the files that run, and those that have been asked for."""
        return self._running.values()

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
        """Return what tells the content that runs of the file at `path`; None when nothing does."""
        file = self._running.get(path)
        return None if file is None else file.source.fingerprint

    def late(self) -> dict[str, SourceFile | None]:
        """Return what runs, by path, and was not there yet when a module tried to import it."""
        paths = {self._paths[name] for name in self.log.late if name in self._paths}
        running = {path: self._running.get(path) for path in paths}
        return {path: None if file is None else file.source for path, file in running.items()}

    def reach(self, modules: Iterable[str]) -> Reach:
        """`modules`, what is in them, all shared ones that import them, and the plugins that do."""
        plugins: set[PluginRef] = set()
        reached: set[str] = set()
        todo = list(modules)
        while todo:
            module = todo.pop()
            if module in reached:
                continue
            reached.add(module)
            for importer in self.log.importers(module):
                plugin = self._plugin_of(self.log.owner(importer))
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

    def note_failure(self, ref: PluginRef, package: str) -> None:
        """Note what `ref`, whose `package` this is, has imported: it may be forgotten soon."""
        names = self.log.reached_by(package)
        plugins = (self._plugin_of(".".join(each.split(".")[:3])) for each in names)
        found = {*map(self._paths.get, names), *plugins}
        code = {each for each in found if each is not None} - {ref}
        self._at_failure[ref] = Imported(code, set(filter(self.log.is_absent, names)))

    def take_failure(self, ref: PluginRef) -> Imported:
        """Return what `ref` had imported when it last failed; told once."""
        return self._at_failure.pop(ref, Imported())

    # Changing it

    def release(self, files: Mapping[str, CodeFile | None], modules: Iterable[str]) -> None:
        """Changes that no plugin imports: `modules` are renewed when a plugin comes to do so."""
        self.exchange(files)
        self.log.stale |= self._paths.keys() & modules
        self.accept(files)

    def accept(self, paths: Iterable[str]) -> None:
        """What was to get the files at `paths` has had the chance."""
        for path in paths:
            for name in self._at.get(path, ()):
                self.log.accept(name)

    def _renew(self, importer: str, modules: Iterable[str]) -> None:
        """`importer` is about to import `modules`, which have changed since they were imported.

        A plugin gets new ones, and whatever holds the old ones goes with them. Code that no plugin
        reaches gets what it would get without us.
        """
        users = self.reach([importer])
        if users.plugins or self.log.is_plugins(importer):
            self.unload(self.reach(modules).modules)
        else:
            self.log.stale |= users.modules

    def exchange(self, files: Mapping[str, CodeFile | None]) -> dict[str, CodeFile | None]:
        """Let these files be what runs, by path; the answer is what did."""
        before = {path: self._running.get(path) for path in files}
        for path, file in files.items():
            if file is None:
                self._running.pop(path, None)
            else:
                self._running[path] = file
                file.pin_lines_again()
        return before

    def forget(self, paths: Iterable[str]) -> None:
        """Of the files at `paths` only those run that some module runs."""
        for path in paths:
            if not self._at.get(path):
                self._running.pop(path, None)

    def unload(self, names: Iterable[str]) -> dict[str, UnloadedModule]:
        """Take shared modules out of `sys.modules`; the answer is what to restore."""
        taken = {}
        for name in sorted(names):
            path = self._remove(name)
            if path is not None:
                unloaded = unload([name], name, self.log)
                if name in unloaded.imports:
                    taken[name] = UnloadedModule(path, name in self.log.stale, unloaded)
                self.log.stale.discard(name)
        return taken

    def restore(self, taken: Mapping[str, UnloadedModule]) -> None:
        """Reverse `unload`."""
        for name, (path, is_stale, unloaded) in taken.items():  # Packages before their parts.
            self._add(name, path)
            restore(unloaded, name, self.log)
            self.log.stale |= {name} if is_stale else set()

    def unload_importers(self, package: str) -> dict[str, UnloadedModule]:
        """As `unload`, for the shared modules that import a plugin's package."""
        return self.unload(self.reach([package]).modules)
