"""Code that plugins import and that is no plugin: helper packages, the app's own modules.

Every module whose file lies below a code root counts, under whatever name it was imported. What
a plugin has imported of them is known from the `ImportLog`; nothing outside the roots is touched.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes.code import CodeFile, compile_file
from dagstack_dev.runtimes.code_roots import CodeRoots, may_be_shared
from dagstack_dev.runtimes.shared_change import SharedChange
from dagstack_dev.runtimes.shared_finder import SharedFinder
from dagstack_dev.runtimes.static_imports import static_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.imports import ImportLog


class Reach(NamedTuple):
    """Some modules and what has imported them, directly or through others."""

    modules: frozenset[str]
    plugins: frozenset[PluginRef]


class SetAside(NamedTuple):
    """A module that imports find no more, and what it has imported."""

    module: ModuleType
    imports: set[str]


class SharedCode:
    """The modules below the code roots, and the content that each of them runs.

    Args:
        log: who imports whom.
        plugin_of: the plugin that owns what the log knows by this owner, or None.
    """

    def __init__(self, log: ImportLog, plugin_of: Callable[[str], PluginRef | None]) -> None:
        self.log = log
        self._plugin_of = plugin_of
        self._roots = CodeRoots()
        self._finder = SharedFinder(self._roots, self)
        log.renew = self.renew
        self._running: dict[str, CodeFile] = {}
        self._modules: defaultdict[str, set[str]] = defaultdict(set)

    def add_root(self, root: str, is_ignored: Callable[[str], bool]) -> bool:
        """Count the modules below `root` from now on, those that are loaded already included.

        What is below it can be imported as if `root` stood at the end of `sys.path`, or the
        folder around it when it is a package itself.

        Args:
            root: an absolute folder.
            is_ignored: whether a path relative to `root` does not count.

        Returns:
            Whether `root` did not count before.
        """
        if not self._roots.add(root, is_ignored):
            return False
        self._finder.install()
        self._adopt()
        return True

    def remove_root(self, root: str) -> None:
        """Find nothing below `root` any more."""
        self._roots.remove(root)
        self._finder.forget(root)

    def close(self) -> None:
        """Find nothing any more."""
        for root in self._roots.paths:
            self.remove_root(root)

    # What runs

    def run(self, module: str, path: str) -> None:
        """`module` is about to run the file at `path`."""
        self._modules[path].add(module)
        self.log.follow(module, module)

    def file(self, path: str) -> CodeFile:
        """The compiled file at `path` as it runs; it is read when it is asked for first.

        Raises:
            OSError: it cannot be read.
        """
        known = self._running.get(path)
        if known is None:
            with open(path, "rb") as file:  # noqa: PTH123 - every import
                known = compile_file(path, SourceFile.of(file.read()))
            self._running[path] = known
        return known

    def _path_of(self, name: str, module: ModuleType) -> str | None:
        """The shared file that `module`, known as `name`, was loaded from, if it was from one."""
        path = getattr(module, "__file__", None)
        return self._roots.home(path) if isinstance(path, str) and may_be_shared(name) else None

    def _adopt(self) -> None:
        """Count what was imported before, by whoever imported it.

        What such a module has imported can only be told from its text.
        """
        adopted: dict[str, CodeFile] = {}
        for name, module in list(sys.modules.items()):
            path = self._path_of(name, module)
            if path is None or self.log.follows(name):
                continue
            ran = getattr(getattr(module, "__loader__", None), "ran", None)
            if isinstance(ran, CodeFile):  # By ours, for an earlier server.
                self._running[path] = ran
            try:
                adopted[name] = self.file(path)
            except OSError:
                continue
            self.run(name, path)
        for name, file in adopted.items():
            is_package = hasattr(sys.modules.get(name), "__path__")
            found = static_imports(file.source.content or b"", name, is_package=is_package)
            self.log.add(name, (each.module for each in found if self.log.follows(each.module)))

    # What could change

    def fingerprints(self) -> Mapping[str, bytes]:
        """The files that run, by path, with what tells their content."""
        return {path: file.source.fingerprint for path, file in self._running.items()}

    def awaited(self) -> frozenset[str]:
        """The paths at which a file would answer an import that has failed."""
        return frozenset(
            path for module in self.log.missing for path in self._roots.places_of(module)
        )

    def is_meant(self, path: str) -> bool:
        """Whether a file at `path` is one that something imports, has tried to, or now would."""
        return path in self._running or bool(self._modules_at(path))

    def _modules_at(self, path: str) -> set[str]:
        """The modules that run the file at `path`, or would if they were imported again."""
        named = {
            name
            for name in self._roots.names_of(path)
            if self.log.follows(name) or name in self.log.missing
        }
        return named | self._modules.get(path, set())

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
            todo += self._inside(module)
        return Reach(frozenset(reached), frozenset(plugins))

    def _inside(self, package: str) -> list[str]:
        """The shared modules in a shared package: they are bound to that very package."""
        return [
            name
            for name in self._names()
            if name.startswith(f"{package}.") and self.log.follows(package)
        ]

    def importers_of(self, package: str) -> frozenset[PluginRef]:
        """The plugins that import `package`, a plugin's, directly or through shared code."""
        kind = package.rpartition(".")[0]
        return self.reach([package, kind, kind.rpartition(".")[0]]).plugins

    # Changing it

    def prepare(self, contents: Mapping[str, SourceFile | None]) -> list[SharedChange]:
        """Compile files that have changed, and tell for whom; nothing that runs is touched.

        What some plugin or module has in common is one change. A file that nobody imports is
        left out: it is taken note of, and whoever imports it first gets it as it is now.
        """
        changes: list[tuple[dict[str, CodeFile | None], Reach]] = []
        for path, source in sorted(contents.items()):
            before = self._running.get(path)
            if before is not None:
                before.pin_lines()  # The disk has moved on, what runs has not.
            files = {path: None if source is None else compile_file(path, source)}
            reach = self.reach(self._modules_at(path))
            if not reach.plugins:
                self._let_go(files, reach)
                continue
            for each in [each for each in changes if _overlap(each[1], reach)]:
                changes.remove(each)
                files |= each[0]
                reach = Reach(reach.modules | each[1].modules, reach.plugins | each[1].plugins)
            changes.append((files, reach))
        return [SharedChange(self, files, reach) for files, reach in changes]

    def _let_go(self, files: Mapping[str, CodeFile | None], reach: Reach) -> None:
        """No plugin imports this: leave it to whoever does, and renew it for a plugin's sake."""
        self.exchange(files)
        self.log.stale |= {name for name in reach.modules if name in sys.modules}

    def renew(self, name: str) -> None:
        """A plugin is about to import `name`, which has changed since it was imported."""
        self.set_aside([name, *self._inside(name)])

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

    def set_aside(self, names: Iterable[str]) -> dict[str, SetAside]:
        """Take modules out of `sys.modules`, as far as they are there; the answer is what was."""
        taken = {}
        for name in sorted(names):
            imports = self.log.take_out(name).get(name, set())
            for at_path in self._modules.values():
                at_path.discard(name)
            module = sys.modules.pop(name, None)
            if module is not None:
                _unbind(name, module)
                taken[name] = SetAside(module, imports)
        return taken

    def put_back(self, taken: Mapping[str, SetAside]) -> None:
        """The reverse of `set_aside`."""
        for name, (module, imports) in taken.items():  # Sorted: packages before what is in them.
            sys.modules[name] = module
            _bind(name, module)
            path = self._path_of(name, module)
            if path is not None:
                self.run(name, path)
                self.log.add(name, imports)

    def set_importers_aside(self, package: str) -> dict[str, SetAside]:
        """As `set_aside`, for the shared modules that import a plugin's package."""
        return self.set_aside(self.reach([package]).modules & self._names())

    def _names(self) -> set[str]:
        return set().union(*self._modules.values())


def _bind(name: str, module: ModuleType) -> None:
    """Make `module` an attribute of the package it is in, as importing it does."""
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def _unbind(name: str, module: ModuleType) -> None:
    parent, _, child = name.rpartition(".")
    around = sys.modules.get(parent)
    if around is not None and vars(around).get(child) is module:
        delattr(around, child)


def _overlap(one: Reach, other: Reach) -> bool:
    return not (one.modules.isdisjoint(other.modules) and one.plugins.isdisjoint(other.plugins))
