"""What would be reloaded for a file, and by which way; nothing is run to find out."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors import ManifestInvalid
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.manifest import parse_manifest
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.runtimes.code_roots import CodeRoots
from dagstack_dev.runtimes.finder import quoted
from dagstack_dev.runtimes.static_imports import static_imports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource


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
    modules: tuple[str, ...]
    links: tuple[Link, ...]
    reason: str | None = None


class _Import(NamedTuple):
    importer: str
    place: str


def why(
    path: str, roots: Sequence[str], code_roots: Sequence[str] = (), ignore: Iterable[str] = ()
) -> Why:
    """What a change of the file at `path` would reload, as far as the text of the code tells.

    Imports inside functions count as if they had happened. Each plugin and module is named once,
    on a shortest way.

    Args:
        path: an absolute path; the file need not exist.
        roots: absolute folders with plugins.
        code_roots: absolute folders with further code that plugins import.
        ignore: globs that do not count, besides the built-in ones.
    """
    return _Survey(roots, code_roots, IgnoreRules(tuple(ignore))).why(path)


class _Survey:
    """Everything below some roots that can be told without running it."""

    def __init__(
        self, roots: Sequence[str], code_roots: Sequence[str], ignore: IgnoreRules
    ) -> None:
        self._ignore = ignore
        self._all = (*roots, *code_roots)
        self._code = CodeRoots()
        for root in self._all:
            self._code.add(root, ignore.excludes)
        self._plugins: dict[str, PluginRef] = {}
        self._sources: dict[str, PluginSource] = {}
        self._graph = self._read_plugins(roots)
        self._owners: dict[str, PluginRef] = {}
        self._importers: defaultdict[str, dict[str, _Import]] = defaultdict(dict)

    def _read_plugins(self, roots: Sequence[str]) -> DependencyGraph:
        wants = {}
        for root in roots:
            for folder in find_plugins(root, self._ignore):
                source, _ = read_plugin(folder, root, self._ignore)
                file = source.manifest
                try:
                    manifest = parse_manifest((file and file.content) or b"", source.manifest_path)
                except ManifestInvalid:
                    continue  # It cannot be loaded either.
                self._plugins[folder] = manifest.ref
                self._sources[folder] = source
                wants[manifest.ref] = manifest.depends_on
        return DependencyGraph(wants)

    def why(self, path: str) -> Why:
        folder = next((each for each in self._plugins if lies_in(path, [each])), None)
        modules = tuple(sorted(set(self._code.names_of(path))))
        root = next((root for root in self._all if lies_in(path, [root])), None)
        if root is None:
            return Why(path, (), (), "it is below none of the watched folders; see --watch-code")
        if self._is_left_out(path, root, folder):
            return Why(path, (), (), "it is ignored")
        self._read_imports()
        found = _Chains(self._importers, self._owners, self._graph)
        links = found.from_plugin(self._plugins[folder], folder) if folder is not None else []
        if path.endswith(".py"):
            links += found.from_modules(modules)
        reason = None if links else "no plugin imports it"
        imported = tuple(module for module in modules if module in self._importers)
        return Why(path, imported, tuple(links), reason)

    def _is_left_out(self, path: str, root: str, folder: str | None) -> bool:
        """Whether a file is ignored, for a plugin's source if it lies in one's folder."""
        if folder is None or not Path(path).is_file():
            return self._ignore.path(path[len(root) + 1 :])
        return path[len(folder) + 1 :] not in self._sources[folder].files

    def _read_imports(self) -> None:
        for folder, ref in self._plugins.items():
            package = f"{NAMESPACE}.{quoted(ref.kind)}.{quoted(ref.name)}"
            for relative, file in self._sources[folder].files.items():
                if relative.endswith(".py"):
                    module = ".".join([package, *_parts(relative)])
                    self._owners[module] = self._owners[package] = ref
                    self._note(module, f"{folder}/{relative}", file.content or b"")
        for path, text in self._shared_files():
            for module in self._code.names_of(path):
                self._note(module, path, text)

    def _shared_files(self) -> Iterator[tuple[str, bytes]]:
        for root in self._all:
            source, _ = read_plugin(root, root, self._ignore)
            for relative, file in source.files.items():
                path = f"{root}/{relative}"
                if relative.endswith(".py") and not lies_in(path, list(self._plugins)):
                    yield path, file.content or b""

    def _note(self, module: str, path: str, text: bytes) -> None:
        is_package = path.endswith("/__init__.py")
        for imported, line in static_imports(text, module, is_package=is_package):
            if imported != module:
                self._importers[imported].setdefault(module, _Import(module, f"{path}:{line}"))


class _Chains:
    """Follows importers and dependents; whatever has been reached is not named again."""

    def __init__(
        self,
        importers: dict[str, dict[str, _Import]],
        owners: dict[str, PluginRef],
        graph: DependencyGraph,
    ) -> None:
        self._importers = importers
        self._owners = owners
        self._graph = graph
        self._named: set[str] = set()

    def from_plugin(self, ref: PluginRef, folder: str) -> list[Link]:
        """The plugin that a file is part of, and what hangs on it."""
        link = Link(str(ref), "contains it", folder)
        self._named.add(link.name)
        package = next((each for each, owner in self._owners.items() if owner == ref), "")
        self._follow(deque([(".".join(package.split(".")[:3]), link)]))
        self._add_dependents(ref, link)
        return [link]

    def from_modules(self, modules: Iterable[str]) -> list[Link]:
        """What imports any of `modules`, as far as a plugin is at the end of it."""
        start = Link("", "", "")
        self._follow(deque((module, start) for module in modules))
        return _with_plugins(start.links, set(map(str, self._owners.values())))

    def _follow(self, todo: deque[tuple[str, Link]]) -> None:
        while todo:
            module, link = todo.popleft()
            for importer, place in sorted(self._importers.get(module, {}).values()):
                ref = self._owners.get(importer)
                name = str(ref) if ref is not None else importer
                if name in self._named:
                    continue
                self._named.add(name)
                next_link = Link(name, "imports it", place)
                link.links.append(next_link)
                if ref is None:
                    todo.append((importer, next_link))
                else:
                    self._add_dependents(ref, next_link)

    def _add_dependents(self, ref: PluginRef, link: Link) -> None:
        todo = deque([(ref, link)])
        while todo:
            ref, link = todo.popleft()
            for dependent in sorted(self._graph.dependents(ref)):
                if str(dependent) not in self._named:
                    self._named.add(str(dependent))
                    link.links.append(Link(str(dependent), "depends on it", ""))
                    todo.append((dependent, link.links[-1]))


def _with_plugins(links: list[Link], plugins: set[str]) -> list[Link]:
    """`links` without the branches at whose end there is no plugin."""
    for link in links:
        link.links = _with_plugins(link.links, plugins)
    return [link for link in links if link.links or link.name in plugins]


def _parts(relative: str) -> list[str]:
    parts = relative.removesuffix(".py").split("/")
    return parts[:-1] if parts[-1] == "__init__" else parts
