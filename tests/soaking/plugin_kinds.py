"""How what happens to single plugins is drawn."""

from __future__ import annotations

from dataclasses import replace

from soaking.actions import Action, Edit, Put, Touch
from soaking.drawing import Draw
from soaking.modules import Way
from soaking.sources import Helper, Life, Source, Use

NAMES = "abcdefgh"
KINDS = ("demo", "demo", "demo", "extra")
HELPERS = ("util", "text", "lib.core", "lib.extra")


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
        wary=dice.random() < 0.1,
    )
    return Put(((folder, source),))


def remove(draw: Draw) -> Action | None:
    """A folder is deleted."""
    folder = draw.folder()
    return Put(((folder, None),)) if folder else None


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
    if folder is None:
        return None
    text = None if draw.dice.random() < 0.2 else f"data {draw.version():06}"
    return Edit(folder, (("asset", text),))


def touch(draw: Draw) -> Action | None:
    """A file is saved without a change."""
    folder = draw.folder()
    return Touch(f"{folder}/{draw.dice.choice(['plugin.py', 'dagstack.toml'])}") if folder else None


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


def borrow(draw: Draw) -> Action | None:
    """The plugin imports code of one that it depends on, or not; or no longer does."""
    folder = draw.folder()
    if folder is None:
        return None
    source = draw.folders[folder]
    others = [want for want in source.wants if "/" in want]
    if draw.dice.random() < 0.4:
        others = [ref for ref in draw.refs() if source.ref not in draw.needed(ref)]
    if source.borrows or not others:
        return draw.edit(folder, borrows=()) if source.borrows else None
    return draw.edit(folder, borrows=(draw.dice.choice(others),))
