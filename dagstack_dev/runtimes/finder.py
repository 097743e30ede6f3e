"""Where the import system finds the modules of plugins: in the code that is active for them."""

from __future__ import annotations

import sys
from collections import Counter
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import decode_source, spec_from_file_location
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.refs import PluginRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType

    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.imports import ImportLog, Imports


_PACKAGE_PARTS: Final = 3
_NO_CODE: Final = compile("", "<package>", "exec")


def quoted(word: str) -> str:
    """A kind or name as one part of a module name; only dots need another spelling."""
    return word.replace(".", "%2E")


def _unquoted(part: str) -> str:
    return part.replace("%2E", ".")


class _Active(NamedTuple):
    folder: str
    files: Mapping[str, CodeFile]
    loaded: list[str]


class TakenOut(NamedTuple):
    """The modules of one plugin that were in `sys.modules`, and what each had imported."""

    modules: Mapping[str, ModuleType]
    imports: Mapping[str, Imports]


class PluginFinder(MetaPathFinder):
    """Finds `<namespace>.<kind>.<name>[.module...]` in the active files of each plugin.

    It stands first in `sys.meta_path`, so that neither the disk (which may be newer than the
    snapshot) nor a directory cache is asked for a plugin's Python files. Extension modules are
    looked up in the folder itself.
    """

    def __init__(self, namespace: str, log: ImportLog) -> None:
        self._namespace = namespace
        self._log = log
        self._prefix = f"{namespace}."
        self._active: dict[str, _Active] = {}
        self._in_kind = Counter[str]()  # Active packages by the package of their kind.

    def install(self) -> None:
        """Take part in imports."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Take part no longer, and forget every module of the namespace."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for package in list(self._active):
            self.take_out(package)
        self._log.close()
        for name in [name for name in sys.modules.copy() if name.startswith(self._prefix)]:
            del sys.modules[name]
        sys.modules.pop(self._namespace, None)

    def activate(self, package: str, folder: str, files: Mapping[str, CodeFile]) -> None:
        """Let imports below `package` resolve to `files`."""
        self.install()
        self._log.take_out(package)
        self._in_kind[package.rpartition(".")[0]] += package not in self._active
        self._active[package] = _Active(folder, files, [])

    def take_out(self, package: str) -> TakenOut:
        """Deactivate `package`; what it had in `sys.modules` is the answer."""
        active = self._active.pop(package, None)
        if active is None:
            return TakenOut({}, {})
        self._in_kind[package.rpartition(".")[0]] -= 1
        taken = {}
        for name in active.loaded:
            module = sys.modules.pop(name, None)
            if module is not None:
                taken[name] = module
        parent, _, child = package.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(child, None)
        return TakenOut(taken, self._log.take_out(package))

    def put_back(self, package: str, taken: TakenOut) -> None:
        """The reverse of `take_out`, for a package that has been activated again."""
        self._active[package].loaded.extend(taken.modules)
        self._log.put_back(package, taken.imports)
        sys.modules.update(taken.modules)
        parent, _, child = package.rpartition(".")
        if parent in sys.modules and package in taken.modules:
            setattr(sys.modules[parent], child, taken.modules[package])

    def drop_if_empty(self, package: str) -> None:
        """`package` comes back no more; its kind goes with the last of its plugins."""
        kind = package.rpartition(".")[0]
        if not self._in_kind[kind] and sys.modules.pop(kind, None) is not None:
            vars(sys.modules[self._namespace]).pop(kind.rpartition(".")[2], None)

    def load_failed(self, package: str) -> None:
        """Take `package` out, but remember what it imported, for that may be what is to mend."""
        self._log.put_back(package, self.take_out(package).imports)

    def note_loaded(self, fullname: str) -> None:
        """A module of some plugin is about to run."""
        package = self._package_of(fullname)
        active = self._active.get(package)
        if active is not None:
            active.loaded.append(fullname)
            self._log.follow(fullname, package)

    def plugin_of(self, package: str) -> PluginRef | None:
        """The plugin whose package this is, or None when it is none's."""
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
        """The spec of a plugin's module, or None for anything else."""
        if fullname != self._namespace and not fullname.startswith(self._prefix):
            return None
        parts = fullname.split(".")
        if len(parts) < _PACKAGE_PARTS:
            self._log.add_space(fullname)
            return ModuleSpec(fullname, None, is_package=True)
        active = self._active.get(".".join(parts[:_PACKAGE_PARTS]))
        if active is None:
            return None
        return self._spec_in(active, fullname, "/".join(parts[_PACKAGE_PARTS:]))

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
        extensions = FileFinder(
            folder.rpartition("/")[0], (ExtensionFileLoader, EXTENSION_SUFFIXES)
        )
        spec = extensions.find_spec(fullname)
        if spec is not None and spec.loader is None:  # A folder without Python files.
            return self._source_spec(fullname, f"{folder}/__init__.py", None, folder)
        return spec

    def _source_spec(
        self, fullname: str, path: str, file: CodeFile | None, search: str | None
    ) -> ModuleSpec | None:
        return spec_from_file_location(
            fullname,
            path,
            loader=_SnapshotLoader(fullname, path, file, self),
            submodule_search_locations=None if search is None else [search],
        )


class _SnapshotLoader(SourceFileLoader):
    """Loads a module from bytes already read; resources and metadata work as for any file.

    Without a file it makes the empty package that a folder without `__init__.py` stands for.
    """

    def __init__(
        self, fullname: str, path: str, file: CodeFile | None, finder: PluginFinder
    ) -> None:
        super().__init__(fullname, path)
        self.ran = file
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module will do; its code is about to run.

        Noted here because a frame of ours around its code would be taken for its importer.
        """
        self._finder.note_loaded(spec.name)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the import protocol
        """The code of the snapshot; raises what compiling it raised."""
        if self.ran is None:
            return _NO_CODE
        if self.ran.code is None:
            error = self.ran.error
            raise error if error is not None else ImportError(self.path)
        return self.ran.code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol
        """The text of the snapshot."""
        return decode_source(self.ran.source.content or b"") if self.ran else ""
