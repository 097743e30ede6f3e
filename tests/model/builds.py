"""What plugins are built from, which builds work, and what a restart brings up."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.refs import PluginRef
from model.disk import Module, Snapshot, Text


@dataclass(frozen=True)
class Inputs:
    """What a plugin is to be built from, beside what it finds when it is imported.

    Attributes:
        needs: what the names of its `depends_on` mean; None where some of them mean nothing.
        nonce: another one for each new instance that was asked for.
    """

    folder: str
    text: Text
    section: int
    needs: tuple[PluginRef, ...] | None
    nonce: int = field(default=0, compare=False)

    @property
    def version(self) -> Hashable:
        """Equal for what is built in the same way, but for what it depends on."""
        return self.folder, self.text, self.section, self.nonce


@dataclass(frozen=True)
class Build:
    """One instance, by all that has gone into it.

    Attributes:
        modules: each shared module that its import reached, as it was; None for an absent one.
        borrowed: the code of other plugins that it imported.
        beside: the keys of the builds it depends on.
        key: a digest of all that; where the folder lies is not part of it.
    """

    inputs: Inputs
    modules: Mapping[str, Module | None] = field(hash=False)
    borrowed: Mapping[PluginRef, Text] = field(hash=False)
    beside: Mapping[PluginRef, int] = field(hash=False)
    key: int


def digest(*parts: object) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest())


class Oracle:
    """Which builds work, for one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._has_failed: set[int] = set()

    def fits(self, text: Text, section: int) -> bool:
        """Whether a section of the configuration fits the plugin; none always does."""
        return not section or (section * 5 + text.version) % 7 != 0

    def works(self, key: int) -> bool:
        """Whether a setup works in the end; neighbours' versions are part of the key."""
        return key % 6 != 0

    def is_transient(self, key: int) -> bool:
        """Whether a setup fails at first, and works when it is tried again."""
        return key % 23 == 0

    def attempt(
        self,
        inputs: Inputs,
        modules: Mapping[str, Module | None],
        borrowed: Mapping[PluginRef, Text],
        beside: Mapping[PluginRef, int],
    ) -> tuple[Build, bool]:
        """As `build`, at this moment: what is transient fails every other time."""
        build, works = self.build(inputs, modules, borrowed, beside)
        if works and self.is_transient(build.key) and build.key not in self._has_failed:
            self._has_failed.add(build.key)
            return build, False
        self._has_failed.discard(build.key)
        return build, works

    def build(
        self,
        inputs: Inputs,
        modules: Mapping[str, Module | None],
        borrowed: Mapping[PluginRef, Text],
        beside: Mapping[PluginRef, int],
    ) -> tuple[Build, bool]:
        """What comes of importing a plugin and setting it up, and whether it works."""
        text = inputs.text
        reached, imported = reach(text.imports, modules)
        found = {ref: borrowed[ref] for ref in text.borrows if ref in borrowed}
        key = digest(
            self.seed,
            text,
            inputs.section,
            sorted(reached.items()),
            sorted(found.items()),
            sorted(beside.items()),
        )
        can = self.can_load(inputs) and imported and len(found) == len(text.borrows)
        return Build(inputs, reached, found, beside, key), can and self.works(key)

    def can_load(self, inputs: Inputs) -> bool:
        """Whether nothing speaks against loading a plugin before its code has run."""
        return not inputs.text.broken and self.fits(inputs.text, inputs.section)


def reach(
    imports: Iterable[str], modules: Mapping[str, Module | None]
) -> tuple[dict[str, Module | None], bool]:
    """The shared modules that an import gets to, and whether it gets through."""
    reached: dict[str, Module | None] = {}
    for each in imports:
        name = each.rstrip("?")
        module = reached[name] = modules.get(name)
        if module is None and each != name:
            continue
        if module is None or module.broken:
            return reached, False
        further, worked = reach(module.imports, modules)
        reached |= further
        if not worked:
            return reached, False
    return reached, True


def wanted(disk: Snapshot, running: Mapping[PluginRef, Build]) -> dict[PluginRef, Inputs]:
    """What the disk says each plugin is to be built from.

    A name that several folders claim belongs to the one that runs it, and else to none.
    """
    owners: dict[PluginRef, str | None] = {}
    for ref, folders in disk.claims().items():
        owner = running[ref].inputs.folder if ref in running else None
        owners[ref] = folders[0] if len(folders) == 1 else owner if owner in folders else None
    graph = DependencyGraph(
        {ref: disk.folders[each].wants if each else () for ref, each in owners.items()}
    )
    return {
        ref: Inputs(
            folder,
            disk.folders[folder],
            disk.section(ref),
            None if graph.problem(ref) else graph.dependencies(ref),
        )
        for ref, folder in owners.items()
        if folder is not None
    }


def build_all(
    plugins: Mapping[PluginRef, Inputs],
    modules: Mapping[str, Module | None],
    oracle: Oracle,
    fails: Callable[[PluginRef, Build], bool] = lambda *_: False,
    standing: Mapping[PluginRef, Build] = MappingProxyType({}),
) -> dict[PluginRef, Build]:
    """Build all that can be built beside what is `standing`, dependencies first."""
    up = dict(standing)
    failed: set[PluginRef] = set()
    loaded = _loadable(plugins, oracle)
    grown = True
    while grown:
        grown = False
        for ref, inputs in plugins.items():
            if ref in up or ref in failed or inputs.needs is None:
                continue
            if not all(other in up for other in inputs.needs):
                continue
            beside = {other: up[other].key for other in inputs.needs}
            build, works = oracle.build(inputs, modules, loaded, beside)
            grown = True
            if works and not fails(ref, build):
                up[ref] = build
            else:
                failed.add(ref)
    return up


def _loadable(plugins: Mapping[PluginRef, Inputs], oracle: Oracle) -> dict[PluginRef, Text]:
    """The code that can be imported: that of plugins which wait for nothing that cannot come."""
    found: dict[PluginRef, Text] = {}
    before = -1
    while len(found) > before:
        before = len(found)
        for ref, inputs in plugins.items():
            if (
                inputs.needs is not None
                and oracle.can_load(inputs)
                and found.keys() >= {*inputs.needs}
            ):
                found[ref] = inputs.text
    return found


def cold(
    disk: Snapshot, oracle: Oracle, fails: Callable[[PluginRef, Build], bool] = lambda *_: False
) -> dict[PluginRef, Build]:
    """What a restart brings up."""
    return build_all(wanted(disk, {}), disk.modules, oracle, fails)
