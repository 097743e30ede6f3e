"""What must hold whenever a reload has come to rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.refs import PluginRef
from model.builds import Build, Inputs, Oracle, build_all, cold, reach, wanted
from model.disk import Module, Snapshot


@dataclass(frozen=True)
class Rest:
    """What there is when nothing is left to do.

    Attributes:
        live: what runs.
        ran: what ran at the rest before.
        fell: what has failed by itself since then: crashed, ill, or failed in a roll back.
        homes: the folders of all plugins that there are, running or at rest.
        fallen: what has ever crashed or fallen ill, and is not to be tried again.
        known: what is known to fail, by name and the key of the build; a restart that knew as
            much would not try it either.
    """

    disk: Snapshot
    oracle: Oracle
    live: Mapping[PluginRef, Build]
    ran: Mapping[PluginRef, Build]
    fell: Collection[PluginRef]
    homes: Mapping[PluginRef, str]
    fallen: Collection[PluginRef]
    known: Collection[tuple[PluginRef, int]]

    def fails(self, ref: PluginRef, build: Build) -> bool:
        """Whether a build is known not to work, whatever the oracle says."""
        return ref in self.fallen or (ref, build.key) in self.known


def broken_laws(rest: Rest) -> Iterator[str]:
    """Each law that does not hold, in words."""
    yield from _unsound(rest)
    yield from _lost(rest)
    yield from _unlike_a_restart(rest)
    yield from _held_back_for_nothing(rest)


def _unsound(rest: Rest) -> Iterator[str]:
    """Laws 3 and 4: removed plugins are gone; what runs has just what it was built with."""
    content: dict[str, Module | None] = {}
    folders: dict[str, PluginRef] = {}
    for ref, build in sorted(rest.live.items()):
        if _is_gone(ref, build, rest.disk):
            yield f"{ref} is gone from disk, and it runs"
        for other, key in build.beside.items():
            if other not in rest.live or rest.live[other].key != key:
                yield f"{ref} was built with another {other} than the one that runs"
        for other, text in build.borrowed.items():
            if other in rest.live and rest.live[other].inputs.text != text:
                yield f"{ref} has imported other code of {other} than the code that runs"
        for name, module in build.modules.items():
            if content.setdefault(name, module) != module:
                yield f"{ref} has imported another {name} than others have"
        if folders.setdefault(build.inputs.folder, ref) != ref:
            yield f"{ref} and {folders[build.inputs.folder]} run from one folder"


def _lost(rest: Rest) -> Iterator[str]:
    """Law 3: what ran is down only if it, or something that it needs, is not to be had."""
    ran = {ref: build.inputs for ref, build in rest.ran.items()}
    now = {**ran, **wanted(rest.disk, rest.ran)}
    for ref in sorted(rest.ran.keys() - rest.live.keys()):
        needed = upstream(ref, ran) | upstream(ref, now)
        if not any(_has_left(other, rest) for other in needed):
            yield f"{ref} ran, nothing that it needs has been removed, and it is lost"


def _has_left(ref: PluginRef, rest: Rest) -> bool:
    """Whether nothing could be done for a plugin: it never ran, fell, was removed or renamed."""
    if ref in rest.fell:
        return True
    if ref not in rest.ran:
        return ref not in rest.live
    if _is_gone(ref, rest.ran[ref], rest.disk):
        return True
    folder = rest.ran[ref].inputs.folder
    return any(each.inputs.folder == folder for other, each in rest.live.items() if other != ref)


def _unlike_a_restart(rest: Rest) -> Iterator[str]:
    """Law 4: parts that a restart brings up whole are the same."""
    up = cold(rest.disk, rest.oracle, rest.fails)
    claims = rest.disk.claims()
    unread = {folder for folder, text in rest.disk.folders.items() if text.ref is None}
    for part in _parts(rest):
        refs = {each for each in part if isinstance(each, PluginRef)}
        if not refs & claims.keys() <= up.keys():
            continue
        if any(rest.homes.get(ref) in unread for ref in refs):
            continue
        for ref in sorted(refs):
            if rest.live.get(ref) != up.get(ref):
                yield f"{ref}: a restart has {up.get(ref)}, here is {rest.live.get(ref)}"


def _needs(ref: PluginRef, inputs: Inputs, rest: Rest) -> tuple[PluginRef, ...] | None:
    """What the names of a plugin mean beside all that runs or is on disk."""
    names: dict[PluginRef, tuple[str | PluginRef, ...]] = dict.fromkeys(
        {*rest.homes, *rest.disk.claims()}, ()
    )
    graph = DependencyGraph({**names, ref: inputs.text.wants})
    return None if graph.problem(ref) else graph.dependencies(ref)


def _held_back_for_nothing(rest: Rest) -> Iterator[str]:
    """Law 2: news that alone, beside all else as it runs, would lose nothing are in force."""
    live = {ref: build.inputs for ref, build in rest.live.items()}
    force = in_force(rest.live)
    folders = {inputs.folder: ref for ref, inputs in live.items()}
    modules = dict(rest.disk.modules)
    for name, module in force.items():
        _set(modules, name, module)

    def lose_nothing(
        anew: Collection[PluginRef],
        plugins: Mapping[PluginRef, Inputs],
        code: Mapping[str, Module],
    ) -> bool:
        standing = {ref: rest.live[ref] for ref in live.keys() - _downstream(anew, rest.live)}
        built = build_all(plugins, code, rest.oracle, rest.fails, standing)
        return plugins.keys() <= built.keys()

    for ref, said in wanted(rest.disk, rest.live).items():
        inputs = replace(said, needs=_needs(ref, said, rest))
        if live.get(ref) == inputs or folders.get(inputs.folder, ref) != ref:
            continue
        if lose_nothing({ref}, {**live, ref: inputs}, modules):
            yield f"the news of {ref} are held back for nothing"
    for name, module in force.items():
        new = rest.disk.modules.get(name)
        importers = {ref for ref, build in rest.live.items() if name in build.modules}
        if module != new and lose_nothing(importers, live, _set(dict(modules), name, new)):
            yield f"the news of the module {name} are held back for nothing"


def _downstream(refs: Collection[PluginRef], live: Mapping[PluginRef, Build]) -> set[PluginRef]:
    """Plugins, and all that was built with any of them."""
    found = {*refs}
    todo = [*refs]
    while todo:
        ref = todo.pop()
        new = {other for other, each in live.items() if ref in {*each.beside, *each.borrowed}}
        todo += new - found
        found |= new
    return found


def in_force(live: Mapping[PluginRef, Build]) -> dict[str, Module | None]:
    """What runs of the shared code that something has imported."""
    return {name: module for build in live.values() for name, module in build.modules.items()}


def _set(modules: dict[str, Module], name: str, module: Module | None) -> dict[str, Module]:
    modules.pop(name, None)
    if module is not None:
        modules[name] = module
    return modules


def _is_gone(ref: PluginRef, build: Build, disk: Snapshot) -> bool:
    """Whether a plugin has been removed: its folder is gone, and no other one claims its name."""
    return build.inputs.folder not in disk.folders and ref not in disk.claims()


def upstream(ref: PluginRef, plugins: Mapping[PluginRef, Inputs]) -> set[PluginRef]:
    """A plugin and all that it needs, directly or not."""
    found = {ref}
    todo = [ref]
    while todo:
        inputs = plugins.get(todo.pop())
        if inputs is not None:
            new = {*(inputs.needs or ()), *inputs.text.borrows, *_named(inputs, plugins)} - found
            found |= new
            todo += new
    return found


def _named(inputs: Inputs, plugins: Iterable[PluginRef]) -> set[PluginRef]:
    """What its names may mean."""
    names = {want for want in inputs.text.wants if isinstance(want, str)}
    exact = {want for want in inputs.text.wants if isinstance(want, PluginRef)}
    return exact | {ref for ref in plugins if ref.name in names}


def _parts(rest: Rest) -> Iterable[set[Hashable]]:
    """What has to do with each other by what the disk says or by what runs."""
    whole = {*rest.disk.claims(), *rest.homes}
    ties: list[set[Hashable]] = [{ref} for ref in whole]
    said = [(text.ref, folder, text) for folder, text in rest.disk.folders.items() if text.ref]
    said += [(ref, each.inputs.folder, each.inputs.text) for ref, each in rest.live.items()]
    for ref, folder, text in said:
        inputs = Inputs(folder, text, 0, None)
        reached, _ = reach(text.imports, rest.disk.modules)
        ties.append({ref, f"in {folder}", *text.borrows, *_named(inputs, whole), *reached})
    ties += [{ref, *each.modules, *each.beside} for ref, each in rest.live.items()]
    part: dict[Hashable, set[Hashable]] = defaultdict(set)
    for tie in ties:
        merged = tie.union(*(part[each] for each in tie))
        for each in merged:
            part[each] = merged
    return {id(each): each for each in part.values()}.values()
