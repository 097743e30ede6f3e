"""The modules that plugins consist of and import, found as imports would find them."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Final

from dagstack_dev.compat.imports import PACKAGE
from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.disk.reading import see_file
from dagstack_dev.runtimes.code import CodeFile, compile_file, may_bind, top_names
from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode
from dagstack_dev.runtimes.in_process.plugin_finder import package_name
from dagstack_dev.runtimes.shared.import_cache import ImportCache
from dagstack_dev.runtimes.shared.roots import CodeRoots
from dagstack_dev.runtimes.shared.static_imports import (
    ImportStatement,
    StaticImport,
    modules_named,
    with_parents,
)
from dagstack_dev.static.elsewhere import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.ignore import IgnoreRules
    from dagstack_dev.host.plugins.entry import Revision

_DEPTH: Final = 3
"""Parts of the name of a plugin's package."""

_USUAL_NAMES: Final = frozenset(
    f"__{each}__"
    for each in ("name", "doc", "file", "spec", "loader", "package", "cached", "dict", "builtins")
)
"""What a module binds before it runs."""


@dataclass(eq=False)
class Module:
    """A module of a plugin or of shared code, or a package without a file of its own.

    Attributes:
        name: as it is imported.
        file: its code, if it has a file.
        ref: the plugin that it is part of; None for what belongs to none.
        search: the folders of a package, where its modules are.
    """

    name: str
    file: CodeFile | None
    ref: PluginRef | None = None
    search: Sequence[str] = ()

    @property
    def text(self) -> bytes:
        """What is written in it."""
        return b"" if self.file is None else self.file.source.content or b""

    @property
    def names(self) -> Collection[str]:
        """Names of which it may bind some."""
        return set() if self.file is None else top_names(self.file)

    def may_bind(self, name: str) -> bool:
        """Return whether running it can bind `name`, as far as its text says."""
        if name in _USUAL_NAMES or self.file is None:
            return name in _USUAL_NAMES
        return self.file.code is None or b"__path__" in self.text or may_bind(self.file, name)


class Modules:
    """The modules of some plugins, and what else these can import.

    Args:
        plugins: each plugin with its files.
        revisions: what can be built from them.
        roots: folders with code that plugins share.
        rules: what of it does not count.

    Attributes:
        roots: where that code lies.
        cache: what files import.
        spaces: the packages around those of the plugins.
        code: the plugins that can be imported here.
    """

    def __init__(
        self,
        plugins: Mapping[PluginRef, PluginSource],
        revisions: Mapping[PluginRef, Revision],
        roots: Sequence[str],
        rules: IgnoreRules,
    ) -> None:
        importlib.invalidate_caches()  # A file may have come within one tick of its folder's clock.
        self.roots = CodeRoots()
        for root in roots:
            self.roots.add(root, rules.excludes)
        self.cache = ImportCache(roots[0] if roots else None)
        self._plugins = {
            # A module that is imported by name keeps that name, and is in no package of ours.
            package_name(ref): (ref, source if source.module is None else replace(source, files={}))
            for ref, source in plugins.items()
        }
        self.spaces = {NAMESPACE, *(package.rpartition(".")[0] for package in self._plugins)}
        prepared = {ref: revision.prepared for ref, revision in revisions.items()}
        what = {ref: getattr(each, "code", each) for ref, each in prepared.items()}
        self.code = {ref: each for ref, each in what.items() if isinstance(each, InProcessCode)}
        self._found: dict[str, Module | Elsewhere | None] = {}
        self._named: dict[str, Sequence[StaticImport]] = {}

    # Who imports what

    @cached_property
    def reached(self) -> Sequence[Module]:
        """Every module that the plugins import, now or in some function, their own included."""
        entries = map(self.entry, self.code)
        return [*self._follow(part for each in entries for part in with_parents(each))]

    def entry(self, ref: PluginRef) -> str:
        """Return the module that a plugin in `code` is entered by."""
        return f"{package_name(ref)}.{self.code[ref].entry}"

    def home(self, ref: PluginRef) -> str:
        """Return the module that a plugin in `code` takes its class from."""
        is_named = self._plugins[package_name(ref)][1].module is not None
        return self.code[ref].manifest.entry_module if is_named else self.entry(ref)

    @cached_property
    def importers(self) -> Mapping[str, Mapping[PluginRef | str, str]]:
        """By module: the plugins and shared modules that import it, and where each does."""
        found: defaultdict[str, dict[PluginRef | str, str]] = defaultdict(dict)
        for module in self._follow(each for ref in self._plugins for each in self._names(ref)):
            for imported, line in self.modules_named(module):
                if imported != module.name and module.file is not None:
                    place = self._place(module, module.file.path, line)
                    found[imported].setdefault(module.ref or module.name, place)
        return found

    def _place(self, module: Module, path: str, line: int) -> str:
        """Return where an import stands; that of the class of an installed plugin, in no file."""
        if module.ref is None or not path.startswith("<"):
            return f"{path}:{line}"
        return self._plugins[package_name(module.ref)][1].manifest_path

    def below(self, name: str) -> Sequence[Module]:
        """Return a module and all that it imports, itself or by others."""
        return [*self._follow([name])]

    def part_of(self, ref: PluginRef) -> Iterator[Module]:
        """Yield the modules that the files of a plugin are, imported or not."""
        found = map(self.find, self._names(package_name(ref)))
        return (each for each in found if isinstance(each, Module))

    def _names(self, package: str) -> Iterator[str]:
        ref, source = self._plugins[package]
        code = self.code[ref].files if ref in self.code else {}
        for relative in sorted({*source.files, *code}):
            if relative.endswith(".py"):
                name = relative.removesuffix(".py").replace("/", ".")
                yield f"{package}.{name}".removesuffix(".__init__")

    def _follow(self, starts: Iterable[str]) -> Iterator[Module]:
        """Yield the modules named `starts`, and whatever they import, once each."""
        todo = deque(dict.fromkeys(starts))
        known = {*todo}
        while todo:
            module = self.find(todo.popleft())
            if isinstance(module, Module):
                yield module
                named = {each.module for each in self.modules_named(module)} - known
                known |= named
                todo += sorted(named)

    def imports_of(self, module: Module) -> Sequence[ImportStatement]:
        """Return every import in the text of a module."""
        if module.file is None:
            return ()
        is_package = bool(module.search)
        return self.cache.statements(module.file.source, module.name, is_package=is_package)

    def modules_named(self, module: Module) -> Sequence[StaticImport]:
        """Return the modules that the imports of a module name, each with its line."""
        if module.name not in self._named:
            self._named[module.name] = modules_named(self.imports_of(module))
        return self._named[module.name]

    # What an import finds

    def find(self, name: str) -> Module | Elsewhere | None:
        """Return what an import of the module `name` finds; None where that fails."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Module | Elsewhere | None:
        if name == PACKAGE.partition(".")[0] or name in self.spaces:
            return Elsewhere(name)
        if name in self._plugins:
            ref, source = self._plugins[name]
            return Module(name, self._file(ref, source, "__init__.py"), ref, [source.folder])
        parent, _, last = name.rpartition(".")
        if not last.isidentifier() or parent in self.spaces:
            return None
        if not parent:
            return self._find_on_path(name, None)
        above = self.find(parent)
        if not isinstance(above, Module):
            return above and above.part(last)
        if above.ref is not None:
            return self._find_in_plugin(name, above)
        return self._find_on_path(name, above.search)

    def _find_in_plugin(self, name: str, above: Module) -> Module | Elsewhere | None:
        ref, source = self._plugins[".".join(name.split(".")[:_DEPTH])]
        last = name.rpartition(".")[2]
        for folder in above.search:
            path = f"{folder}/{last}"
            relative = path[len(source.folder) + 1 :]
            package = self._file(ref, source, f"{relative}/__init__.py")
            file = package or self._file(ref, source, f"{relative}.py")
            is_folder = any(each.startswith(f"{relative}/") for each in source.files)
            if file is not None or is_folder:
                return Module(name, file, ref, [path] if package or file is None else [])
        return Elsewhere(name) if PathFinder.find_spec(last, above.search) is not None else None

    def _file(self, ref: PluginRef, source: PluginSource, relative: str) -> CodeFile | None:
        code, file = self.code.get(ref), source.files.get(relative)
        if code is not None and relative in code.files:
            return code.files[relative]
        return None if file is None else compile_file(f"{source.folder}/{relative}", file)

    def _find_on_path(self, name: str, search: Sequence[str] | None) -> Module | Elsewhere | None:
        spec = _spec(name, search)
        if spec is None:
            found = self.roots.find(name) if search is None else None
            if found is not None:
                return self._shared(name, found.path, found.search)
            return Elsewhere(name) if name in sys.modules else None
        folders = spec.submodule_search_locations
        if spec.loader is None and folders is not None:
            return Module(name, None, search=[*folders])
        if spec.origin is None or self.roots.home(spec.origin) is None:
            return Elsewhere(name, spec)
        return self._shared(name, spec.origin, folders)

    def _shared(self, name: str, path: str, folders: Sequence[str] | None) -> Module | None:
        seen = see_file(path)
        if seen is None:
            return None
        return Module(name, compile_file(path, seen.file, cached=True), search=[*(folders or ())])


def _spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    """Ask the finders, which run nothing; below a package only for the last part of the name.

    What they would do with all of it is to look for the package in `sys.modules`.
    """
    if search is not None:
        return PathFinder.find_spec(name.rpartition(".")[2], search)
    finders = (getattr(each, "find_spec", None) for each in sys.meta_path)
    specs = (find(name, None) for find in finders if find is not None)
    return next((each for each in specs if each is not None), None)
