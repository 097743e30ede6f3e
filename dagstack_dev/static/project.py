"""The plugins below some folders, read and prepared; none of their code runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dagstack_dev.app.config import read_config
from dagstack_dev.app.entry_points import Installed, installed_plugins
from dagstack_dev.app.hookspec_files import read_hookspecs
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.errors.registry import AmbiguousPlugin
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.host.plugins.preparation import locate, manifest_of
from dagstack_dev.host.plugins.sections import section_problem
from dagstack_dev.host.registry.registry import CORE_VERSION
from dagstack_dev.static.modules import Modules

if TYPE_CHECKING:
    from dagstack_dev.core.config import ConfigDocument
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.plugins.entry import Revision


@dataclass(frozen=True)
class Project:
    """Some folders of plugins at one moment.

    Attributes:
        roots: absolute folders with plugins.
        code_roots: absolute folders with further code that plugins import.
        rules: what is left out.
        config: the configuration of the plugins, if there is a file of it.
        sources: what was read of each plugin folder, by folder.
        plugins: those whose manifest can be read, each with its source.
        revisions: what can be built from them.
        errors: why the others cannot be set up, by folder; and why a file of the configuration or
            of hookspecs or an entry point cannot be used, by its path or name.
        denied: folders that cannot be searched, with the reason.
        blast_limit: how many plugins a save of shared code may reload; None for half of them,
            where there are 20 or more.
    """

    roots: Sequence[str]
    code_roots: Sequence[str]
    rules: IgnoreRules
    config: ConfigDocument | None
    sources: Mapping[str, PluginSource]
    plugins: Mapping[PluginRef, tuple[PluginManifest, PluginSource]]
    revisions: Mapping[PluginRef, Revision]
    errors: Mapping[str, PluginRegistryError] = field(default_factory=dict)
    denied: Mapping[str, str] = field(default_factory=dict)
    blast_limit: int | None = None

    @cached_property
    def graph(self) -> DependencyGraph:
        """Who depends on whom."""
        return DependencyGraph(
            {ref: manifest.depends_on for ref, (manifest, _) in self.plugins.items()}
        )

    @cached_property
    def broken(self) -> AbstractSet[PluginRef]:
        """The plugins whose manifest says who they are, though it cannot be read as a whole."""
        named = {error.ref for error in self.errors.values() if error.ref is not None}
        return named - self.plugins.keys()

    def owner(self, path: str) -> PluginRef | None:
        """Return the plugin in whose folder `path` is."""
        found = (ref for ref, (_, source) in self.plugins.items() if source.holds(path))
        return next(found, None)

    @cached_property
    def modules(self) -> Modules:
        """Their modules, and what these import."""
        sources = {ref: source for ref, (_, source) in self.plugins.items()}
        return Modules(sources, self.revisions, (*self.roots, *self.code_roots), self.rules)


def read_project(
    roots: Sequence[str],
    *,
    code_roots: Sequence[str] = (),
    ignore: Iterable[str] = (),
    gitignore: bool = True,
    config_file: str | None = None,
    entry_points: str | None = None,
    hookspec_files: Iterable[str] = (),
    core_version: str | None = None,
) -> Project:
    """Read the plugins below `roots`, and prepare each as far as that goes without running it.

    Args:
        roots: absolute folders with plugins.
        code_roots: absolute folders with further code that plugins import.
        ignore: globs to leave out.
        gitignore: whether to leave out what git ignores.
        config_file: the configuration of the plugins, an absolute path.
        entry_points: a group of entry points, which name installed plugins.
        hookspec_files: YAML that declares kinds, absolute paths.
        core_version: what the manifests have to accept; by default that of this package.
    """
    rules = IgnoreRules(ignore, gitignore=gitignore)
    registry = PluginRegistry(core_version=core_version or CORE_VERSION)
    sources: dict[str, PluginSource] = {}
    plugins: dict[PluginRef, tuple[PluginManifest, PluginSource]] = {}
    revisions: dict[PluginRef, Revision] = {}
    errors: dict[str, PluginRegistryError] = {}
    denied: dict[str, str] = {}
    config = None
    if config_file is not None:
        try:
            config = read_config(config_file)
        except PluginRegistryError as error:
            errors[config_file] = error
    try:
        specs = [spec for path in hookspec_files for spec in read_hookspecs(path)]
        registry.declare(registry.kinds.with_specs(specs))
    except PluginRegistryError as error:
        errors[error.path or ""] = error
    installed = Installed()
    if entry_points is not None:
        installed = installed_plugins(entry_points, runs_code=False)
        errors |= installed.errors
    roots = [*dict.fromkeys((*roots, *installed.folders))]
    homes = {folder: root for root in roots for folder in find_plugins(root, rules, denied=denied)}
    read = (read_plugin(folder, root, rules)[0] for folder, root in homes.items())
    modules = filter(None, (module.read() for module in installed.modules))
    for source in itertools.chain(read, modules):
        sources[source.folder] = source
        revision = None
        try:
            revision = registry.prepare(source)
            manifest = revision.manifest
            if config is not None and (misfit := section_problem(revision, config)):
                errors[source.folder] = misfit
        except PluginRegistryError as error:
            locate(error, source)
            errors[source.folder] = error
            try:
                manifest = manifest_of(source)
            except ManifestInvalid:
                continue
        rival = plugins.setdefault(manifest.ref, (manifest, source))[1]
        if rival is not source:
            folders = [rival.folder, source.folder]
            twice = errors[source.folder] = AmbiguousPlugin.duplicate(manifest.ref, folders)
            twice.path, twice.line = source.manifest_path, line_in(source, "name")
        elif revision is not None:
            revisions[manifest.ref] = revision
    return Project(
        roots,
        [*dict.fromkeys((*code_roots, *installed.code_roots))],
        rules,
        config,
        sources,
        plugins,
        revisions,
        errors=errors,
        denied=denied,
    )
