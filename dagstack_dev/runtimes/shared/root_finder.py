"""How shared code is found and loaded: from the content that counts as running."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from importlib import invalidate_caches
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import decode_source, spec_from_file_location
from typing import TYPE_CHECKING

from dagstack_dev.core.recorded import copy_of
from dagstack_dev.runtimes.shared.imports import followed_importer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, ModuleType

    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.shared.modules import SharedModules
    from dagstack_dev.runtimes.shared.roots import CodeRoots


class SharedFinder(MetaPathFinder):
    """Finds modules below the code roots as every other finder does, and loads them itself.

    What none of the others finds is looked for right at the roots, as if they stood at the end
    of `sys.path`, which is not touched (ADR-6). Who is followed for another registry is left to
    the finder of that one.
    """

    def __init__(self, roots: CodeRoots, modules: SharedModules) -> None:
        self._roots = roots
        self._modules = modules
        self._asking: set[tuple[int, str]] = set()
        self._found: dict[str, str] = {}

    def install(self) -> None:
        """Be the first to be asked: what others load, CPython's cache of bytecode may spoil."""
        if sys.meta_path[:1] != [self]:
            sys.meta_path.insert(0, self)
            with suppress(ValueError):
                del sys.meta_path[sys.meta_path.index(self, 1)]

    def forget(self, root: str) -> None:
        """Drop what no other finder would have found below `root`, which counts no longer."""
        for name in [name for name, found_in in self._found.items() if found_in == root]:
            del self._found[name]
            for module in [
                each for each in sys.modules.copy() if f"{each}.".startswith(f"{name}.")
            ]:
                del sys.modules[module]
        if not self._roots.paths and self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
        /,
    ) -> ModuleSpec | None:
        """Return the spec of a module below the roots, or None for anything else."""
        asked = (threading.get_ident(), fullname)
        if asked in self._asking or not self._roots.may_hold(fullname, path):
            return None
        importer = followed_importer()
        if importer is not None and importer[0] is not self._modules.imports:
            return None
        self._asking.add(asked)
        try:
            spec = _ask_others(fullname, path, target)
            if spec is None and _is_there(fullname, path):
                invalidate_caches()  # It came within one tick of the clock of its folder.
                spec = _ask_others(fullname, path, target)
        finally:
            self._asking.discard(asked)
        if spec is None and path is None:
            spec = self._look(fullname)
        if spec is not None and type(spec.loader) is SourceFileLoader and spec.origin:
            home = self._roots.home(spec.origin)
            if home is not None:
                spec.loader = SharedLoader(fullname, spec.origin, home, self._modules)
        return spec

    def _look(self, name: str) -> ModuleSpec | None:
        found = self._roots.find(name)
        if found is None:
            return None
        self._found[name] = found.root
        loader = SourceFileLoader(name, found.path)
        return spec_from_file_location(
            name, found.path, loader=loader, submodule_search_locations=found.search
        )


def _ask_others(
    fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Return what the other finders say; first comes first, as for any import."""
    for other in list(sys.meta_path):
        ask: Callable[..., ModuleSpec | None] | None = getattr(other, "find_spec", None)
        if ask is not None and not isinstance(other, SharedFinder):
            spec = ask(fullname, path, target)
            if spec is not None:
                return spec
    return None


def _is_there(fullname: str, path: Sequence[str] | None) -> bool:
    """Return whether a module that was not found lies in one of the folders of its package."""
    child = fullname.rpartition(".")[2]
    places = (f"{folder}/{child}" for folder in path or ())
    return any(os.path.isdir(place) or os.path.isfile(f"{place}.py") for place in places)  # noqa: PTH112, PTH113 - plain strings


class SharedLoader(SourceFileLoader):
    """Loads a shared module from the content that counts as running.

    The bytecode cache of CPython, which looks at whole seconds and size, is out of the game.
    """

    is_shared_code = True
    """Read by `core.blame`."""

    def __init__(self, fullname: str, path: str, home: str, modules: SharedModules) -> None:
        super().__init__(fullname, path)
        self._home = home
        self._modules = modules
        self.ran: CodeFile | None = None

    def create_module(self, spec: ModuleSpec) -> None:
        """Make the usual kind of module, and note that its code is about to run.

        That is done here because a frame of ours around its code would be taken for its importer.
        """
        self.ran = self._modules.file(self._home)
        self._modules.run(spec.name, self._home)
        self._modules.imports.note_load(spec.name)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the import protocol
        """Return the code that counts as running; raises what compiling it raised."""
        file = self._modules.file(self._home)
        if file.code is None:
            raise copy_of(file.error or ImportError(self.path))
        return file.code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol
        """Return the text that its module ran; before that, what counts as running."""
        file = self.ran or self._modules.file(self._home)
        return decode_source(file.source.content or b"")
