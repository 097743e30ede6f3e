"""How what happens to shared code and to the configuration is drawn."""

from __future__ import annotations

from dataclasses import replace

from soaking.actions import Action, Put
from soaking.drawing import Draw
from soaking.modules import MODULES, Flaw, Imports, Module, Way, around, inside
from soaking.sources import Section, Source

IN_MODULES = (Way.TOP, Way.DOTTED, Way.OPTIONAL, Way.DYNAMIC, Way.CALL)
"""The ways in which a shared module imports another one."""


def add_module(draw: Draw) -> Action | None:
    """A shared module comes; somebody may have been waiting for it."""
    free = [name for name in MODULES if name not in draw.tree.modules]
    if not free:
        return None
    name = draw.dice.choice(free)
    needed = [each for each in around(name) if each not in draw.tree.modules]
    new = [(each, Module(draw.version())) for each in needed]
    return Put(modules=(*new, (name, Module(draw.version(), _imports(draw, name)))))


def edit_module(draw: Draw) -> Action | None:
    """A shared module is edited; it may come to import others, or break."""
    edited = _edited(draw)
    return Put(modules=(edited,)) if edited else None


def edit_module_and_plugin(draw: Draw) -> Action | None:
    """A shared module and a plugin are saved together."""
    edited, folder = _edited(draw), draw.folder()
    if edited is None or folder is None:
        return None
    source = replace(draw.folders[folder], version=draw.version())
    return Put(sources=((folder, source),), modules=(edited,))


def _edited(draw: Draw) -> tuple[str, Module] | None:
    name = draw.module()
    if name is None:
        return None
    before, dice = draw.tree.modules[name], draw.dice
    imports = _imports(draw, name) if dice.random() < 0.4 else before.imports
    flaw = dice.choice(list(Flaw)) if dice.random() < 0.3 else Flaw.NONE
    return name, replace(before, version=draw.version(), imports=imports, flaw=flaw)


def _imports(draw: Draw, name: str) -> Imports:
    """Mostly modules that come before `name`, so that circles are rare."""
    here = MODULES.index(name)
    return tuple(
        (other, draw.dice.choice(IN_MODULES))
        for index, other in enumerate(MODULES)
        if index != here and draw.dice.random() < (0.35 if index < here else 0.03)
    )


def lose_module(draw: Draw) -> Action | None:
    """A shared module is deleted with what is in it, and whoever imports it does not know yet."""
    name = draw.module()
    if name is None:
        return None
    return Put(modules=tuple((each, None) for each in _with_inner(name, draw)))


def _with_inner(name: str, draw: Draw) -> list[str]:
    return [each for each in draw.tree.modules if each == name or inside(name, each)]


def make_package(draw: Draw) -> Action | None:
    """A module becomes a package, or the reverse."""
    name = draw.module()
    if name is None or len(_with_inner(name, draw)) > 1:
        return None
    module = draw.tree.modules[name]
    return Put(modules=((name, replace(module, package=not module.package)),))


def rename_module(draw: Draw) -> Action | None:
    """A shared module is renamed, and everything that imports it follows."""
    free = [each for each in MODULES if each not in draw.tree.modules]
    free = [each for each in free if set(around(each)) <= draw.tree.modules.keys()]
    name = draw.module()
    if name is None or not free or len(_with_inner(name, draw)) > 1:
        return None
    new = draw.dice.choice(free)
    if inside(name, new):
        return None
    modules: list[tuple[str, Module | None]] = [(name, None)]
    for each, module in draw.tree.modules.items():
        imports = _renamed(module.imports, name, new)
        if each == name:
            imports = tuple(item for item in imports if item[0] != new)
            modules.append((new, replace(module, version=draw.version(), imports=imports)))
        elif imports != module.imports:
            modules.append((each, replace(module, version=draw.version(), imports=imports)))
    return Put(sources=_users_renamed(draw, name, new), modules=tuple(modules))


def _users_renamed(draw: Draw, name: str, new: str) -> tuple[tuple[str, Source | None], ...]:
    return tuple(
        (
            folder,
            replace(source, version=draw.version(), shared=_renamed(source.shared, name, new)),
        )
        for folder, source in draw.folders.items()
        if any(each == name for each, _ in source.shared)
    )


def _renamed(imports: Imports, name: str, new: str) -> Imports:
    ways = dict(imports)
    if name not in ways:
        return imports
    return tuple({(new if each == name else each): way for each, way in ways.items()}.items())


def use_modules(draw: Draw) -> Action | None:
    """A plugin imports other shared modules, or in another way; it may await missing ones."""
    folder = draw.folder()
    return draw.edit(folder, shared=draw.imports(Way)) if folder else None


def configure(draw: Draw) -> Action | None:
    """A section of the configuration is edited, with what its plugin can do or not, or removed."""
    dice = draw.dice
    known = sorted(draw.tree.sections)
    if known and dice.random() < 0.2:
        return Put(sections=((dice.choice(known), None),))
    refs = [*draw.refs(), *known, ""]
    section = Section(draw.version(), fails=dice.random() < 0.1, fits=dice.random() < 0.8)
    return Put(sections=((dice.choice(refs), section),))
