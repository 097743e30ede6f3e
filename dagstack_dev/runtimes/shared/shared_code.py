"""Code that plugins import and that is no plugin: helper packages, the app's own modules.

Every module whose file lies below a code root counts, under whatever name it was imported. What
a plugin has imported of them is known from the `ImportLog`; nothing outside the roots is touched.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import NamespaceLoader, PathFinder
from typing import TYPE_CHECKING

from dagstack_dev.runtimes import children
from dagstack_dev.runtimes.code import CodeFile, compile_file
from dagstack_dev.runtimes.shared import import_hooks
from dagstack_dev.runtimes.shared.change import SharedChange
from dagstack_dev.runtimes.shared.imports import namespace_of
from dagstack_dev.runtimes.shared.modules import Reach, SharedModules
from dagstack_dev.runtimes.shared.root_finder import SharedFinder
from dagstack_dev.runtimes.shared.roots import CodeRoots, may_be_shared, other_form
from dagstack_dev.runtimes.shared.static_imports import static_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.runtimes.shared.imports import ImportLog


class SharedCode(SharedModules):
    """The modules below the code roots, and the content that each of them runs.

    Args:
        log: who imports whom.
        plugin_of: the plugin that owns what the log knows by this owner, or None.
    """

    def __init__(self, log: ImportLog, plugin_of: Callable[[str], PluginRef | None]) -> None:
        super().__init__(log, plugin_of)
        self._roots = CodeRoots()
        self._finder = SharedFinder(self._roots, self)
        log.adopt = self._adopt

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
        children.serve(self._roots.folders_for_children)
        self._finder.install()
        import_hooks.install()
        self.log.look_again()
        followed = self.log.followed()
        self._look_back(followed, self._adopt(*sys.modules.copy()))
        return True

    def take_part(self) -> None:
        """Find modules before any other finder does, whatever has happened to `sys.meta_path`."""
        if self._roots.paths:
            self._finder.install()

    def remove_root(self, root: str) -> None:
        """Find nothing below `root` any more."""
        self._roots.remove(root)
        if not self._roots.paths:
            children.leave(self._roots.folders_for_children)
        self._finder.forget(root)

    def close(self) -> None:
        """Find nothing any more."""
        for root in self._roots.paths:
            self.remove_root(root)

    # What runs

    @property
    def roots(self) -> list[str]:
        """The code roots, as they were given."""
        return self._roots.paths

    def note_elsewhere(self, importer: str, modules: Mapping[str, CodeFile]) -> None:
        """`importer`, which is followed, has imported these modules in another process.

        Those that lie below the code roots count from now on, as if they were loaded here.
        """
        for name, file in modules.items():
            path = self._roots.home(file.path)
            if path is not None:
                self._running.setdefault(path, file)
                if not self.log.follows(name):
                    self.run(name, path)
        self.log.add(importer, filter(self.log.follows, modules))

    def _adopt(self, *names: str) -> Collection[str]:
        """Count those of these modules that are loaded and shared, by whatever loader.

        What such a module has imported can only be told from its text.

        Returns:
            The modules that did not count before, those that they import included.
        """
        imports: dict[str, list[str]] = {}
        todo = list(names)
        while todo:
            name = todo.pop()
            if not self.log.follows(name) and self._take_up(name):
                imports[name] = self._imports_in(name)
                todo += imports[name]
        for name, imported in imports.items():
            self.log.add(name, filter(self.log.follows, imported))
        return imports.keys()

    def _look_back(self, importers: Iterable[str], adopted: Iterable[str]) -> None:
        """Note which of `adopted` have been imported by modules that counted already."""
        words = {name.partition(".")[0].encode() for name in adopted}
        for name in importers:
            file = _ran(sys.modules.get(name))
            if file is not None and any(word in (file.source.content or b"") for word in words):
                self.log.add(name, filter(self.log.follows, _imports_in(name, file)))

    def _imports_in(self, name: str) -> list[str]:
        file = self._running.get(self._paths[name])
        return _imports_in(name, file) if file is not None else []

    def _take_up(self, name: str) -> bool:
        """Follow the module `name` if it is loaded and shared; the answer is whether it is."""
        module = sys.modules.get(name)
        origin = _origin_of(module)
        path = self._roots.home(origin) if origin is not None and may_be_shared(name) else None
        if path is None:
            return False
        ran = _ran(module)
        if ran is not None:  # Loaded for another server.
            self._running[path] = ran
        if not _is_namespace_package(module):
            try:
                self.file(path)
            except OSError:
                return False
        self.run(name, path)
        return True

    # What could change

    def known(self) -> set[str]:
        """Return the files that run, and where one would be imported in their place, or at all."""
        awaited = {path for name in self.log.missing for path in self._roots.places_of(name)}
        paths = {*self._running, *self._paths.values()}
        # What stands in for another form: a module for a package, a folder for either.
        giving_way = (p for p in paths if not p.endswith("/__init__.py") or p not in self._running)
        return {*paths, *awaited, *filter(None, map(self._roots.home, map(other_form, giving_way)))}

    def can_find(self, module: str) -> bool:
        """Tell whether a module that nothing could import is there by now, without importing it."""
        package = module.rpartition(".")[0]
        path = getattr(sys.modules.get(package), "__path__", None) if package else None
        is_installed = (path is not None or not package) and PathFinder.find_spec(
            module, path
        ) is not None
        return is_installed or any(map(os.path.isfile, self._roots.places_of(module)))

    def is_meant(self, path: str) -> bool:
        """Return whether something imports a file at `path`, has tried to, or now would."""
        return path in self._running or bool(self._modules_at(path))

    def _modules_at(self, path: str) -> set[str]:
        """Return the modules that run the file at `path`, or would if they were imported again."""
        named = {
            name
            for name in self._roots.names_of(path)
            if self.log.follows(name) or self.log.is_absent(name)
        }
        return named | self._at.get(path, set())

    def plugins_at(self, paths: Iterable[str]) -> frozenset[PluginRef]:
        """Return the plugins that import any file at `paths`, directly or through others."""
        return self.reach(name for path in paths for name in self._modules_at(path)).plugins

    # Changing it

    def prepare(
        self, contents: Mapping[str, SourceFile | None], *, is_quiet: bool = True
    ) -> list[SharedChange]:
        """Compile files that have changed, and tell for whom; nothing that runs is touched.

        What some plugin or module has in common is one change. A file that nothing imports is
        left out: it is taken note of, and the first import gets it as it is now.

        Args:
            contents: what they hold, by path.
            is_quiet: whether no plugin is being built. Else it is not known who imports a file:
                what is torn down may come back.
        """
        changes: list[tuple[dict[str, CodeFile | None], Reach]] = []
        for path, source in sorted(contents.items()):
            before = self._running.get(path)
            if before is not None:
                before.pin_lines()  # The disk has moved on, what runs has not.
            files = {path: None if source is None else compile_file(path, source)}
            reach = self.reach(self._modules_at(path))
            if not reach.plugins:
                if is_quiet:
                    self.release(files, reach.modules)
                continue
            for each in [each for each in changes if _overlap(each[1], reach)]:
                changes.remove(each)
                files |= each[0]
                reach = Reach(reach.modules | each[1].modules, reach.plugins | each[1].plugins)
            changes.append((files, reach))
        return [SharedChange(self, files, reach) for files, reach in changes]


def _ran(module: object) -> CodeFile | None:
    """Return what a module runs, if a loader of ours has loaded it."""
    ran = namespace_of(namespace_of(module).get("__loader__")).get("ran")
    return ran if isinstance(ran, CodeFile) else None


def _imports_in(module: str, file: CodeFile) -> list[str]:
    """Return what a module that is loaded imports, as its text tells."""
    is_package = "__path__" in namespace_of(sys.modules.get(module))
    found = static_imports(file.source.content or b"", module, is_package=is_package)
    return [each.module for each in found]


def _overlap(one: Reach, other: Reach) -> bool:
    return not (one.modules.isdisjoint(other.modules) and one.plugins.isdisjoint(other.plugins))


def _is_namespace_package(module: object) -> bool:
    """Return whether what `sys.modules` holds is a package without a file of its own."""
    return isinstance(namespace_of(module).get("__loader__"), NamespaceLoader)


def _origin_of(module: object) -> str | None:
    """Return the file of what `sys.modules` holds; of a package without one, where it would be."""
    origin = namespace_of(module).get("__file__")
    if _is_namespace_package(module):
        origin = next((f"{each}/__init__.py" for each in namespace_of(module)["__path__"]), None)
    return origin if isinstance(origin, str) else None
