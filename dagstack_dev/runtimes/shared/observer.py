"""What is done about each import of a module that is followed, before it and after."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.base import add_note
from dagstack_dev.runtimes.shared.imports import namespace_of
from dagstack_dev.runtimes.shared.static_imports import with_parents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from dagstack_dev.runtimes.shared.imports import ImportGraph
    from dagstack_dev.runtimes.shared.modules import SharedModules
    from dagstack_dev.runtimes.shared.roots import CodeRoots


class ImportObserver:
    """Notes imports, and has modules renewed that are out of date when they are imported.

    Args:
        roots: where shared code lies.
        imports: where it notes them.
        modules: shared modules, some of them out of date.
        adopt: called with a module that is imported and not followed; it may `follow` it.
        on_outside: called with a module and those that it has imported which are followed and
            have another owner.
    """

    def __init__(
        self,
        roots: CodeRoots,
        imports: ImportGraph,
        modules: SharedModules,
        adopt: Callable[[str], object],
        on_outside: Callable[[str, Collection[str]], None],
    ) -> None:
        self._roots = roots
        self.imports = imports
        self.modules = modules
        self._adopt = adopt
        self._on_outside = on_outside

    def own_name(self, module: str) -> str:
        """Return what `module` means in code of this registry: `NAMESPACE` is that of any."""
        top, dot, rest = module.partition(".")
        return f"{self.imports.namespace}{dot}{rest}" if top == NAMESPACE else module

    def before(self, importer: str, name: str, names: Iterable[str]) -> None:
        """Get ready for `importer` to import the module `name`, and from it `names`."""
        stale = self.modules.stale
        if not stale or importer in stale:
            return
        wanted = {*with_parents(name), *(f"{name}.{each}" for each in names)}
        if wanted := wanted & stale:
            self.modules.renew(importer, wanted)

    def note(self, importer: str, name: str, names: Collection[str]) -> None:
        """Note that `importer` has imported the module `name`, and from it `names`."""
        self._add(importer, (each for each in with_parents(name) if self._counts(each)))
        if self.imports.is_space(name) and not names:
            self._add(importer, (name,))
        for each in names:
            inner = f"{name}.{each}"
            if self._counts(inner) or self.imports.is_space(inner):
                self._add(importer, (inner,))
            elif each == "*":
                public = getattr(sys.modules.get(name), "__all__", ())
                self.note(importer, name, [word for word in public if word != "*"])
            elif self._fails_to_give(name, each):  # Only the statement fails, after the import.
                self._add(importer, (inner,))

    def note_failure(
        self, importer: str, name: str, names: Collection[str], error: BaseException
    ) -> None:
        """Note that `importer` could not import the module `name`, or from it one of `names`."""
        missing = name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == missing:
            for advice in self._roots.without_init(missing):
                add_note(error, advice)
        self.note(importer, name, names)  # A package may have been found, though not all in it.
        attempted = {*with_parents(name), *(f"{name}.{each}" for each in names if each != "*")}
        self._add(importer, filter(_was_looked_for, attempted))
        self.modules.drop_parts(attempted)

    def _add(self, importer: str, modules: Iterable[str]) -> None:
        imported = [*modules]
        self.imports.add(importer, imported)
        if outside := self.imports.outside(importer, imported):
            self._on_outside(importer, outside)

    def _counts(self, module: str) -> bool:
        if not self.imports.follows(module):
            self._adopt(module)
        return self.imports.follows(module)

    def _fails_to_give(self, module: str, word: str) -> bool:
        loaded = sys.modules.get(module) if self.imports.follows(module) else None
        return loaded is not None and word not in namespace_of(loaded)


def _was_looked_for(module: str) -> bool:
    """Return whether an import can have looked for `module`: the package around it is there."""
    package = module.rpartition(".")[0]
    return module not in sys.modules and (not package or package in sys.modules)
