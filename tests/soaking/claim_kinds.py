"""How it is drawn that folders and names come to belong to others."""

from __future__ import annotations

from dataclasses import replace

from soaking.actions import Action, Exchange, Move, Put
from soaking.drawing import Draw
from soaking.plugin_kinds import KINDS, NAMES
from soaking.sources import Fault, Source


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


def exchange_folders(draw: Draw) -> Action | None:
    """Two folders are renamed, each to the path of the other."""
    two = draw.two_folders()
    return Exchange(*two) if two else None


def exchange_names(draw: Draw) -> Action | None:
    """Two plugins exchange their names, perhaps while one that depends on them is broken."""
    two = draw.two_folders()
    if two is None:
        return None
    one, other = (draw.folders[each] for each in two)
    sources: list[tuple[str, Source]] = [
        (two[0], _called_as(other, replace(one, version=draw.version()))),
        (two[1], _called_as(one, replace(other, version=draw.version()))),
    ]
    meant = {one.ref, one.name, other.ref, other.name}
    users = [f for f, it in draw.folders.items() if f not in two and not meant.isdisjoint(it.wants)]
    if users and draw.dice.random() < 0.5:
        user = draw.dice.choice(sorted(users))
        fault = draw.dice.choice([Fault.SETUP, Fault.SYNTAX, Fault.MANIFEST])
        broken = replace(draw.folders[user], version=draw.version(), fault=fault)
        sources.append((user, broken))
    return Put(tuple(sources))


def _called_as(other: Source, source: Source) -> Source:
    """`source` under the name of `other`; it does not depend on itself then."""
    own = {other.ref, other.name}
    return replace(
        source,
        kind=other.kind,
        name=other.name,
        wants=tuple(each for each in source.wants if each not in own),
        borrows=tuple(each for each in source.borrows if each not in own),
        demands=tuple(each for each in source.demands if each[0] not in own),
    )


def copy(draw: Draw) -> Action | None:
    """A folder is copied, so that two claim one name; perhaps it is edited at once."""
    folder, target = draw.folder(), draw.free_folder()
    if folder is None or target is None:
        return None
    source = draw.folders[folder]
    if draw.dice.random() < 0.5:
        source = replace(source, version=draw.version())
    return Put(((target, source),))


def drop_rival(draw: Draw) -> Action | None:
    """Of several folders that claim one name, one is deleted or called otherwise."""
    refs = [source.ref for source in draw.folders.values()]
    rivals = [f for f, source in draw.folders.items() if refs.count(source.ref) > 1]
    free = sorted({*NAMES} - {ref.partition("/")[2] for ref in refs})
    if not rivals:
        return None
    folder = draw.dice.choice(sorted(rivals))
    if not free or draw.dice.random() < 0.5:
        return Put(((folder, None),))
    return draw.edit(folder, name=draw.dice.choice(free))
