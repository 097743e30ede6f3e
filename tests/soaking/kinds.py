"""Every kind of action, and how often each is drawn.

To add a kind: write how one is drawn as a function here or in the module of its kind, in
terms of the actions there are or of a new class in `actions`, and put it into `DRAWS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from soaking import claim_kinds as claims
from soaking import code_kinds as code
from soaking import plugin_kinds as plugins
from soaking import trouble_kinds as troubles
from soaking.actions import Action, Litter, Put
from soaking.drawing import Draw
from soaking.modules import Flaw, Imports, Modules, Way
from soaking.sources import Fault, Section, Source

T = TypeVar("T")

FEW = 4
"""Plugins below which more are added."""


def mend(draw: Draw) -> Action | None:
    """One plugin is put right, as far as it lies with it."""
    folder = draw.folder()
    if folder is None:
        return None
    fields = _right(draw.folders[folder], draw.tree.modules)
    return draw.edit(folder, **fields)


def mend_all(draw: Draw) -> Action | None:
    """Everything is put right, and nothing is left that could not start."""
    sources: list[tuple[str, Source | None]] = []
    taken: dict[str, str] = {}
    for folder, source in sorted(draw.folders.items()):
        if source.name in taken:
            sources.append((folder, None))
            continue
        taken[source.name] = source.ref
        before = {ref for ref in taken.values() if ref != source.ref}
        mended = replace(source, **_right(source, draw.tree.modules))  # type: ignore[arg-type]
        wants = tuple(w for w in source.wants if w in before or w in {b[-1] for b in before})
        borrows = tuple(ref for ref in source.borrows if ref in before)
        mended = replace(mended, wants=wants, borrows=borrows, demands=())
        if mended != source or source.ref in draw.crashed:
            sources.append((folder, replace(mended, version=draw.version())))
    draw.crashed.clear()
    modules = tuple(_mended_modules(draw).items())
    sections = tuple(
        (ref, Section(draw.version()))
        for ref, section in draw.tree.sections.items()
        if section.fails or not section.fits
    )
    if not (sources or modules or sections):
        return None
    return Put(tuple(sources), modules, sections)


def _mended_modules(draw: Draw) -> Modules:
    there = draw.tree.modules
    mended = {
        name: replace(module, flaw=Flaw.NONE, imports=_findable(module.imports, there))
        for name, module in there.items()
    }
    return {
        name: replace(module, version=draw.version())
        for name, module in mended.items()
        if module != there[name]
    }


def _right(source: Source, modules: Modules) -> dict[str, object]:
    helpers = tuple(
        replace(
            each,
            broken=False,
            imports=tuple(path for path in each.imports if source.helper(path)),
        )
        for each in source.helpers
    )
    wants = tuple(dict.fromkeys(want for want in source.wants if want != "missing"))
    return {
        "fault": Fault.NONE,
        "helpers": helpers,
        "wants": wants,
        "demands": (),
        "wary": False,
        "shared": _findable(source.shared, modules),
    }


def _findable(imports: Imports, modules: Modules) -> Imports:
    return tuple(each for each in imports if each[0] in modules or each[1] is Way.OPTIONAL)


def roll_back(draw: Draw) -> Action | None:
    """A folder gets a content that it, or another one, had before."""
    if not draw.past:
        return None
    folder, source = draw.dice.choice(draw.past)
    return Put(((folder, source),)) if draw.folders.get(folder) != source else None


def switch_branch(draw: Draw) -> Action | None:
    """The whole tree becomes what it was some time ago."""
    draw.branches = [*draw.branches[-3:], draw.tree.copy()]
    here, there = draw.tree, draw.dice.choice(draw.branches)
    put = Put(
        _changed(here.folders, there.folders),
        _changed(here.modules, there.modules),
        _changed(here.sections, there.sections),
    )
    return put if put.sources or put.modules or put.sections else None


def _changed(here: Mapping[str, T], there: Mapping[str, T]) -> tuple[tuple[str, T | None], ...]:
    return tuple(
        (key, there.get(key)) for key in sorted({*here, *there}) if here.get(key) != there.get(key)
    )


def litter(draw: Draw) -> Action | None:
    """Tools leave their files."""
    folder = draw.dice.choice(["", *sorted(draw.folders)])
    name = draw.dice.choice(["plugin.py~", ".plugin.py.swp", "run.log", "4913", "state.sqlite"])
    return Litter(f"{folder}/{name}".lstrip("/"))


Kind = Callable[[Draw], Action | None]
"""Draws one kind of action; None when the tree has no place for it."""

DRAWS: list[tuple[int, Kind]] = [
    (12, plugins.add),
    (4, plugins.remove),
    (4, claims.move),
    (2, claims.swap),
    (4, claims.rename),
    (2, claims.exchange_folders),
    (3, claims.exchange_names),
    (3, claims.copy),
    (2, claims.drop_rival),
    (20, plugins.edit),
    (3, plugins.edit_manifest),
    (4, plugins.edit_life),
    (8, troubles.break_it),
    (4, troubles.break_manifest),
    (8, plugins.depend),
    (2, troubles.close_cycle),
    (5, plugins.borrow),
    (3, troubles.change_api),
    (3, troubles.demand),
    (3, troubles.be_wary),
    (3, troubles.be_strict),
    (4, troubles.outage),
    (4, troubles.flake),
    (6, plugins.edit_helper),
    (4, plugins.use_helpers),
    (1, plugins.lose_helper),
    (4, plugins.save_data),
    (2, plugins.touch),
    (10, mend),
    (10, mend_all),
    (6, roll_back),
    (4, switch_branch),
    (2, litter),
    (6, code.add_module),
    (12, code.edit_module),
    (4, code.edit_module_and_plugin),
    (4, code.lose_module),
    (2, code.make_package),
    (3, code.rename_module),
    (6, code.use_modules),
    (5, code.configure),
    (3, troubles.crash),
]
"""How to draw each kind of action, with how often."""

_WEIGHTS = [weight for weight, _ in DRAWS]
_KINDS = [kind for _, kind in DRAWS]


def draw_action(draw: Draw) -> Action:
    """One action at random; the model of `draw` is what it leads to."""
    dice = draw.dice
    drawn = plugins.add(draw) if len(draw.folders) < FEW and dice.random() < 0.5 else None
    while drawn is None:
        drawn = dice.choices(_KINDS, _WEIGHTS)[0](draw)
    drawn = replace(drawn, style=draw.style())
    draw.past = [*draw.past, *draw.folders.items()][-40:]
    drawn.change(draw.tree)
    return drawn
