"""How what happens to single plugins is drawn."""

from __future__ import annotations

from dataclasses import replace

from soaking.actions import Action, Edit, Move, Put, Touch
from soaking.drawing import Draw
from soaking.modules import Way
from soaking.sources import Fault, Helper, Life, Source, Use

NAMES = "abcdefgh"
KINDS = ("demo", "demo", "demo", "extra")
HELPERS = ("util", "text", "lib.core", "lib.extra")

DATA_SAVES = 2
"""Saves of nothing but data in one folder before its code has to be saved: a folder where only
data changes, and always near a reload, is taken for one that its plugin writes into itself."""


def add(draw: Draw) -> Action | None:
    """A new plugin, most often valid."""
    folder = draw.free_folder()
    if folder is None or len(draw.folders) > 6:
        return None
    dice = draw.dice
    kind, name = dice.choice(KINDS), folder[-1]
    taken = draw.refs()
    if f"{kind}/{name}" in taken and dice.random() < 0.9:
        return None
    helpers = tuple(
        Helper(path, draw.version(), dice.choice(list(Use)))
        for path in HELPERS
        if dice.random() < 0.15
    )
    source = Source(
        kind,
        name,
        draw.version(),
        priority=dice.choice([0, 0, 0, 5, 9]),
        wants=draw.wants(f"{kind}/{name}", taken),
        life=dice.choice(list(Life)),
        helpers=helpers,
        shared=draw.imports(Way) if dice.random() < 0.6 else (),
        asset=dice.choice([None, None, "some data"]),
    )
    return Put(((folder, source),))


def remove(draw: Draw) -> Action | None:
    """A folder is deleted."""
    folder = draw.folder()
    return Put(((folder, None),)) if folder else None


def move(draw: Draw) -> Action | None:
    """A folder gets another path."""
    folder, target = draw.folder(), draw.free_folder()
    return Move(folder, target) if folder and target else None


def swap(draw: Draw) -> Action | None:
    """Two folders exchange what they hold."""
    one, other = draw.folder(), draw.folder()
    if one is None or other is None or one == other:
        return None
    return Put(((one, draw.folders[other]), (other, draw.folders[one])))


def rename(draw: Draw) -> Action | None:
    """The manifest gets another name, or another kind; now and then one that is taken."""
    folder = draw.folder()
    if folder is None:
        return None
    kind, name = draw.dice.choice(KINDS), draw.dice.choice(NAMES)
    if f"{kind}/{name}" in draw.refs() and draw.dice.random() < 0.7:
        return None
    return draw.edit(folder, kind=kind, name=name)


def edit(draw: Draw) -> Action | None:
    """Other code, of the same length."""
    folder = draw.folder()
    return draw.edit(folder) if folder else None


def edit_manifest(draw: Draw) -> Action | None:
    """Another priority; the code stays as it is."""
    folder = draw.folder()
    if folder is None:
        return None
    return Edit(folder, (("priority", draw.dice.choice([0, 1, 5, 9])),))


def edit_life(draw: Draw) -> Action | None:
    """The plugin starts something else in its setup."""
    folder = draw.folder()
    return draw.edit(folder, life=draw.dice.choice(list(Life))) if folder else None


def break_it(draw: Draw) -> Action | None:
    """Something goes wrong."""
    folder = draw.folder()
    return draw.edit(folder, fault=draw.dice.choice(list(Fault))) if folder else None


def depend(draw: Draw) -> Action | None:
    """Other dependencies, mostly ones that close no cycle."""
    folder = draw.folder()
    if folder is None:
        return None
    source = draw.folders[folder]
    refs = draw.refs()
    if draw.dice.random() < 0.8:
        refs = [ref for ref in refs if ref[-1] < source.name]
    wants = draw.wants(source.ref, refs)
    if draw.dice.random() < 0.08:
        wants += ("missing",)
    return draw.edit(folder, wants=wants, borrows=(), demands=())


def close_cycle(draw: Draw) -> Action | None:
    """Two plugins come to depend on each other."""
    one, other = draw.folder(), draw.folder()
    if one is None or other is None or one == other:
        return None
    first, second = draw.folders[one], draw.folders[other]
    return Put(
        (
            (one, replace(first, version=draw.version(), wants=(*first.wants, second.ref))),
            (other, replace(second, version=draw.version(), wants=(*second.wants, first.ref))),
        )
    )


def borrow(draw: Draw) -> Action | None:
    """The plugin imports code of one that it depends on, or no longer does."""
    folder = draw.folder()
    if folder is None:
        return None
    source = draw.folders[folder]
    others = [want for want in source.wants if "/" in want]
    if source.borrows or not others:
        return draw.edit(folder, borrows=()) if source.borrows else None
    return draw.edit(folder, borrows=(draw.dice.choice(others),))


def change_api(draw: Draw) -> Action | None:
    """The plugin is no longer, or again, what its dependents may count on."""
    folder = draw.folder()
    return draw.edit(folder, api=3 - draw.folders[folder].api) if folder else None


def demand(draw: Draw) -> Action | None:
    """The plugin counts on an api of one of its dependencies."""
    folder = draw.folder()
    others = [want for want in draw.folders[folder].wants if "/" in want] if folder else []
    if folder is None or not others:
        return None
    return draw.edit(folder, demands=((draw.dice.choice(others), draw.dice.choice([1, 1, 2])),))


def edit_helper(draw: Draw) -> Action | None:
    """A helper is edited; it may break, or come to import another one, in a circle too."""
    folder = draw.folder()
    source = draw.folders[folder] if folder else None
    if folder is None or source is None or not source.helpers:
        return None
    chosen = draw.dice.choice(source.helpers)
    others = [each.path for each in source.helpers if each is not chosen]
    edited = replace(
        chosen,
        version=draw.version(),
        broken=draw.dice.random() < 0.1,
        imports=tuple(path for path in others if draw.dice.random() < 0.3),
    )
    helpers = tuple(edited if each is chosen else each for each in source.helpers)
    draw.data_saves.pop(folder, None)
    return Edit(folder, (("helpers", helpers),))


def use_helpers(draw: Draw) -> Action | None:
    """Helpers come and go, or are imported at another time."""
    folder = draw.folder()
    if folder is None:
        return None
    dice = draw.dice
    helpers = tuple(
        Helper(path, draw.version(), dice.choice(list(Use)))
        for path in HELPERS
        if dice.random() < 0.3
    )
    return draw.edit(folder, helpers=helpers)


def lose_helper(draw: Draw) -> Action | None:
    """The file of a helper is deleted, and whoever imports it does not know yet."""
    folder = draw.folder()
    source = draw.folders[folder] if folder else None
    if folder is None or source is None or not source.helpers:
        return None
    lost = draw.dice.choice(source.helpers)
    users = tuple(
        replace(each, version=draw.version(), imports=(*each.imports, lost.path))
        for each in source.helpers
        if each is not lost
    )
    return draw.edit(folder, helpers=users)


def save_data(draw: Draw) -> Action | None:
    """The data file of a plugin is saved, or deleted."""
    folder = draw.folder()
    if folder is None or draw.data_saves.get(folder, 0) >= DATA_SAVES:
        return None
    draw.data_saves[folder] = draw.data_saves.get(folder, 0) + 1
    text = None if draw.dice.random() < 0.2 else f"data {draw.version():06}"
    return Edit(folder, (("asset", text),))


def touch(draw: Draw) -> Action | None:
    """A file is saved without a change."""
    folder = draw.folder()
    return Touch(f"{folder}/{draw.dice.choice(['plugin.py', 'dagstack.toml'])}") if folder else None
