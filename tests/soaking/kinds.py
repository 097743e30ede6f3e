"""How each kind of action is drawn, and how often.

To add a kind: write how one is drawn as a function here, in terms of the actions there are or of
a new class in `actions`, and put it into `DRAWS` with a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from soaking.actions import Action, Edit, Litter, Move, Put, Touch
from soaking.drawing import Draw
from soaking.sources import Fault, Helper, Life, Source, Use

NAMES = "abcdefgh"
KINDS = ("demo", "demo", "demo", "extra")
HELPERS = ("util", "text", "lib.core", "lib.extra")
FEW = 4
"""Plugins below which more are added."""

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


def mend(draw: Draw) -> Action | None:
    """One plugin is put right, as far as it lies with it."""
    folder = draw.folder()
    return draw.edit(folder, **_right(draw.folders[folder], draw)) if folder else None


def mend_all(draw: Draw) -> Action | None:
    """Every plugin is put right, and nothing is left that could not start."""
    sources: list[tuple[str, Source | None]] = []
    taken: dict[str, str] = {}
    for folder, source in sorted(draw.folders.items()):
        if source.name in taken:
            sources.append((folder, None))
            continue
        taken[source.name] = source.ref
        before = {ref for ref in taken.values() if ref != source.ref}
        mended = replace(source, **_right(source, draw))  # type: ignore[arg-type]
        wants = tuple(w for w in source.wants if w in before or w in {b[-1] for b in before})
        borrows = tuple(ref for ref in source.borrows if ref in wants)
        sources.append((folder, replace(mended, wants=wants, borrows=borrows, demands=())))
    changed = [each for each in sources if draw.folders[each[0]] != each[1]]
    return Put(tuple(changed)) if changed else None


def _right(source: Source, draw: Draw) -> dict[str, object]:
    helpers = tuple(
        replace(
            each,
            broken=False,
            imports=tuple(path for path in each.imports if source.helper(path)),
        )
        for each in source.helpers
    )
    wants = tuple(dict.fromkeys(want for want in source.wants if want != "missing"))
    return {"fault": Fault.NONE, "helpers": helpers, "wants": wants, "demands": ()}


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


def roll_back(draw: Draw) -> Action | None:
    """A folder gets a content that it, or another one, had before."""
    if not draw.past:
        return None
    folder, source = draw.dice.choice(draw.past)
    draw.data_saves.pop(folder, None)
    return Put(((folder, source),)) if draw.folders.get(folder) != source else None


def switch_branch(draw: Draw) -> Action | None:
    """The whole tree becomes what it was some time ago."""
    draw.branches = [*draw.branches[-3:], dict(draw.folders)]
    there = draw.dice.choice(draw.branches)
    folders = sorted({*draw.folders, *there})
    draw.data_saves.clear()
    changed = tuple(
        (folder, there.get(folder))
        for folder in folders
        if draw.folders.get(folder) != there.get(folder)
    )
    return Put(changed) if changed else None


def touch(draw: Draw) -> Action | None:
    """A file is saved without a change."""
    folder = draw.folder()
    return Touch(f"{folder}/{draw.dice.choice(['plugin.py', 'dagstack.toml'])}") if folder else None


def litter(draw: Draw) -> Action | None:
    """Tools leave their files."""
    folder = draw.dice.choice(["", *sorted(draw.folders)])
    name = draw.dice.choice(["plugin.py~", ".plugin.py.swp", "run.log", "4913", "state.sqlite"])
    return Litter(f"{folder}/{name}".lstrip("/"))


Kind = Callable[[Draw], Action | None]
"""Draws one kind of action; None when the tree has no place for it."""

DRAWS: list[tuple[int, Kind]] = [
    (12, add),
    (4, remove),
    (4, move),
    (2, swap),
    (4, rename),
    (20, edit),
    (3, edit_manifest),
    (4, edit_life),
    (8, break_it),
    (8, depend),
    (1, close_cycle),
    (4, borrow),
    (3, change_api),
    (3, demand),
    (10, mend),
    (10, mend_all),
    (6, edit_helper),
    (4, use_helpers),
    (1, lose_helper),
    (4, save_data),
    (6, roll_back),
    (4, switch_branch),
    (2, touch),
    (2, litter),
]
"""How to draw each kind of action, with how often."""

_WEIGHTS = [weight for weight, _ in DRAWS]
_KINDS = [kind for _, kind in DRAWS]


def draw_action(draw: Draw) -> Action:
    """One action at random; the model of `draw` is what it leads to."""
    dice = draw.dice
    drawn = add(draw) if len(draw.folders) < FEW and dice.random() < 0.5 else None
    while drawn is None:
        drawn = dice.choices(_KINDS, _WEIGHTS)[0](draw)
    drawn = replace(drawn, style=draw.style())
    draw.past = [*draw.past, *draw.folders.items()][-40:]
    drawn.change(draw.folders)
    return drawn
