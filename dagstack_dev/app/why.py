"""What would be reloaded for a file, and by which way; nothing is run to find out."""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.discovery import plugin_sources
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.host.plugins.preparation import manifest_of
from dagstack_dev.runtimes.in_process.plugin_finder import quoted
from dagstack_dev.runtimes.shared.roots import CodeRoots
from dagstack_dev.runtimes.shared.static_imports import static_imports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.sources import PluginSource

    Importers = Mapping[str, Mapping[PluginRef | str, str]]
    """By module: the plugins and shared modules that import it, and where each does."""


@dataclass(slots=True)
class Link:
    """One link of a chain: what it is, how it hangs on the one before, and what hangs on it.

    Attributes:
        name: a module, or a plugin as `kind/name`.
        how: "imports it" or "depends on it"; "contains it" for the plugin that a file is part of.
        place: `path:line` of the import, or the path of the manifest.
        links: what would be reloaded in its turn.
    """

    name: str
    how: str
    place: str
    links: list[Link] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Why:
    """What a change of one file would reload.

    Attributes:
        path: the file.
        modules: the names under which it is imported.
        links: what would be reloaded; empty when nothing would.
        reason: why nothing would, in words.
    """

    path: str
    modules: tuple[str, ...] = ()
    links: Sequence[Link] = ()
    reason: str | None = None


def why(path: str, roots: Sequence[str], code_roots: Sequence[str] = ()) -> Why:
    """Find what a change of the file at `path` would reload, as far as the text of the code tells.

    Imports inside functions count as if they had happened. Each plugin and module is named once,
    on a shortest way.

    Args:
        path: an absolute path; the file need not exist.
        roots: absolute folders with plugins.
        code_roots: absolute folders with further code that plugins import.
    """
    rules, everywhere = IgnoreRules(), (*roots, *code_roots)
    root = next((root for root in everywhere if lies_in(path, [root])), None)
    if root is None:
        return Why(path, reason="it is below none of the watched folders; see --watch-code")
    plugins = _plugins(roots, rules)
    manifest, source = next(
        (each for each in plugins if lies_in(path, [each[1].folder])), (None, None)
    )
    if source is not None and Path(path).is_file():
        is_ignored = path[len(source.folder) + 1 :] not in source.files
    else:
        is_ignored = rules.path(path[len(root) + 1 :])
    if is_ignored:
        return Why(path, reason="it is ignored")
    code = CodeRoots()
    for each in everywhere:
        code.add(each, rules.excludes)
    shared = [read_plugin(each, each, rules)[0] for each in everywhere]
    importers = _importers(plugins, shared, code)
    modules = sorted(set(code.names_of(path)))
    top = Link("", "", "")
    starts: list[tuple[PluginRef | str, Link]] = []
    if manifest is not None and source is not None:
        top.links.append(Link(str(manifest.ref), "contains it", source.folder))
        starts += [(each, top.links[0]) for each in (_package(manifest.ref), manifest.ref)]
    if path.endswith(".py"):
        starts += [(module, top) for module in modules]
    graph = DependencyGraph({manifest.ref: manifest.depends_on for manifest, _ in plugins})
    _follow(starts, importers, graph)
    links = _with_plugins(top.links, {str(ref) for ref in graph.refs})
    return Why(
        path,
        tuple(module for module in modules if module in importers),
        links,
        None if links else "no plugin imports it",
    )


def _plugins(roots: Sequence[str], rules: IgnoreRules) -> list[tuple[PluginManifest, PluginSource]]:
    found = []
    for source in plugin_sources(roots, rules):
        with suppress(ManifestInvalid):  # It cannot be loaded either.
            found.append((manifest_of(source), source))
    return found


def _importers(
    plugins: Sequence[tuple[PluginManifest, PluginSource]],
    shared: Sequence[PluginSource],
    code: CodeRoots,
) -> Importers:
    importers: defaultdict[str, dict[PluginRef | str, str]] = defaultdict(dict)

    def note(source: PluginSource, relative: str, module: str, importer: PluginRef | str) -> None:
        content = source.files[relative].content or b""
        is_package = f"/{relative}".endswith("/__init__.py")
        for imported, line in static_imports(content, module, is_package=is_package):
            if imported != module:
                importers[imported].setdefault(importer, f"{source.folder}/{relative}:{line}")

    for manifest, source in plugins:
        for relative in sorted(filter(_is_code, source.files)):
            parts = [_package(manifest.ref), *relative.removesuffix(".py").split("/")]
            module = ".".join(parts).removesuffix(".__init__")
            note(source, relative, module, manifest.ref)
    folders = [source.folder for _, source in plugins]
    for source in shared:
        for relative in filter(_is_code, source.files):
            path = f"{source.folder}/{relative}"
            if not lies_in(path, folders):
                for module in code.names_of(path):
                    note(source, relative, module, module)
    return importers


def _is_code(relative: str) -> bool:
    return relative.endswith(".py")


def _package(ref: PluginRef) -> str:
    return f"{NAMESPACE}.{quoted(ref.kind)}.{quoted(ref.name)}"


def _follow(
    starts: Sequence[tuple[PluginRef | str, Link]], importers: Importers, graph: DependencyGraph
) -> None:
    """Hang on each of `starts` what imports or depends on it, level by level."""
    named: set[PluginRef | str] = {each for each, _ in starts if isinstance(each, PluginRef)}
    todo = deque(starts)
    while todo:
        above, link = todo.popleft()
        hanging: dict[PluginRef | str, str]
        if isinstance(above, PluginRef):
            how, hanging = "depends on it", dict.fromkeys(graph.dependents(above), "")
        else:
            how, hanging = "imports it", dict(importers.get(above, {}))
        for each in sorted(hanging.keys() - named, key=str):
            named.add(each)
            link.links.append(Link(str(each), how, hanging[each]))
            todo.append((each, link.links[-1]))


def _with_plugins(links: list[Link], plugins: set[str]) -> list[Link]:
    """Return `links` without the branches at whose end there is no plugin."""
    for link in links:
        link.links = _with_plugins(link.links, plugins)
    return [link for link in links if link.links or link.name in plugins]
