"""How is drawn what goes wrong with plugins, by themselves or beside others."""

from __future__ import annotations

from dataclasses import replace

from soaking.actions import Action, Crash, Edit, Flake, Outage, Put
from soaking.drawing import Draw
from soaking.sources import Fault, Life


def break_it(draw: Draw) -> Action | None:
    """Something goes wrong."""
    folder = draw.folder()
    return draw.edit(folder, fault=draw.dice.choice(list(Fault))) if folder else None


def break_manifest(draw: Draw) -> Action | None:
    """The manifest cannot be read any more, whatever else is to come of the folder."""
    folder = draw.folder()
    fault = draw.dice.choice([Fault.TOML, Fault.MANIFEST])
    return Edit(folder, (("fault", fault),)) if folder else None


def close_cycle(draw: Draw) -> Action | None:
    """Two or three plugins come to depend on each other, in a circle."""
    count = draw.dice.choice([2, 2, 3])
    if len(draw.folders) < count:
        return None
    chosen = draw.dice.sample(sorted(draw.folders), count)
    circle = [draw.folders[folder] for folder in chosen]
    return Put(
        tuple(
            (folder, replace(source, version=draw.version(), wants=(*source.wants, other.ref)))
            for folder, source, other in zip(chosen, circle, [*circle[1:], circle[0]], strict=True)
        )
    )


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


def crash(draw: Draw) -> Action | None:
    """A task of a plugin fails."""
    fragile = [s.ref for s in draw.folders.values() if s.life is Life.OWNED_TASK]
    if not fragile:
        return None
    ref = draw.dice.choice(sorted(fragile))
    draw.crashed.add(ref)
    return Crash(ref)


def flake(draw: Draw) -> Action | None:
    """A plugin fails once when it comes back in a roll-back, if it ever does."""
    refs = draw.refs()
    return Flake(draw.dice.choice(refs)) if refs else None


def outage(draw: Draw) -> Action | None:
    """The service is out of order for a while, and what needs it is saved."""
    folder = draw.folder()
    return Outage(folder, (("version", draw.version()), ("online", True))) if folder else None


def be_wary(draw: Draw) -> Action | None:
    """A plugin comes to look at the versions of what it depends on, or no longer does."""
    folder = draw.folder()
    return draw.edit(folder, wary=not draw.folders[folder].wary) if folder else None


def be_strict(draw: Draw) -> Action | None:
    """A plugin comes to say of what form its configuration is, or no longer does."""
    folder = draw.folder()
    return Edit(folder, (("strict", not draw.folders[folder].strict),)) if folder else None
