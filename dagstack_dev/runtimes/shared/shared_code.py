"""Code that plugins import and that is no plugin: helper packages, the app's own modules.

Every module whose file lies below a code root counts, under whatever name it was imported. What
a plugin has imported of them is known from the `ImportGraph`; nothing outside the roots is touched.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from dagstack_dev.runtimes import children
from dagstack_dev.runtimes.code import compile_file
from dagstack_dev.runtimes.shared import import_hooks
from dagstack_dev.runtimes.shared.adoption import Adoption
from dagstack_dev.runtimes.shared.change import SharedChange
from dagstack_dev.runtimes.shared.modules import Reach, SharedModules
from dagstack_dev.runtimes.shared.observer import ImportObserver
from dagstack_dev.runtimes.shared.root_finder import SharedFinder
from dagstack_dev.runtimes.shared.roots import CodeRoots, other_form

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.shared.imports import ImportGraph


class SharedCode:
    """The modules below the code roots, and the content that each of them runs.

    Args:
        imports: who imports whom.
        plugin_of: returns the plugin that owns what is known by this owner in `imports`, or None.
        on_outside: see `ImportObserver`.

    Attributes:
        modules: those that count.
    """

    def __init__(
        self,
        imports: ImportGraph,
        plugin_of: Callable[[str], PluginRef | None],
        on_outside: Callable[[str, Collection[str]], None],
    ) -> None:
        self.imports = imports
        self.modules = SharedModules(imports, plugin_of)
        self._roots = CodeRoots()
        self._finder = SharedFinder(self._roots, self.modules)
        self._adoption = Adoption(self._roots, self.modules)
        self._observer = ImportObserver(
            self._roots, imports, self.modules, self._adoption.adopt, on_outside
        )

    def observe(self) -> None:
        """Note from now on what modules that are followed import."""
        import_hooks.install(self._observer)

    def stop_observing(self) -> None:
        """Follow no module any more."""
        self.imports.close()
        import_hooks.uninstall(self._observer)

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
        self.observe()
        self.imports.look_again()
        self._adoption.adopt_loaded()
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
        """Note that `importer`, which is followed, has imported these in another process."""
        self._adoption.note_elsewhere(importer, modules)

    def fingerprint(self, path: str) -> bytes | None:
        """Return the fingerprint of what runs of the file at `path`; None when nothing does."""
        return self.modules.fingerprint(path)

    # What could change

    def known(self) -> set[str]:
        """Return the files that run, and where one would be imported in their place, or at all."""
        running, modules = self.modules.files(), self.modules.paths()
        awaited = {path for name in self.imports.missing for path in self._roots.places_of(name)}
        paths = {*running, *modules}
        # What stands in for another form: a module for a package, a folder for either.
        giving_way = (p for p in paths if not p.endswith("/__init__.py") or p not in running)
        return {*paths, *awaited, *filter(None, map(self._roots.home, map(other_form, giving_way)))}

    def can_find(self, module: str) -> bool:
        """Return whether a module that could not be imported is there by now; import nothing."""
        package = module.rpartition(".")[0]
        path = getattr(sys.modules.get(package), "__path__", None) if package else None
        is_installed = (path is not None or not package) and PathFinder.find_spec(
            module, path
        ) is not None
        return is_installed or any(map(os.path.isfile, self._roots.places_of(module)))

    def is_meant(self, path: str) -> bool:
        """Return whether something imports a file at `path`, has tried to, or now would."""
        return path in self.modules.files() or bool(self._modules_at(path))

    def _modules_at(self, path: str) -> AbstractSet[str]:
        """Return the modules that run the file at `path`, or would if they were imported again."""
        named = {
            name
            for name in self._roots.names_of(path)
            if self.imports.follows(name) or self.imports.is_absent(name)
        }
        return named | self.modules.at(path)

    def plugins_at(self, paths: Iterable[str]) -> frozenset[PluginRef]:
        """Return the plugins that import any file at `paths`, directly or through others."""
        return self.modules.reach(name for path in paths for name in self._modules_at(path)).plugins

    # Changing it

    def prepare(
        self, contents: Mapping[str, SourceFile | None], *, is_quiet: bool = True
    ) -> list[SharedChange]:
        """Compile files that have changed, and find out for whom; nothing that runs is touched.

        What some plugin or module has in common is one change. A file that nothing imports is
        left out: it is taken note of, and the first import gets it as it is now.

        Args:
            contents: what they hold, by path.
            is_quiet: whether no plugin is being built. Else it is not known who imports a file:
                what is torn down may come back.
        """
        changes: list[tuple[dict[str, CodeFile | None], Reach]] = []
        for path, source in sorted(contents.items()):
            before = self.modules.files().get(path)
            if before is not None:
                before.pin_lines()  # The disk has moved on, what runs has not.
            files = {path: None if source is None else compile_file(path, source)}
            reach = self.modules.reach(self._modules_at(path))
            if not reach.plugins:
                if is_quiet:
                    self.modules.release(files, reach.modules)
                continue
            for each in [each for each in changes if _overlap(each[1], reach)]:
                changes.remove(each)
                files |= each[0]
                reach = Reach(reach.modules | each[1].modules, reach.plugins | each[1].plugins)
            changes.append((files, reach))
        return [SharedChange(self.modules, files, reach) for files, reach in changes]


def _overlap(one: Reach, other: Reach) -> bool:
    return not (one.modules.isdisjoint(other.modules) and one.plugins.isdisjoint(other.plugins))
