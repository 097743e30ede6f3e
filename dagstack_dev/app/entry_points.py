"""Plugins that are installed: what the entry points of a group name, found without running it.

An entry point names a module, a class, or a manifest (a dict, or a function that returns one).
Where the module's package holds a manifest file, or the project that is installed in editable mode
does, that folder is a plugin like any other. Else the manifest stands in the module.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from dagstack_dev.core.errors.base import PluginRegistryError, in_words
from dagstack_dev.core.errors.files import ManifestComputed, ManifestInvalid
from dagstack_dev.core.manifest.module import (
    MANIFEST_ATTRIBUTE,
    MANIFEST_FUNCTION,
    parsed_module,
    written_manifest,
)
from dagstack_dev.core.sources import ModulePlugin
from dagstack_dev.disk.discovery import plugin_sources
from dagstack_dev.disk.manifests import is_plugin_folder
from dagstack_dev.disk.module_source import ModuleSource
from dagstack_dev.disk.paths import lies_in, read_regular, reason_of
from dagstack_dev.host.loop.tasks import is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import EntryPoint

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.ignore import IgnoreRules

_Importing = Callable[[str, str], ModuleType]
"""Returns the module of a name; the second text is what named it, for an error."""

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})

DEFAULT_GROUP: Final = "dagstack.plugins"
"""The group of entry points that names plugins (contract, section 1)."""


@dataclass(slots=True)
class Installed:
    """Plugins that were found by name.

    Attributes:
        folders: those that have a manifest file.
        modules: those that have it in their code.
        code_roots: folders with the code of those, where it is a working copy.
        errors: why something is left out, by what named it.
    """

    folders: list[str] = field(default_factory=list)
    modules: list[ModuleSource] = field(default_factory=list)
    code_roots: list[str] = field(default_factory=list)
    errors: dict[str, PluginRegistryError] = field(default_factory=dict)

    def add(self, other: Installed) -> None:
        """Join what `other` has found; what is known already is left out."""
        self.folders += [each for each in other.folders if each not in self.folders]
        self.errors |= other.errors
        self.code_roots += [each for each in other.code_roots if each not in self.code_roots]
        known = {module.folder for module in self.modules}
        self.modules += [module for module in other.modules if module.folder not in known]

    def sources(self, ignore: IgnoreRules) -> Iterator[PluginSource]:
        """Yield what they are loaded from, as it is on disk now."""
        yield from plugin_sources(self.folders, ignore, recursive=False)
        yield from filter(None, (module.read() for module in self.modules))


class _Place(NamedTuple):
    """Where a module is.

    Attributes:
        file: its file.
        top: the folder of the package that it is in, or the one that the module itself lies in.
        in_package: whether there is such a package.
    """

    file: str
    top: str
    in_package: bool

    @property
    def is_editable(self) -> bool:
        """Whether it is a working copy, and not installed for good."""
        return _INSTALLED.isdisjoint(Path(self.file).parts)


def installed_plugins(group: str = DEFAULT_GROUP, *, runs_code: bool = True) -> Installed:
    """Return what the entry points of `group` name, in the order of their names.

    Args:
        group: of the entry points.
        runs_code: whether to import a module whose text does not spell its manifest out; else that
            is an error.
    """
    found, importing = Installed(), _imported if runs_code else _not_imported
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            found.add(_plugin_of(entry, importing))
        except PluginRegistryError as error:
            found.errors[f"entry point {entry.name} = {entry.value}"] = error
    return found


def module_plugin(module: ModuleType) -> Installed:
    """Return the plugin whose manifest an imported module holds (contract, section 1)."""
    name = module.__name__
    place = _place_of_file(name, getattr(module, "__file__", None))
    fields = _evaluated(module, None, f"module {name}")
    if fields is None:
        message = f"binds neither {MANIFEST_ATTRIBUTE} nor {MANIFEST_FUNCTION}()"
        raise ManifestInvalid.of(f"module {name}", message)
    return _from_module(place, ModulePlugin(name, computed=fields))


def _plugin_of(entry: EntryPoint, importing: _Importing) -> Installed:
    label = f"entry point {entry.name} = {entry.value}"
    if entry.pattern.match(entry.value) is None:
        raise ManifestInvalid.of(label, 'is no name of a module, nor "module:attribute"')
    place = _place_of(entry.module)
    if place is None:
        raise ManifestInvalid.of(
            label, f"found no Python file of a module {entry.module!r} in a folder"
        )
    plugin = ModulePlugin(entry.module, entry.attr or None)
    try:
        tree = parsed_module(_text(place), place.file)
    except ManifestInvalid:  # What it names is known when it is fixed.
        return _from_folder(place, entry) or _from_module(place, plugin)
    if entry.attr and written_manifest(tree, entry.attr) is not None:
        return _from_module(place, plugin)
    if not entry.attr or _is_class(entry, tree, label, importing):
        from_folder = _from_folder(place, entry)
        if from_folder is not None:
            return from_folder
        if written_manifest(tree) is not None:
            return _from_module(place, plugin)
        fields = _evaluated(importing(entry.module, label), None, label)
        if fields is not None and entry.attr:
            fields = {"entry_point": entry.value, **fields}
    else:
        fields = _evaluated(importing(entry.module, label), entry.attr, label)
    return _from_module(place, replace(plugin, computed=fields))


def _is_class(entry: EntryPoint, tree: ast.Module, label: str, importing: _Importing) -> bool:
    """Return whether the entry point names a class; import it only where the text does not say."""
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == entry.attr:
            return True
    return isinstance(_attribute(importing(entry.module, label), entry.attr, label), type)


def _from_module(place: _Place | None, plugin: ModulePlugin) -> Installed:
    if place is None:
        return Installed(modules=[ModuleSource(None, plugin)])
    source = ModuleSource(place.file, plugin, is_watched=place.is_editable)
    return Installed(modules=[source], code_roots=[place.top] if place.is_editable else [])


def _from_folder(place: _Place, entry: EntryPoint) -> Installed | None:
    """Find the nearest folder with a manifest file: the module's, a package's, the project's."""
    folders = (each for each in _folders(place, entry) if is_plugin_folder(each))
    nearest = next(folders, None)
    return None if nearest is None else Installed(folders=[nearest])


def _folders(place: _Place, entry: EntryPoint) -> Iterator[str]:
    if place.in_package:
        folder = place.file.rpartition("/")[0]
        while folder != place.top and folder.startswith(place.top):
            yield folder
            folder = folder.rpartition("/")[0]
        yield place.top
    project = _editable_project(entry)
    if project is not None:
        yield project


def _editable_project(entry: EntryPoint) -> str | None:
    """Return the folder of the project, where it is installed in editable mode (PEP 610)."""
    text = entry.dist.read_text("direct_url.json") if entry.dist is not None else None
    try:
        origin = json.loads(text or "{}")
        is_editable = origin["dir_info"]["editable"]
        url = urlsplit(origin["url"])
    except (ValueError, KeyError, TypeError):
        return None
    return unquote(url.path).rstrip("/") if is_editable and url.scheme == "file" else None


def _text(place: _Place) -> bytes:
    try:
        return read_regular(place.file)
    except OSError as error:
        raise ManifestInvalid.of(place.file, f"cannot be read: {reason_of(error)}") from error


def _imported(module: str, label: str) -> ModuleType:
    with _foreign(label, f"importing {module}"):
        return import_module(module)


def _not_imported(module: str, label: str) -> ModuleType:
    message = (
        f"what it names is known when {module!r} runs; write the manifest as a dict, or into"
        " dagstack.toml"
    )
    raise ManifestComputed.of(label, message)


def _attribute(module: ModuleType, path: str, label: str) -> Any:
    found: Any = module
    for name in path.split("."):
        with _foreign(label, path):
            if not hasattr(found, name):
                raise ManifestInvalid.of(label, f"{module.__name__} binds no {path!r}")
            found = getattr(found, name)
    return found


def _evaluated(module: ModuleType, attribute: str | None, label: str) -> Mapping[str, Any] | None:
    """Return the manifest that a module binds, called if it is a function, or None."""
    names = (attribute,) if attribute else (MANIFEST_ATTRIBUTE, MANIFEST_FUNCTION)
    for name in names:
        with _foreign(label, f"{name}()"):
            if not hasattr(module, name.partition(".")[0]):
                continue
            found = _attribute(module, name, label)
            fields = found() if callable(found) else found
            if isinstance(fields, dict):
                return fields
            if hasattr(fields, "model_dump"):  # A manifest that is validated already.
                return dict(fields.model_dump(exclude_defaults=True))
        kind = type(fields).__name__
        raise ManifestInvalid.of(label, f"{name} is {kind}, and a manifest is a dict of its fields")
    return None


@contextmanager
def _foreign(label: str, what: str) -> Iterator[None]:
    """Run code of others: what it raises, `sys.exit` too, costs this entry point alone."""
    try:
        yield
    except BaseException as error:
        is_own = isinstance(error, ManifestInvalid)
        if is_own or (isinstance(error, KeyboardInterrupt) and is_interruption(error)):
            raise
        raise ManifestInvalid.of(label, f"{what} failed: {in_words(error)}") from error


def _place_of(module: str) -> _Place | None:
    """Return where `module` would be imported from; None when it is not a Python file anywhere.

    A package that it is in is not imported to find out: its folders are searched.
    """
    first, *rest = module.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):  # Such as a module in `sys.modules` that has no spec.
        return None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for name in rest:
        spec = spec and PathFinder.find_spec(name, spec.submodule_search_locations or [])
    if spec is None:
        return None
    return _place(spec.origin, next((each for each in folders if _holds(each, spec.origin)), None))


def _holds(folder: str, file: str | None) -> bool:
    return file is not None and lies_in(file, [folder])


def _place_of_file(module: str, file: str | None) -> _Place | None:
    """Return where a module is that has been imported from `file`."""
    if file is None:
        return None
    depth = module.count(".") + (Path(file).name == "__init__.py")
    return _place(file, str(Path(file).absolute().parents[depth - 1]) if depth else None)


def _place(file: str | None, top: str | None) -> _Place | None:
    # One in a zip on `sys.path` has the name of a file, and is none.
    if file is None or not file.endswith(".py") or not Path(file).is_file():
        return None
    path = os.path.normpath(Path(file).absolute())
    if top is None:
        return _Place(path, path.rpartition("/")[0], in_package=False)
    return _Place(path, os.path.normpath(Path(top).absolute()), in_package=True)
