"""Plugins in this process: isolated packages, compiled from the bytes that were fingerprinted.

Every plugin folder is a package named `<namespace>.<kind>.<name>`; a registry has a namespace of
its own. `sys.path` is never touched (ADR-6). The modules of a plugin come from the `Code` that
is active for it: an immutable set of compiled files. A new generation gets fresh module objects
under the same names; the old ones are unloaded, and kept until the reload has committed.
"""

from __future__ import annotations

import itertools
import os
import weakref
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.manifest.fields import ExecutionModel
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.core.ports import Imported
from dagstack_dev.core.refs import closest
from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes.code import (
    CodeFile,
    compile_all,
    compile_file,
    found_classes,
    may_bind,
    named_files,
)
from dagstack_dev.runtimes.finalizers import clear_up, when_gone
from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode
from dagstack_dev.runtimes.in_process.plugin_finder import PluginFinder, package_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import LoadsOnDemand, Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource

_STUB: Final = "entry"
"""The one module in the package of an installed plugin."""

_numbers = itertools.count(1)


class InProcessRuntime:
    """Imports plugins into this process, under a namespace that no other registry shares.

    Args:
        apart: makes of code what is to run in a process of its own, as its manifest may ask.
    """

    name: Final = "in_process"

    def __init__(self, *, apart: Callable[[InProcessCode], Prepared] | None = None) -> None:
        clear_up()
        self._apart = apart or (lambda code: code)
        number = next(_numbers)
        self.namespace = NAMESPACE if number == 1 else f"{NAMESPACE}_{number}"
        self._finder = PluginFinder(self.namespace)
        self.shared = self._finder.shared
        when_gone(self, self._finder.uninstall)
        when_gone(self, self.shared.close)

    def ask(self, host: LoadsOnDemand) -> None:
        """Let `host` load what is imported before its turn; it is not kept alive."""
        self._finder.host = weakref.ref(host)

    def prepare(
        self,
        manifest: PluginManifest,
        source: PluginSource,
        previous: Prepared | None = None,
    ) -> Prepared:
        """Compile every Python file of `source`; files that `previous` has compiled are reused.

        A file that does not compile counts only where the plugin can come to import it: a
        half-written test beside the plugin does not stop it.

        Raises:
            ManifestInvalid: the entry point names no file of the folder.
            PluginLoadError: a file does not compile, or the entry module binds no such class.
        """
        clear_up()
        package = self._package(manifest.ref)
        if source.module is not None:
            stub = {f"{_STUB}.py": _stub_of(manifest)}
            return self._where_it_runs(
                InProcessCode(manifest, source.home, package, _STUB, stub, self._finder)
            )
        before_it = getattr(previous, "code", previous)  # What runs apart has it there.
        known = before_it.files if isinstance(before_it, InProcessCode) else {}
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
                    files[relative] = compile_file(path, file, cached=previous is None)
        module = _entry_module(manifest.entry_module, source.folder, files)
        entry = _entry_file(manifest, source, files, module)
        _check_compiled(manifest, files, entry, module)
        _check_binding(manifest, entry, source)
        return self._where_it_runs(
            InProcessCode(manifest, source.folder, package, module, files, self._finder)
        )

    def expose(self, ref: PluginRef, source: PluginSource) -> str:
        """Let imports find a plugin's files, whatever it runs in; return its package."""
        package = self._package(ref)
        self._finder.activate(package, source.folder, compile_all(source))
        self.shared.take_part()
        return package

    def _where_it_runs(self, code: InProcessCode) -> Prepared:
        is_apart = code.manifest.execution_model is ExecutionModel.PROCESS_CPU_BOUND
        return self._apart(code) if is_apart else code

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:
        """Return the other plugins that have imported code of `ref`, also by way of shared code."""
        return self.shared.modules.importers_of(self._package(ref)) - {ref}

    def imports_of(self, ref: PluginRef) -> Imported:
        """Return what `ref` has imported of shared code and of other plugins, or tried to."""
        code, absent = self.shared.modules.imported_by(self._package(ref))
        return Imported({each: ran for each, ran in code.items() if each != ref}, absent)

    def take_found(self) -> dict[tuple[str, str], SourceFile | None]:
        """Return what plugins have imported from their folders that had not been read.

        By the plugin's folder and the path below it; None for what was not there. Each is
        returned once.
        """
        return self._finder.take_found()

    def take_outdated(self) -> dict[PluginRef, str]:
        """Return the plugins that run an old state of an extension module, and its path; once."""
        return self._finder.take_outdated()

    def _package(self, ref: PluginRef) -> str:
        return package_name(ref, self.namespace)


def _stub_of(manifest: PluginManifest) -> CodeFile:
    """Return what stands in the package of a plugin whose class is imported from elsewhere.

    An installed plugin keeps its modules under their own names, so that its absolute imports work
    and the app sees the same ones. The stub imports the class, and thereby counts as what imports
    them: they are code that this plugin shares, and are reloaded as such.
    """
    text = f"from {manifest.entry_module} import {manifest.entry_class}\n"
    return compile_file(f"<{manifest.ref}>/{_STUB}.py", SourceFile.of(text.encode()))


def _entry_module(module: str, folder: str, files: Mapping[str, CodeFile]) -> str:
    """Return the module of an entry point, named from within the plugin's folder.

    A name that counts from further up, as that of a package which is imported by its full name
    does, is taken for what is left of it below the folder.
    """
    parts = module.split(".")
    for used in range(len(parts)):
        stem = "/".join(parts[used:])
        above = "/".join(("", *parts[:used]))
        exists = f"{stem}.py" in files or f"{stem}/__init__.py" in files
        if exists and (not used or folder.endswith(above)):
            return ".".join(parts[used:])
    return module


def _entry_file(
    manifest: PluginManifest, source: PluginSource, files: Mapping[str, CodeFile], module: str
) -> CodeFile:
    stem = module.replace(".", "/")
    for relative in (f"{stem}/__init__.py", f"{stem}.py"):  # As imports prefer it.
        if relative in files:
            return files[relative]
    modules = [path.removesuffix(".py").replace("/", ".") for path in files]
    guess = closest(manifest.entry_module, modules)
    hint = f"; did you mean '{guess}:{manifest.entry_class}'?" if guess else "; add the file"
    message = f"there is no {stem}.py in {source.folder}{hint}"
    if os.path.isfile(f"{source.folder}/{stem}.py"):  # noqa: PTH113 - plain strings throughout
        message = f"{stem}.py is ignored, by `ignore` here, by --ignore or by a .gitignore"
    problem = ManifestProblem("entry_point", message, line_in(source, "entry_point"))
    raise ManifestInvalid(source.manifest_path, [problem], ref=manifest.ref)


def _check_compiled(
    manifest: PluginManifest, files: Mapping[str, CodeFile], entry: CodeFile, module: str
) -> None:
    broken = {relative: file for relative, file in files.items() if file.error is not None}
    if not broken:
        return
    reached = named_files(files) | _packages_above(module)
    for relative, file in sorted(broken.items()):
        if file is entry or relative in reached:
            problem, line = file.problem
            raise PluginLoadError(
                manifest.ref, "compile", problem, path=file.path, line=line
            ) from file.error


def _packages_above(module: str) -> set[str]:
    """Return the files that run before `module` does, where they exist."""
    folders = itertools.accumulate(f"{part}/" for part in module.split(".")[:-1])
    return {f"{folder}__init__.py" for folder in ("", *folders)}


def _check_binding(manifest: PluginManifest, entry: CodeFile, source: PluginSource) -> None:
    name = manifest.entry_class
    if may_bind(entry, name):
        return
    file = entry.path.removeprefix(f"{source.folder}/")
    if not (entry.source.content or b"").strip():
        reason = f"{file} is empty; it has to define class {name!r}"
    else:
        reason = f"{file} defines no class {name!r}{found_classes(entry, name)}"
    path, line = source.manifest_path, line_in(source, "entry_point")
    raise PluginLoadError(manifest.ref, "compile", reason, path=path, line=line)
