"""Plugins in this process: isolated packages, compiled from the bytes that were fingerprinted.

Every plugin folder is a package named `<namespace>.<kind>.<name>`; a registry has a namespace of
its own. `sys.path` is never touched (ADR-6). The modules of a plugin come from the `Code` that
is active for it: an immutable set of compiled files. A new generation gets fresh module objects
under the same names; the old ones are set aside until the reload has committed.
"""

from __future__ import annotations

import itertools
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from traceback import extract_tb
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors import ManifestInvalid, ManifestProblem, PluginLoadError, in_words
from dagstack_dev.core.manifest import MANIFEST_NAME
from dagstack_dev.core.refs import PluginRef, closest
from dagstack_dev.core.toml_lines import line_of
from dagstack_dev.runtimes.code import CodeFile, compile_file, may_bind, mentioned_names, top_names
from dagstack_dev.runtimes.finder import PluginFinder, quoted
from dagstack_dev.runtimes.leaks import holder_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.sources import PluginSource

_numbers = itertools.count(1)


class InProcessRuntime:
    """Imports plugins into this process, under a namespace that no other registry shares."""

    name: Final = "in_process"

    def __init__(self) -> None:
        number = next(_numbers)
        self.namespace = NAMESPACE if number == 1 else f"{NAMESPACE}_{number}"
        self._finder = PluginFinder(self.namespace)
        weakref.finalize(self, self._finder.uninstall)

    def prepare(
        self,
        manifest: PluginManifest,
        source: PluginSource,
        previous: Prepared | None = None,
    ) -> InProcessCode:
        """Compile every Python file of `source`; files that `previous` has compiled are reused.

        A file that does not compile counts only where the plugin can come to import it: a
        half-written test beside the plugin does not stop it.

        Raises:
            ManifestInvalid: the entry point names no file of the folder.
            PluginLoadError: a file does not compile, or the entry module binds no such class.
        """
        known: Mapping[str, CodeFile] = (
            previous.files if isinstance(previous, InProcessCode) else {}
        )
        files: dict[str, CodeFile] = {}
        for relative, file in source.files.items():
            if relative.endswith(".py"):
                path = f"{source.folder}/{relative}"
                before = known.get(relative)
                if before is not None and before.source == file and before.path == path:
                    files[relative] = before
                else:
                    if before is not None:
                        before.pin_lines()  # The disk has moved on, what runs has not.
                    files[relative] = compile_file(path, file, depth=relative.count("/"))
        entry = _entry_file(manifest, source, files)
        _check_compiled(manifest, files, entry)
        _check_binding(manifest, entry)
        package = f"{self.namespace}.{quoted(manifest.kind)}.{quoted(manifest.name)}"
        imports = frozenset(
            ref
            for file in files.values()
            for ref in self._finder.plugins_named_in(file, package)
            if ref != manifest.ref
        )
        return InProcessCode(manifest, source.folder, package, files, imports, self._finder)


@dataclass(frozen=True, slots=True)
class InProcessCode:
    """The compiled files of one plugin at one moment; see `core.ports.Prepared`."""

    manifest: PluginManifest
    folder: str
    package: str
    files: Mapping[str, CodeFile]
    imports: frozenset[PluginRef]
    finder: PluginFinder = field(repr=False, compare=False)

    def load(self) -> InProcessGeneration:
        """Execute the code: import the entry module and whatever that imports.

        Another generation of the same plugin must have been set aside before.

        Raises:
            PluginLoadError: the import raised, or the module binds no such class after all. No
                module of it is left behind.
        """
        self.activate()
        try:
            module = import_module(f"{self.package}.{self.manifest.entry_module}")
            cls = self._class_in(module)
        except PluginLoadError:
            self.finder.take_out(self.package)
            raise
        except BaseException as error:
            self.finder.take_out(self.package)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise load_error(self, "import", error) from error
        return InProcessGeneration(self, cls)

    def activate(self) -> None:
        """Let imports below the package resolve to these files."""
        self.finder.activate(self.package, self.folder, self.files)
        for file in self.files.values():
            file.pin_lines_again()

    def _class_in(self, module: ModuleType) -> type:
        name = self.manifest.entry_class
        cls = getattr(module, name, None)
        if isinstance(cls, type):
            return cls
        found = "binds no" if cls is None else f"binds {type(cls).__name__} {name!r}, not a"
        reason = f"{module.__file__} {found} class {name!r}"
        raise PluginLoadError(self.manifest.ref, "import", reason, path=module.__file__)


class InProcessGeneration:
    """The modules and the class of one import; see `core.ports.Generation`."""

    def __init__(self, code: InProcessCode, cls: type) -> None:
        self._code = code
        self._class: type | None = cls
        self._set_aside: dict[str, ModuleType] | None = None
        self._remains: list[tuple[str, weakref.ref[object]]] = [
            (f"class {cls.__qualname__}", weakref.ref(cls))
        ]

    @property
    def imports(self) -> frozenset[PluginRef]:
        """Other plugins whose code this one imports, as far as its text tells."""
        return self._code.imports

    def instantiate(self) -> object:
        """A new instance; the constructor takes no arguments.

        Raises:
            PluginLoadError: the constructor raised; its exception is the cause.
        """
        assert self._class is not None, "a retired generation makes no instances"  # noqa: S101
        try:
            instance: object = self._class()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise load_error(self._code, "construct", error) from error
        self._remains = [each for each in self._remains if each[1]() is not None]
        with suppress(TypeError):  # A class whose __slots__ leave out __weakref__.
            self._remains.append((f"instance of {self._class.__qualname__}", weakref.ref(instance)))
        return instance

    def set_aside(self) -> None:
        """Take the modules out of `sys.modules`, so that the next generation gets fresh ones."""
        if self._set_aside is None:
            self._set_aside = self._code.finder.take_out(self._code.package)

    def activate(self) -> None:
        """Put modules that were set aside back in force."""
        if self._set_aside is not None:
            self._code.activate()
            self._code.finder.put_back(self._code.package, self._set_aside)
            self._set_aside = None

    def retire(self) -> None:
        """Forget modules and class; afterwards `survivors` tells what that did not free."""
        self.set_aside()
        self._remains.extend(
            (f"module {name}", weakref.ref(module))
            for name, module in (self._set_aside or {}).items()
        )
        self._set_aside = {}
        self._class = None

    def survivors(self) -> tuple[str, ...]:
        """What is still reachable and what holds it; empty when everything is gone."""
        alive = [(what, found) for what, ref in self._remains if (found := ref()) is not None]
        return tuple(f"{what}, held by {holder_of(found, alive)}" for what, found in alive)


def load_error(code: InProcessCode, stage: str, error: BaseException) -> PluginLoadError:
    """What a reader needs of an exception in plugin code: the line of the plugin it came from."""
    ref = code.manifest.ref
    described = in_words(error)
    if isinstance(error, SyntaxError) and error.filename:
        return PluginLoadError(ref, stage, described, path=error.filename, line=error.lineno)
    own = [
        frame
        for frame in extract_tb(error.__traceback__)
        if frame.filename.startswith(code.folder + "/")
    ]
    path, line = (own[-1].filename, own[-1].lineno) if own else (code.folder, None)
    return PluginLoadError(ref, stage, described, path=path, line=line)


def _entry_file(
    manifest: PluginManifest, source: PluginSource, files: Mapping[str, CodeFile]
) -> CodeFile:
    stem = manifest.entry_module.replace(".", "/")
    for relative in (f"{stem}/__init__.py", f"{stem}.py"):  # As imports prefer it.
        if relative in files:
            return files[relative]
    text = (source.files[MANIFEST_NAME].content or b"").decode(errors="replace")
    line = line_of(text, ["plugin", "entry_point"]) or line_of(text, ["entry_point"])
    modules = [path.removesuffix(".py").replace("/", ".") for path in files]
    guess = closest(manifest.entry_module, modules)
    hint = f"; did you mean '{guess}:{manifest.entry_class}'?" if guess else "; add the file"
    message = f"there is no {stem}.py in {source.folder}{hint}"
    problem = ManifestProblem("entry_point", message, line)
    raise ManifestInvalid(source.manifest_path, [problem], ref=manifest.ref)


def _check_compiled(
    manifest: PluginManifest, files: Mapping[str, CodeFile], entry: CodeFile
) -> None:
    broken = {relative: file for relative, file in files.items() if file.error is not None}
    if not broken:
        return
    named = {name for file in files.values() if file.code for name in mentioned_names(file.code)}
    above = _packages_above(manifest.entry_module)
    for relative, file in sorted(broken.items()):
        stem = relative.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]
        if file is entry or relative in above or stem in named:
            error = file.error
            line = getattr(error, "lineno", None)
            reason = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
            raise PluginLoadError(
                manifest.ref, "compile", reason, path=file.path, line=line
            ) from error


def _packages_above(module: str) -> set[str]:
    """The files that run before `module` does, where they exist."""
    folders = itertools.accumulate(f"{part}/" for part in module.split(".")[:-1])
    return {f"{folder}__init__.py" for folder in ("", *folders)}


def _check_binding(manifest: PluginManifest, entry: CodeFile) -> None:
    name = manifest.entry_class
    if may_bind(entry, name):
        return
    if not (entry.source.content or b"").strip():
        reason = "the entry file is empty"
    else:
        guess = closest(name, top_names(entry))
        hint = f"; did you mean {guess!r}?" if guess else ""
        reason = f"the entry file binds no class {name!r}{hint}"
    raise PluginLoadError(manifest.ref, "compile", reason, path=entry.path)
