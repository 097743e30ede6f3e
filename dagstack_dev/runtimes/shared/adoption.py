"""Shared modules that others have loaded: the app, another server, a process of a plugin."""

from __future__ import annotations

import sys
from importlib.machinery import NamespaceLoader
from typing import TYPE_CHECKING

from dagstack_dev.runtimes.code import CodeFile
from dagstack_dev.runtimes.shared.imports import namespace_of
from dagstack_dev.runtimes.shared.roots import may_be_shared
from dagstack_dev.runtimes.shared.static_imports import static_imports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from dagstack_dev.runtimes.shared.modules import SharedModules
    from dagstack_dev.runtimes.shared.roots import CodeRoots


class Adoption:
    """Counts modules as shared that no loader of ours has loaded for these roots.

    What such a module has imported is not known; its text says what it may have.

    Args:
        roots: where shared code lies.
        modules: the shared modules, which these join.
    """

    def __init__(self, roots: CodeRoots, modules: SharedModules) -> None:
        self._roots = roots
        self._modules = modules
        self._imports = modules.imports

    def adopt_loaded(self) -> None:
        """Count all that is loaded and shared, also for modules that were followed before."""
        followed = self._imports.followed()
        adopted = self.adopt(*sys.modules.copy())
        words = {name.partition(".")[0].encode() for name in adopted}
        for name in followed:
            file = _ran(sys.modules.get(name))
            if file is not None and any(word in (file.source.content or b"") for word in words):
                self._note(name, _imports_in(name, file))

    def adopt(self, *names: str) -> Collection[str]:
        """Count those of these modules that are loaded and shared, by whatever loader.

        Returns:
            The modules that did not count before, those that they import included.
        """
        imports: dict[str, list[str]] = {}
        todo = list(names)
        while todo:
            name = todo.pop()
            if not self._imports.follows(name) and self._take_up(name):
                file = self._modules.file_of(name)
                imports[name] = _imports_in(name, file) if file is not None else []
                todo += imports[name]
        for name, imported in imports.items():
            self._note(name, imported)
        return imports.keys()

    def note_elsewhere(self, importer: str, modules: Mapping[str, CodeFile]) -> None:
        """Note that `importer`, which is followed, has imported these in another process.

        Those that lie below the code roots count from now on, as if they were loaded here.
        """
        for name, file in modules.items():
            path = self._roots.home(file.path)
            if path is not None:
                if path not in self._modules.files():
                    self._modules.exchange({path: file})
                if not self._imports.follows(name):
                    self._modules.run(name, path)
        self._note(importer, modules)

    def _note(self, importer: str, imported: Iterable[str]) -> None:
        self._imports.add(importer, filter(self._imports.follows, imported))

    def _take_up(self, name: str) -> bool:
        """Follow the module `name` if it is loaded and shared; return whether it is."""
        module = sys.modules.get(name)
        origin = _origin_of(module)
        path = self._roots.home(origin) if origin is not None and may_be_shared(name) else None
        if path is None:
            return False
        ran = _ran(module)
        if ran is not None:  # Loaded for another server.
            self._modules.exchange({path: ran})
        if not _is_namespace_package(module):
            try:
                self._modules.file(path)
            except OSError:
                return False
        self._modules.run(name, path)
        return True


def _ran(module: object) -> CodeFile | None:
    """Return what a module runs, if a loader of ours has loaded it."""
    ran = namespace_of(namespace_of(module).get("__loader__")).get("ran")
    return ran if isinstance(ran, CodeFile) else None


def _imports_in(module: str, file: CodeFile) -> list[str]:
    """Return what a module that is loaded imports, as far as its text says."""
    is_package = "__path__" in namespace_of(sys.modules.get(module))
    found = static_imports(file.source.content or b"", module, is_package=is_package)
    return [each.module for each in found]


def _is_namespace_package(module: object) -> bool:
    """Return whether what `sys.modules` holds is a package without a file of its own."""
    return isinstance(namespace_of(module).get("__loader__"), NamespaceLoader)


def _origin_of(module: object) -> str | None:
    """Return the file of what `sys.modules` holds; of a package without one, where it would be."""
    origin = namespace_of(module).get("__file__")
    if _is_namespace_package(module):
        origin = next((f"{each}/__init__.py" for each in namespace_of(module)["__path__"]), None)
    return origin if isinstance(origin, str) else None
