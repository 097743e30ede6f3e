"""Where the import system finds the modules of plugins: in the code that is active for them."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import spec_from_file_location
from itertools import takewhile
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.frames import callers
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes import children
from dagstack_dev.runtimes.code import compile_file
from dagstack_dev.runtimes.in_process.loaders import (
    CompiledLoader,
    ExtensionLoader,
    SnapshotLoader,
    SpaceLoader,
)
from dagstack_dev.runtimes.leaks.retired import FailedGenerations, RetiredGeneration
from dagstack_dev.runtimes.shared.imports import ImportGraph
from dagstack_dev.runtimes.shared.registrations import Registrations
from dagstack_dev.runtimes.shared.shared_code import SharedCode
from dagstack_dev.runtimes.shared.unloading import Unloaded, restore, unload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from dagstack_dev.core.ports import LoadsOnDemand
    from dagstack_dev.runtimes.code import CodeFile


_PACKAGE_PARTS: Final = 3

_extensions: Final[dict[str, tuple[int, ...]]] = {}
"""Inode, size and time of the extension modules that this process has loaded, by path."""


def package_name(ref: PluginRef, namespace: str = NAMESPACE) -> str:
    """Return the name of the package that the modules of `ref` are in.

    Args:
        ref: the plugin.
        namespace: the first part of the name, that of a registry.
    """
    return f"{namespace}.{_quoted(ref.kind)}.{_quoted(ref.name)}"


def _quoted(word: str) -> str:
    """Return a kind or name as one part of a module name; only dots need another spelling."""
    return word.replace(".", "%2E")


def _unquoted(part: str) -> str:
    return part.replace("%2E", ".")


class _Active(NamedTuple):
    folder: str
    files: Mapping[str, CodeFile]


class PluginFinder(MetaPathFinder):
    """Finds `<namespace>.<kind>.<name>[.module...]` in the active files of each plugin.

    It stands first in `sys.meta_path`, so that neither the disk (which may be newer than the
    snapshot) nor a directory cache is asked for a plugin's Python files. What the snapshot does
    not hold is looked up in the folder itself, and noted.

    Args:
        namespace: the first part of all names.

    Attributes:
        shared: the code that the plugins share.
        host: who loads plugins, held weakly: as long as it takes part in imports, the finder is
            held by the import system.
        registrations: what imports of plugins have put into modules of others.
        failed: generations that have failed.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._imports = ImportGraph(namespace)
        self.shared = SharedCode(self._imports, self.plugin_of, self._note_outside)
        self.host: Callable[[], LoadsOnDemand | None] = lambda: None
        self.registrations = Registrations(self._imports)
        self._prefix = f"{namespace}."
        self._found: dict[tuple[str, str], SourceFile | None] = {}
        self._outdated: dict[PluginRef, str] = {}
        self._active: dict[str, _Active] = {}
        self._loaded: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._newest = f"{namespace}%"
        self._links = children.LinkedPackages()
        self.failed = FailedGenerations()
        self._in_kind = Counter[str]()  # Active packages by the package of their kind.

    def install(self) -> None:
        """Take part in imports."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
            children.serve(self.folders_for_children)
        self.shared.observe()

    def folders_for_children(self) -> list[str]:
        """Return a folder in which another process finds what is loaded, by its names here."""
        active = list(self._active.items())
        return [
            self._links.link({name: each.folder for name, each in active if name in sys.modules})
        ]

    def uninstall(self) -> None:
        """Take part no longer, and forget every module of the namespace."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        children.leave(self.folders_for_children)
        for package in list(self._active):
            self.unload(package)
        self.shared.stop_observing()
        for name in [name for name in sys.modules.copy() if name.startswith(self._prefix)]:
            del sys.modules[name]
        sys.modules.pop(self._namespace, None)
        sys.modules.pop(self._newest, None)

    def activate(self, package: str, folder: str, files: Mapping[str, CodeFile]) -> None:
        """Let imports below `package` resolve to `files`."""
        self.install()
        self._imports.unfollow(package)
        self._in_kind[package.rpartition(".")[0]] += package not in self._active
        self._active[package] = _Active(folder, files)

    def unload(self, package: str) -> Unloaded:
        """Deactivate `package`; return what was below it in `sys.modules`."""
        if self._active.pop(package, None) is None:
            return Unloaded()
        self._in_kind[package.rpartition(".")[0]] -= 1
        self._note_newest()
        return unload(self._loaded.pop(package, ()), package, self._imports)

    def restore(self, package: str, unloaded: Unloaded) -> None:
        """Reverse `unload`, for a package that has been activated again."""
        restore(unloaded, package, self._imports)

    def drop_if_empty(self, package: str) -> None:
        """Remove the kind of `package`, which comes back no more, with the last of its plugins."""
        kind = package.rpartition(".")[0]
        if not self._in_kind[kind] and sys.modules.pop(kind, None) is not None:
            vars(sys.modules[self._namespace]).pop(kind.rpartition(".")[2], None)

    def load_failed(self, package: str) -> None:
        """Take `package` out, but remember what it imported, for that may be what is to mend.

        Shared code that imports it is taken out with it: what it imported by way of that counts as
        imported by itself.
        """
        reached = self._imports.reached_by(package)
        borrowers = self.shared.modules.unload_importers(package).values()
        taken = self.unload(package)
        self._imports.follow_again(package, taken.imports)
        known = [each for one in borrowers for each in one.unloaded.imports.values()]
        self._imports.add_known(package, [each for one in known for each in one.names & reached])
        retired = RetiredGeneration(None)
        retired.add_modules(taken.modules)
        self.failed.add(retired)

    def _space_holds(self, name: str) -> bool:
        """Return whether `name` may be a plugin, or is a kind of which some are active."""
        return name.count(".") > 1 or self._in_kind[name] > 0

    def _note_newest(self) -> None:
        """Note which modules of plugins `sys.modules` has got, by whatever way.

        It keeps the order in which they came, so that an entry of ours marks how far we were.
        """
        newest: list[str] = []
        while True:
            try:
                newest = list(takewhile(self._newest.__ne__, reversed(sys.modules)))
            except RuntimeError:  # Some thread has just imported something.
                continue
            break
        marker = sys.modules.pop(self._newest, None) or ModuleType(self._newest)
        sys.modules[self._newest] = marker
        for name in reversed(newest):
            if name.startswith(self._prefix) and name.count(".") >= _PACKAGE_PARTS - 1:
                self._loaded[self._package_of(name)][name] = None

    def _note_loaded(self, fullname: str, path: str) -> None:  # noqa: ARG002 - the loaders' hook
        """A module of some plugin is about to run."""
        package = self._package_of(fullname)
        if package in self._active:
            self._imports.follow(fullname, package)

    def _note_extension(self, fullname: str, path: str) -> None:
        """An extension module is about to be loaded, if the process has not done so before."""
        self._note_loaded(fullname, path)
        status = os.stat(path)  # noqa: PTH116 - plain strings throughout
        stamp = status.st_ino, status.st_size, status.st_mtime_ns
        ref = self.plugin_of(self._package_of(fullname))
        if _extensions.setdefault(path, stamp) != stamp and ref is not None:
            self._outdated[ref] = path

    def take_outdated(self) -> dict[PluginRef, str]:
        """Return the plugins that run an old state of an extension module, and its path; once."""
        outdated, self._outdated = self._outdated, {}
        return outdated

    def note_found(self, folder: str, files: Mapping[str, SourceFile | None]) -> None:
        """Note what a plugin has imported that had not been read with its `folder`.

        That is generated code, code in folders that do not count, compiled modules, and what is
        missing (None).
        """
        self._found.update({(folder, relative): file for relative, file in files.items()})

    def take_found(self) -> dict[tuple[str, str], SourceFile | None]:
        """Return what was so noted, by the plugin's folder and the path below it; once."""
        found, self._found = self._found, {}
        return found

    def plugin_of(self, package: str) -> PluginRef | None:
        """Return the plugin whose package this is, or None when it is none's."""
        parts = package.split(".")
        if len(parts) != _PACKAGE_PARTS or parts[0] != self._namespace:
            return None
        return PluginRef(_unquoted(parts[1]), _unquoted(parts[2]))

    def _package_of(self, fullname: str) -> str:
        return ".".join(fullname.split(".", _PACKAGE_PARTS)[:_PACKAGE_PARTS])

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import protocol
        target: ModuleType | None = None,  # noqa: ARG002 - the import protocol
        /,
    ) -> ModuleSpec | None:
        """Return the spec of a plugin's module, or None for anything else."""
        if fullname != self._namespace and not fullname.startswith(self._prefix):
            return None
        parts = fullname.split(".")
        if len(parts) < _PACKAGE_PARTS:
            self._imports.add_space(fullname)
            return ModuleSpec(fullname, SpaceLoader(fullname, self._space_holds), is_package=True)
        active = self._active.get(".".join(parts[:_PACKAGE_PARTS]))
        if active is None and len(parts) == _PACKAGE_PARTS:
            active = self._load_ahead(fullname)
        if active is None:
            return None
        return self._spec_in(active, fullname, "/".join(parts[_PACKAGE_PARTS:]))

    def _load_ahead(self, package: str) -> _Active | None:
        """Have a plugin loaded whose code is imported before its turn.

        Its package is in `sys.modules` then, and the loader of that module hands it out.

        Raises:
            ImportError: it cannot be loaded now.
        """
        host, ref = self.host(), self.plugin_of(package)
        if host is None or ref is None:
            return None
        problem = host.need(ref)
        active = self._active.get(package)
        if active is None and problem is not None:
            raise ImportError(problem, name=package)
        return active

    def _note_outside(self, importer: str, modules: Collection[str]) -> None:
        """The module `importer` has imported these, which are not of the same plugin."""
        if importer.startswith(self._prefix):
            self.registrations.note(modules)
        for package in {self._imports.owner(each) for each in modules}:
            if package.startswith(self._prefix):
                self._note_borrowed(importer, package)

    def _note_borrowed(self, importer: str, package: str) -> None:
        """The module `importer` has imported code of the plugin with this package."""
        host, ref = self.host(), self.plugin_of(package)
        stack = callers(sys._getframe(1))  # noqa: SLF001 - the way to the line
        frame = next((each for each in stack if each.f_globals.get("__name__") == importer), None)
        if host is not None and ref is not None and frame is not None:
            own = self.plugin_of(self._imports.owner(importer))
            host.note_import(own, ref, frame.f_code.co_filename, frame.f_lineno)

    def _spec_in(self, active: _Active, fullname: str, relative: str) -> ModuleSpec | None:
        inside = f"{relative}/" if relative else ""
        package = active.files.get(f"{inside}__init__.py")
        module = active.files.get(f"{relative}.py") if relative else None
        folder = f"{active.folder}/{relative}".rstrip("/")
        if package is not None:
            return self._source_spec(fullname, package.path, package, folder)
        if module is not None:
            return self._source_spec(fullname, module.path, module, None)
        if any(path.startswith(inside) for path in active.files):
            return self._source_spec(fullname, f"{folder}/__init__.py", None, folder)
        return self._spec_on_disk(active, fullname, folder, relative)

    def _spec_on_disk(
        self, active: _Active, fullname: str, folder: str, relative: str
    ) -> ModuleSpec | None:
        """As any import below the folder would find it, but from its present bytes."""
        finder = FileFinder(
            folder.rpartition("/")[0],
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (SourceFileLoader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )
        spec = finder.find_spec(fullname)
        if spec is not None and spec.loader is None:  # A folder without Python files.
            return self._source_spec(fullname, f"{folder}/__init__.py", None, folder)
        path = f"{active.folder}/{relative}.py" if spec is None else spec.origin or ""
        source = _read(path)
        self.note_found(active.folder, {path[len(active.folder) + 1 :]: source})
        if spec is None or source is None:
            return None
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = SnapshotLoader(
                fullname, path, compile_file(path, source), note=self._note_loaded
            )
        elif isinstance(spec.loader, ExtensionFileLoader):
            spec.loader = ExtensionLoader(fullname, path, note=self._note_extension)
        else:
            spec.loader = CompiledLoader(fullname, path, note=self._note_loaded)
        return spec

    def _source_spec(
        self, fullname: str, path: str, file: CodeFile | None, search: str | None
    ) -> ModuleSpec | None:
        return spec_from_file_location(
            fullname,
            path,
            loader=SnapshotLoader(fullname, path, file, note=self._note_loaded),
            submodule_search_locations=None if search is None else [search],
        )


def _read(path: str) -> SourceFile | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - plain strings throughout
            return SourceFile.of(file.read(), keep=path.endswith(".py"))
    except FileNotFoundError:
        return None
